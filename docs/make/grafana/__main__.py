"""The checked-in dashboards: `python -m docs.make.grafana` writes them, `--check` compares."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Final

import click
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from docs.make.grafana.boards.data_quality import data_quality
from docs.make.grafana.boards.drift import drift
from docs.make.grafana.boards.loop import loop
from docs.make.grafana.boards.operations import operations
from docs.make.grafana.boards.quality import quality

FOLDER: Final = Path(__file__).resolve().parents[3] / "infra" / "grafana" / "dashboards"


def dashboards() -> dict[str, str]:
    """Return the JSON of every dashboard by file name."""
    made = [each() for each in (loop, quality, drift, data_quality, operations)]
    return {f"{each.uid}.json": written(each) for each in made}


def written(board: Dashboard) -> str:
    """Return a dashboard as it lies in its file."""
    return JSONEncoder(sort_keys=True, indent=2, ensure_ascii=False).encode(board) + "\n"


def read(text: str) -> Dashboard:
    """Read a dashboard as the SDK understands it: what it does not know of Grafana is lost."""
    register_default_plugins()
    data: dict[str, Any] = json.loads(text)
    return Dashboard.from_json(data)


@click.command()
@click.option("--check", is_flag=True, help="Write nothing; exit code 1 when a file is stale.")
def main(check: bool) -> None:
    """Write the dashboards that Grafana reads."""
    made = dashboards()
    there = {path.name for path in FOLDER.glob("*.json")}
    stale = {
        name for name, text in made.items() if name not in there or (FOLDER / name).read_text("utf-8") != text
    }
    for name in sorted(stale | (there - made.keys())):
        if check:
            click.echo(f"stale: {FOLDER / name}; run: python -m docs.make.grafana", err=True)
        elif name in made:
            (FOLDER / name).write_text(made[name], "utf-8")
            click.echo(f"written: {FOLDER / name}")
        else:
            (FOLDER / name).unlink()
            click.echo(f"removed: {FOLDER / name}")
    if check and (stale or there - made.keys()):
        sys.exit(1)


if __name__ == "__main__":
    main()
