"""How large the project is: lines of Python by room, long files, words of documentation; at any revisions.

python -m tests.benchmarks.size
python -m tests.benchmarks.size --at 73b51da --at HEAD
"""

from __future__ import annotations

import argparse
import io
import subprocess
import tarfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
ROOMS: Final = ("schemas", "streams", "infra", "agents")
LONG: Final = 300
"""Lines from which on a file is one to look at."""
COMMANDS: Final = ("cli", "http")
"""Of `agents`, what is no part of the shell around the processors."""


def tree(revision: str | None) -> Iterator[tuple[PurePosixPath, str]]:
    """Give the Python files and pages of a revision, or of the working tree, with their texts."""
    git = ["git", "-C", str(ROOT)]
    if revision is None:
        listed = subprocess.run([*git, "ls-files"], capture_output=True, text=True, check=True).stdout
        for name in listed.splitlines():
            if name.endswith((".py", ".md")) and (ROOT / name).exists():
                yield PurePosixPath(name), (ROOT / name).read_text("utf-8")
        return
    packed = subprocess.run([*git, "archive", revision], capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        for member in archive:
            if member.name.endswith((".py", ".md")) and (file := archive.extractfile(member)) is not None:
                yield PurePosixPath(member.name), file.read().decode("utf-8")


def sizes(files: Iterator[tuple[PurePosixPath, str]]) -> dict[str, int]:
    """Count what the table shows."""
    found: Counter[str] = Counter()
    for path, text in files:
        room, lines = path.parts[0], len(text.splitlines())
        if path.suffix == ".md":
            words = len(text.split())
            found["documentation, words"] += words
            if "reference" in path.parts:
                found["  of them generated reference pages"] += words
            continue
        if room in ROOMS:
            found[f"{room}, lines"] += lines
            found["four rooms, lines"] += lines
            found[f"files above {LONG} lines in the rooms"] += lines > LONG
            found["longest file in the rooms, lines"] = max(found["longest file in the rooms, lines"], lines)
            if room == "agents" and path.parts[1] not in COMMANDS:
                found["  agents without cli and http"] += lines
        elif room == "tests":
            found["tests, lines"] += lines
    return found


ROWS: Final = (
    *("schemas, lines", "streams, lines", "infra, lines", "agents, lines", "  agents without cli and http"),
    *("four rooms, lines", f"files above {LONG} lines in the rooms", "longest file in the rooms, lines"),
    *("tests, lines", "documentation, words", "  of them generated reference pages"),
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--at", action="append", metavar="REVISION", help="Repeatable; the working tree by default."
    )
    revisions: list[str | None] = parser.parse_args(arguments).at or [None]
    columns = [sizes(tree(revision)) for revision in revisions]
    print(f"{'':40}" + "".join(f"{revision or 'working tree':>14}" for revision in revisions))
    for row in ROWS:
        print(f"{row:40}" + "".join(f"{column[row]:>14,}" for column in columns))


if __name__ == "__main__":
    main()
