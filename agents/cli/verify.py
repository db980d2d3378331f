"""`riverloop verify`: proves that served scores and learned states follow from the topics."""

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
from streams import native


@click.command(epilog="Example: riverloop verify task.py --bootstrap localhost:9092")
@click.argument("task")
@click.option(
    "--snapshots",
    metavar="URI",
    help="Also compare the stored snapshots; required where the log was truncated.",
)
@cluster_options
@json_option
def verify(
    task: str, snapshots: str | None, bootstrap: str | None, properties: tuple[str, ...], as_json: bool
) -> None:
    """Verify the history of TASK; exit code 1 when a check fails.

    Reconciles requests, predictions and outcomes with the training log, then reproduces every score and
    snapshot digest bit for bit with River. Scores of other revisions or runtimes are only counted. Workers may
    run meanwhile.
    """
    loaded = load_task(task)
    codec = codec_of(loaded)
    given = Settings.load()
    native.choose(given.core)
    key, skip = given.snapshot_key.encode() or None, places(given.skip)
    store = SnapshotStore(snapshots, key) if snapshots else None
    with (
        KafkaSource(connect(bootstrap, properties)) as source,
        progress("verify", source.size(loaded.task.name)) as advance,
    ):
        core = "native" if given.core == "native" else "python"
        report = prove(loaded, codec, source, runtime_fingerprint()[0], store, advance, skip, core)
    if as_json:
        print_json(report.as_data())
    else:
        show(report)
    if not report.ok:
        raise click.exceptions.Exit(1)


def show(report: Report) -> None:
    """Print a report as people read it."""
    rows = [[title, report.counts[name]] for name, title in COUNTS.items()]
    rows += [[f"resolutions: {kind}", count] for kind, count in sorted(report.resolutions.items())]
    rows += [
        [f"scores of {model} reproduced bit for bit", count] for model, count in report.reproduced.items()
    ]
    rows += [[f"scores of {model} by another revision or runtime", n] for model, n in report.other.items()]
    rows += [[f"entries skipped by {model}", n["entries"]] for model, n in report.skipped.items()]
    rows.append(["snapshots compared", report.snapshots])
    table(f"{report.task}: history", ["what", "count"], [row for row in rows if row[1]])
    for model, found in report.skipped.items():
        for each in found["newest"]:
            click.echo(
                f"skipped by {model}: log offset {each['offset']}, request {harmless(each['request_id'])}: "
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
        click.echo(f"WRONG: {report.failed - len(report.failures):,} more", err=True)
    if report.other and not report.reproduced:
        click.echo("note: no score was reproduced, because all are by other revisions or runtimes")
    verdict = "everything holds" if report.ok else f"{report.failed:,} things do not hold"
    click.echo(f"{verdict} ({report.seconds:.1f} s)")
