"""The command `riverloop`."""

from __future__ import annotations

import gc
import importlib
import logging
import sys
from typing import Final

import click

from agents.cli.failing import in_one_line, show_traceback, take_flag
from schemas.errors import BrokerError, RiverloopError, Unreadable, UsageError

COMMANDS: Final = (
    "audit",
    "backfill",
    "backtest",
    "check",
    "deadletters",
    "demo",
    "episodes",
    "export",
    "features",
    "forget",
    "hooks",
    "init",
    "models",
    "plan",
    "produce",
    "rules",
    "schemas",
    "score",
    "snapshots",
    "spans",
    "status",
    "topics",
    "trace",
    "tune",
    "validate",
    "verify",
    "worker",
)
"""Each is a function of that name in the file of that name."""


class Commands(click.Group):
    """Imports a command when it is called, so that a worker starts quickly."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command by its name."""
        if cmd_name not in COMMANDS:
            return None
        name = cmd_name.replace("-", "_")
        command: click.Command = getattr(importlib.import_module(f"agents.cli.{name}"), name)
        return command


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="riverloop")
@click.option(
    "--debug",
    is_flag=True,
    expose_value=False,
    help="Show the traceback of an error; also after the command.",
)
def riverloop() -> None:
    """Run the feedback loop for online machine learning on Kafka.

    It joins predictions with outcomes, trains models from the joined log, and serves them with exact versions.
    """


def subcommands(group: click.Group) -> dict[str, click.Command]:
    """Return a group's commands by name; imports them all."""
    context = click.Context(group)
    found = {name: group.get_command(context, name) for name in group.list_commands(context)}
    return {name: command for name, command in found.items() if command is not None}


def _say(sentence: str) -> None:
    """Write why the command ends to standard error: as a line of the log where that is JSON, for programs."""
    from agents.cli.logs import JsonLines  # noqa: PLC0415  commands that end well need none of it

    if any(isinstance(each.formatter, JsonLines) for each in logging.getLogger().handlers):
        logging.getLogger("agents.cli.main").error("%s", sentence)
    else:
        click.echo(f"Error: {sentence}", err=True)


def main(command: click.Command = riverloop) -> None:
    """Run a command: a sentence, no traceback but with `--debug`.

    Exit code 2 is a person's mistake, 3 a record that a person must look at before a new start helps, 1 any other
    promise that does not hold.
    """
    # Retries of a Kafka client are not shown in a terminal; a worker logs them.
    logging.basicConfig(level=logging.ERROR, format="%(levelname)s: %(message)s")
    try:
        # Without its standalone mode click gives the code of `Exit` back instead of raising it.
        sys.exit(command.main(take_flag(sys.argv[1:]), standalone_mode=False))
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.Abort:
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(1)
    except Exception as error:
        show_traceback(error)
        sys.exit(_say_why(error))
    finally:
        # Otherwise Python collects all that a model's libraries hold once more before it ends: 0.3 s.
        gc.freeze()


def _say_why(error: Exception) -> int:
    """Say why the command ends; returns its exit code."""
    if isinstance(error, RiverloopError):
        # An exception of a user's code that a message quotes may have several lines.
        _say(str(error) if isinstance(error, BrokerError) else " ".join(str(error).splitlines()))
        return 2 if isinstance(error, UsageError) else 3 if isinstance(error, Unreadable) else 1
    if isinstance(error, OSError) and error.filename is not None:
        # A file or a folder that the command names, and that cannot be read or written.
        _say(f"{error.filename}: {error.strerror}")
        return 2
    _say(f"{in_one_line(error)}; --debug shows the traceback")
    return 1


if __name__ == "__main__":
    main()
