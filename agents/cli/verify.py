"""`riverloop verify`: proves that what was served and learned is what the topics say."""

from __future__ import annotations

import click

from agents.cli.cluster import cluster_options, codec_of, connect
from agents.cli.common import json_option, print_json, progress, table
from agents.settings import Settings
from infra.runtime import runtime_fingerprint
from infra.snapshots.store import SnapshotStore
from infra.taskfile import load_task
from infra.trusted import places
from infra.verify import KafkaSource, Report
from infra.verify import verify as prove
from infra.verify.report import COUNTS
from schemas.escaped import harmless


@click.command(epilog="Example: riverloop verify task.py --bootstrap localhost:9092")
@click.argument("task")
@click.option(
    "--snapshots",
    metavar="URI",
    help="Also open the stored snapshots and compare them; needed where the log was cut.",
)
@cluster_options
@json_option
def verify(
    task: str, snapshots: str | None, bootstrap: str | None, properties: tuple[str, ...], as_json: bool
) -> None:
    """Prove the history of TASK; exit code 1 when anything does not hold.

    Reconciles requests, predictions and outcomes with the training log: nothing missing, nothing twice,
    nothing altered. Then refolds the log with the task file's models and reproduces every score, bit for bit,
    and the digest of every snapshot. The loop may go on meanwhile. Scores that another revision of the task
    file or another runtime made are counted, for they need that one.
    """
    loaded = load_task(task)
    codec = codec_of(loaded)
    given = Settings.load()
    key, pass_over = given.snapshot_key.encode() or None, places(given.pass_over)
    store = SnapshotStore(snapshots, key) if snapshots else None
    with (
        KafkaSource(connect(bootstrap, properties)) as source,
        progress("verify", source.size(loaded.task.name)) as advance,
    ):
        report = prove(loaded, codec, source, runtime_fingerprint()[0], store, advance, pass_over)
    if as_json:
        print_json(report.as_data())
    else:
        show(report)
    if not report.ok:
        raise click.exceptions.Exit(1)


def show(report: Report) -> None:
    """Print a report as people read it."""
    told = [[says, report.counts[name]] for name, says in COUNTS.items()]
    told += [[f"resolutions: {kind}", count] for kind, count in sorted(report.resolutions.items())]
    told += [
        [f"scores of {model} reproduced bit for bit", count] for model, count in report.reproduced.items()
    ]
    told += [[f"scores of {model} by another revision or runtime", n] for model, n in report.other.items()]
    told += [[f"entries passed over by {model}", n["entries"]] for model, n in report.passed_over.items()]
    told.append(["snapshots compared", report.snapshots])
    table(f"{report.task}: history", ["what", "count"], [row for row in told if row[1]])
    for model, found in report.passed_over.items():
        for each in found["newest"]:
            click.echo(
                f"passed over by {model}: log offset {each['offset']}, request {harmless(each['request_id'])}: "
                f"{each['exception']}"
            )
        if found["stopped"]:
            click.echo(
                f"{model} stopped learning at log offset {found['stopped']['offset']}: {found['stopped']['why']}"
            )
    for note in report.notes:
        click.echo(f"note: {note}")
    for each in report.failures:
        click.echo(f"WRONG: {each.where}: {each.what}", err=True)
        click.echo(
            f"       expected {each.expected or 'something else'}; found {each.found or 'this'}", err=True
        )
    if report.failed > len(report.failures):
        click.echo(f"WRONG: and {report.failed - len(report.failures):,} more", err=True)
    if report.other and not report.reproduced:
        click.echo("note: no score could be reproduced: all are by another revision or runtime")
    verdict = "everything holds" if report.ok else f"{report.failed:,} things do not hold"
    click.echo(f"{verdict} ({report.seconds:.1f} s)")
