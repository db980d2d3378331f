"""`riverloop rules`: writes the rules for Prometheus, with links to published runbooks."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import click

from agents.settings import Settings
from infra.prometheus.rules import published
from schemas.errors import UsageError

FILES: Final = ("recording.yml", "alerts.yml")
_URL: Final = re.compile(r"https?://[^\s\"'#]+")


@click.command(
    epilog="Example: riverloop rules /etc/prometheus/riverloop --runbook-base https://wiki.example.com/runbooks"
)
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--runbook-base", metavar="URL", help="URL of the published runbooks. [RIVERLOOP_RUNBOOK_BASE]")
def rules(folder: Path, runbook_base: str | None) -> None:
    """Write recording rules and alerts for Prometheus to FOLDER."""
    base = Settings.load({"runbook_base": runbook_base}).runbook_base
    if base and _URL.fullmatch(base) is None:
        raise UsageError(f"runbook_base={base!r} must be a URL that begins with http:// or https://")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file in FILES:
            (folder / file).write_text(published(file, base), "utf-8")
    except OSError as error:
        raise UsageError(f"{error.filename} cannot be written: {error.strerror}") from error
    click.echo(f"wrote {', '.join(FILES)} to {folder}; add them to rule_files in prometheus.yml")
