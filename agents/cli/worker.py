"""`riverloop worker`: serves, joins, learns and publishes until it is stopped."""

from __future__ import annotations

import faulthandler
import logging
import os
import signal
import threading
from dataclasses import fields
from typing import Any

import click

from agents.app import run
from agents.cli.logs import configure
from agents.declared import environment_name
from agents.settings import Settings
from agents.stopping import Stopping, ends_at_once
from agents.worker import prepare

log = logging.getLogger(__name__)


def settings_options(command: Any) -> Any:
    """Add an option for every setting but secrets, since other users can read command lines."""
    for each in reversed(fields(Settings)):
        if each.metadata["secret"]:
            continue
        name = "--" + each.name.replace("_", "-")
        option: dict[str, Any] = {
            "help": f"{each.metadata['description']} [{environment_name(each.name)}]",
            "default": None,
        }
        if isinstance(each.default, bool):
            command = click.option(name, each.name, is_flag=True, **option)(command)
        else:
            command = click.option(name, each.name, type=type(each.default), **option)(command)
    return command


@click.command(epilog="Example: riverloop worker task.py --bootstrap localhost:9092")
@click.argument("tasks", nargs=-1, required=True)
@settings_options
@click.option("--with-parent", is_flag=True, hidden=True, help="Stop when standard input ends.")
def worker(tasks: tuple[str, ...], with_parent: bool, **given: Any) -> None:
    """Run a worker for TASKS until SIGTERM or Ctrl-C.

    Several workers share the partitions. The topics must exist: riverloop topics create TASK.
    """
    settings = Settings.load(given)
    configure(settings)
    if with_parent:
        threading.Thread(target=_end_with_standard_input, daemon=True).start()
    # For a worker that seems to hang: writes the stacks of its threads to standard error.
    faulthandler.register(signal.SIGUSR1)
    stopping = Stopping()
    ends_at_once(stopping)
    log.info("starting worker for %s", ", ".join(tasks))
    run(prepare(tasks, settings), stopping)


def _end_with_standard_input() -> None:
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
