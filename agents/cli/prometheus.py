"""The option `--prometheus`: runs a Prometheus server beside the workers of a command."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import click

from agents.cli.processes import WorkerProcess
from infra.prometheus.server import Prometheus, executable

EVERY_S: Final = 2
"""Between two scrapes; short, because a demo lasts a minute."""


def _installed(_context: click.Context, _parameter: click.Parameter, wanted: bool) -> bool:
    """Fail before anything is started, rather than after a minute."""
    if wanted:
        executable()
    return wanted


prometheus_option = click.option(
    "--prometheus",
    "with_prometheus",
    is_flag=True,
    callback=_installed,
    help="Also run an installed Prometheus with the rules of infra/prometheus.",
)


def watch(
    stack: ExitStack, workers: Sequence[WorkerProcess], folder: Path, say: Callable[[str], None]
) -> None:
    """Start a server that scrapes the workers until the stack ends, and say where it answers."""
    targets = [worker.url.removeprefix("http://") for worker in workers]
    server = stack.enter_context(Prometheus(folder, targets, EVERY_S))
    say(f"Prometheus answers at {server.url}, its log is {server.log_file}")
