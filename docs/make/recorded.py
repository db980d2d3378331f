"""The recorded schemas: `python -m docs.make.recorded` writes today's as the next version."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from schemas.codec.avro_form import file_name
from schemas.codec.compatibility import check, recorded, today
from schemas.errors import UsageError

FOLDER: Final = Path(__file__).resolve().parents[2] / "schemas" / "recorded"


def record_today(directory: Path) -> list[Path]:
    """Write today's schemas as the next version; nothing when the newest has them already.

    Raises
    ------
    UsageError
        When they are not compatible with an earlier version.
    """
    now, history = today(), recorded()
    broken = [each for each in check() if "differs from recorded" not in each]
    if broken:
        raise UsageError("not compatible with the recorded versions: " + "; ".join(broken))
    if history and history[max(history)] == now:
        return []
    folder = directory / f"v{max(history, default=0) + 1}"
    folder.mkdir(parents=True)
    out = []
    for name, schema in now.items():
        path = folder / file_name(name)
        path.write_text(json.dumps(schema, indent=1) + "\n", encoding="utf-8")
        out.append(path)
    return out


if __name__ == "__main__":
    for path in record_today(FOLDER):
        print(f"written: {path}")
