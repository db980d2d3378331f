"""The files of the live page, by the names under which a browser asks for them."""

from __future__ import annotations

from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).parent
PAGE: Final = FOLDER / "page.html"
KINDS: Final = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


def assets() -> dict[str, tuple[Path, str]]:
    """Return each file's path and content type by its name: those of this list are served and no others.

    Examples
    --------
    >>> [name for name in assets() if name.startswith("uplot/")]
    ['uplot/uPlot.iife.min.js', 'uplot/uPlot.min.css']
    """
    return {
        str(path.relative_to(FOLDER)): (path, KINDS[path.suffix])
        for path in sorted(FOLDER.rglob("*"))
        if path.suffix in KINDS
    }
