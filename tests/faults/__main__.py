"""The fault harness: faults against the running loop, and a check that nothing is lost, doubled or wrong."""

from __future__ import annotations

import json
import shlex
import time
from pathlib import Path
from typing import Any

import click

from agents.cli.cluster import cluster_options, connection_to
from agents.cli.common import json_option, print_json, table
from agents.cli.main import main
from infra.taskfile import load_task
from schemas.errors import UsageError
from tests.faults.context import FAILOVER_S
from tests.faults.page import page as make_page
from tests.faults.registry import FAULTS
from tests.faults.report import OURS, RunOptions
from tests.faults.run import FaultRun
from tests.faults.timing import PHASES

TASK = Path(__file__).with_name("task.py")
COLUMNS = ("rounds", "requests", "lost", "doubled", "wrong", "longest_stall_s", "freshness_p99_s")


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
def harness() -> None:
    """Send a workload with known results while faults are injected, and compare."""


@harness.command(epilog="Example: python -m tests.faults run --rounds 5 --requests 20000 --faults kill")
@click.option("--seed", type=int, default=1, show_default=True, help="Of the workload and of the faults.")
@click.option(
    "--rounds", type=click.IntRange(1), default=5, show_default=True, help="With one fault in each."
)
@click.option("--requests", type=click.IntRange(10), default=20_000, show_default=True, help="In total.")
@click.option("--workers", type=click.IntRange(1, 16), default=2, show_default=True)
@click.option("--partitions", type=click.IntRange(1, 100), default=4, show_default=True)
@click.option(
    "--faults",
    default="all",
    show_default=True,
    metavar="NAME,…",
    help="all, none, or some of: " + ", ".join(FAULTS),
)
@click.option("--task", metavar="TASK", help="A task of your own; its topics must be empty.")
@click.option("--name", "loop", default=OURS, show_default=True, help="Name on the page; with --command.")
@click.option(
    "--command",
    default="",
    metavar="COMMAND",
    help="Run workers of another loop on the same topics: the task, --bootstrap, --group and --data are added.",
)
@click.option(
    "--report", "file", type=click.Path(path_type=Path), help="Also write the report here, as JSON."
)
@cluster_options
@json_option
def run(
    seed: int,
    rounds: int,
    requests: int,
    workers: int,
    partitions: int,
    faults: str,
    task: str | None,
    loop: str,
    command: str,
    file: Path | None,
    bootstrap: str | None,
    properties: tuple[str, ...],
    as_json: bool,
) -> None:
    """Run the fault harness; exit code 1 when anything is lost, doubled or wrong.

    Without --bootstrap an embedded Kafka broker is used. The same seed gives the same requests, outcomes and
    faults, and the same expected results.
    """
    if bool(command) != (loop != OURS):
        raise UsageError("give --name and --command together")
    if requests < 10 * rounds:
        raise UsageError("give at least ten requests for each round")
    loaded = load_task(task or str(TASK))
    options = RunOptions(
        seed=seed,
        rounds=rounds,
        requests=requests,
        workers=workers,
        partitions=partitions,
        faults=choose(faults, own_broker=bootstrap is None, own_task=task is None),
        loop=loop,
        command=tuple(shlex.split(command)),
    )
    connection = connection_to(bootstrap, properties) if bootstrap else None
    started = time.monotonic()

    def echo(text: str) -> None:
        if not as_json:
            click.echo(f"{time.monotonic() - started:6.1f} s  {text}", err=True)

    report = FaultRun(loaded, options, connection, echo).run()
    if file is not None:
        file.write_text(json.dumps(report, indent=2))
    if as_json:
        print_json(report)
    else:
        show(report)
    if not report["ok"]:
        raise click.exceptions.Exit(1)


@harness.command(
    epilog="Example: python -m tests.faults page docs/reference/faults/*.json --out docs/reliability.md"
)
@click.argument("reports", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Standard output by default.")
def page(reports: tuple[Path, ...], out: Path | None) -> None:
    """Make the page of REPORTS, as `run --report` writes them."""
    try:
        text = make_page([json.loads(each.read_text()) for each in reports])
    except OSError as error:
        raise UsageError(f"{error.filename} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"not a report of `python -m tests.faults run --report`: {error!r:.100}") from error
    if out is None:
        click.echo(text, nl=False)
    else:
        out.write_text(text)


def choose(names: str, *, own_broker: bool, own_task: bool = True) -> tuple[str, ...]:
    """Return the names of the faults that an option selects."""
    if names == "none":
        return ()
    if names == "all":
        return tuple(
            name
            for name, fault in FAULTS.items()
            if (own_broker or not fault.needs_broker) and (own_task or not fault.needs_models)
        )
    return tuple(name.strip() for name in names.split(",") if name.strip())


def show(report: dict[str, Any]) -> None:
    """Print a report for people."""
    faults = report["faults"]
    title = f"{report['requests']:,} requests in {report['seconds']} s, seed {report['seed']}"
    heads = [name.removesuffix("_s").replace("_", " ") + " (s)" * name.endswith("_s") for name in COLUMNS]
    table(title, ["fault", *heads], [[name, *(row[key] for key in COLUMNS)] for name, row in faults.items()])
    if any(row["phases_s"] for row in faults.values()):
        title = "longest time from the death of a worker, or the return of the broker (s)"
        phases = [[name, *(row["phases_s"].get(key, "") for key in PHASES)] for name, row in faults.items()]
        table(title, ["fault", *PHASES], phases)
        late = [
            f"{name}: {phase}"
            for name, row in faults.items()
            for phase, seconds in row["phases_s"].items()
            if seconds > FAILOVER_S
        ]
        click.echo(f"within {FAILOVER_S:.0f} s: " + (f"all but {', '.join(late)}" if late else "all"))
    for kind, texts in report["examples"].items():
        for text in texts:
            click.echo(f"{kind.upper()}: {text}", err=True)
    click.echo(f"{report['lost']} lost, {report['doubled']} doubled, {report['wrong']} wrong")


if __name__ == "__main__":
    main(harness)
