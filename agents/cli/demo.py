"""`riverloop demo`: runs the whole loop on real data and compares it with River's evaluator."""

from __future__ import annotations

import fcntl
import shutil
import sys
import tempfile
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import click

from agents.cli.checking import check_first
from agents.cli.cluster import cluster_options, codec_of, connection_to
from agents.cli.common import json_option, print_json, progress, short, table
from agents.cli.comparison import close, comparison
from agents.cli.data import not_chained, read_events, show_left_out, strict_option
from agents.cli.live import RESOLUTIONS, LiveView
from agents.cli.oracle import OracleProcess
from agents.cli.player import Player
from agents.cli.processes import WorkerProcess
from agents.cli.prometheus import prometheus_option, watch
from agents.settings import Settings
from infra.embedded.broker import EmbeddedBroker
from infra.kafka.admin import create_topics
from infra.kafka.connection import Connection
from infra.permissions import make_private
from infra.runtime import runtime_fingerprint
from infra.snapshots.store import SnapshotStore
from infra.taskfile import LoadedTask, examples, load_task
from infra.verify import KafkaSource
from infra.verify import verify as prove
from schemas.errors import UsageError
from schemas.topics import TaskTopics
from streams.datafile import LeftOut
from streams.topology import declared


@click.command(epilog="Example: riverloop demo --free --partitions 4 --workers 2")
@click.argument("task", required=False)
@click.option("--data", metavar="FILE", help="Data file or folder; default: the task's own.")
@click.option(
    "--lockstep/--free",
    default=True,
    show_default=True,
    help="Each request after everything due before it, as in River's evaluator, or at full speed.",
)
@click.option(
    "--partitions",
    type=click.IntRange(1, 100),
    metavar="N",
    default=1,
    show_default=True,
    help="Number of partitions, with --free.",
)
@click.option(
    "--workers",
    type=click.IntRange(1, 16),
    metavar="N",
    default=1,
    show_default=True,
    help="Number of workers, with --free.",
)
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Maximum number of requests.")
@click.option(
    "--stay/--no-stay",
    default=None,
    help="Keep the loop and its live page running until Ctrl-C. Default on a terminal.",
)
@strict_option
@cluster_options
@prometheus_option
@json_option
def demo(
    task: str | None,
    data: str | None,
    lockstep: bool,
    partitions: int,
    workers: int,
    limit: int | None,
    stay: bool | None,
    strict: bool,
    bootstrap: str | None,
    properties: tuple[str, ...],
    with_prometheus: bool,
    as_json: bool,
) -> None:
    """Run the loop with an embedded Kafka: workers, replay, verification.

    Default TASK: cancellations of hotel bookings at their real dates.
    """
    if lockstep and (partitions, workers) != (1, 1):
        raise UsageError("lockstep runs on one partition and one worker; use --free for more")
    loaded = load_task(task or str(examples() / "hotel_bookings" / "task.py"))
    not_chained(loaded, "demo")
    run = Demo(loaded, data, limit, lockstep=lockstep, partitions=partitions, workers=workers, quiet=as_json)
    run.prometheus, run.strict = with_prometheus, strict
    connection = connection_to(bootstrap, properties) if bootstrap else None
    with ExitStack() as stack:
        report = run.play(stack, connection)
        if as_json:
            print_json(report)
        else:
            run.show(report)
        if sys.stdout.isatty() and not as_json if stay is None else stay:
            run.stay()
    if strict and report["failed"]:
        raise click.exceptions.Exit(1)
    if not (report["verified"]["ok"] and report["digests_equal"]) or (lockstep and not report["equal"]):
        raise click.exceptions.Exit(1)


class Demo:
    """One run of the demo."""

    def __init__(
        self,
        loaded: LoadedTask,
        data: str | None,
        limit: int | None,
        *,
        lockstep: bool,
        partitions: int,
        workers: int,
        quiet: bool,
    ) -> None:
        self.loaded, self.task = loaded, loaded.task
        self.data, self.limit = data, limit
        self.lockstep, self.partitions, self.count = lockstep, partitions, workers
        self.quiet = quiet
        self.strict = False
        """Whether to refuse a file of which something would be left out."""
        self.left_out = LeftOut()
        """What of the file is left out."""
        self.prometheus = False
        """Whether to start a Prometheus server."""
        self.topics = TaskTopics(self.task.name)
        self.folder = Settings.load().data_folder / "demo"
        self.started = time.monotonic()
        self.pages: list[str] = []
        """Addresses of the live page, one per worker."""

    def say(self, text: str) -> None:
        """Print progress to standard error."""
        if not self.quiet:
            click.echo(f"{time.monotonic() - self.started:6.1f} s  {text}", err=True)

    # ------------------------------------------------------------------ the run

    def play(self, stack: ExitStack, connection: Connection | None) -> dict[str, Any]:
        """Start everything, replay, and return the report."""
        check_first(self.loaded, self.data)
        events, self.left_out = read_events(self.loaded, self.data, self.limit, strict=self.strict)
        self.say(f"{len(events):,} requests read for task {self.task.name}: {self.task.question}")
        self._make_folder(stack)
        oracle = stack.enter_context(OracleProcess(self.loaded.reference, self.data, self.limit))
        if connection is None:
            broker = stack.enter_context(EmbeddedBroker(report=self.say))
            connection = Connection(broker.bootstrap)
            self.say(f"Apache Kafka answers at {broker.bootstrap}, its log is {broker.log_file}")
        create_topics(connection, declared(self.task, self.partitions))
        player = stack.enter_context(Player(self.loaded, connection, self.partitions, lockstep=self.lockstep))
        workers = [
            stack.enter_context(
                WorkerProcess(self.loaded.reference, connection, self.folder, number, lockstep=self.lockstep)
            )
            for number in range(self.count)
        ]
        if self.prometheus:
            watch(stack, workers, self.folder, self.say)
        for worker in workers:
            worker.wait_ready()
        if self.lockstep:  # which leaves the processor idle much of the time; a free run wants all of it
            oracle.start()
        self.pages = [f"{worker.url}/tasks/{self.task.name}/live" for worker in workers]
        self.say(f"{len(workers)} worker(s) ready; look on at {self.pages[0]}")
        view = LiveView(self.task.name, len(events), workers, live=not self.quiet and sys.stderr.isatty())
        seconds = player.play(events, workers[0], view)
        self.say(f"replayed in {seconds:.1f} s")
        status = view.settle()
        verified = self._verify(connection)
        return self._report(status, verified, oracle, seconds, len(events))

    def _make_folder(self, stack: ExitStack) -> None:
        """Make an empty folder, and remove those of earlier demos that have ended."""
        parent = self.folder
        make_private(parent)
        for old in parent.iterdir():
            with suppress(OSError), (old / "lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(old, ignore_errors=True)
        self.folder = Path(tempfile.mkdtemp(prefix=time.strftime("%Y%m%d-%H%M%S-"), dir=parent))
        checked = Settings.load().data_folder / "checked"
        if checked.is_dir():  # or each worker would check the models again
            shutil.copytree(checked, self.folder / "checked")
        lock = stack.enter_context((self.folder / "lock").open("w"))
        fcntl.flock(lock, fcntl.LOCK_EX)

    def _verify(self, connection: Connection) -> dict[str, Any]:
        """Refold the log and reproduce the served scores."""
        # The workers have it from the environment, too.
        key = Settings.load().snapshot_key.encode() or None
        store = SnapshotStore(str(self.folder / "snapshots"), key)
        with (
            KafkaSource(connection) as source,
            progress("verify", source.size(self.task.name)) as advance,
        ):
            codec, runtime = codec_of(self.loaded), runtime_fingerprint()[0]
            return prove(self.loaded, codec, source, runtime, store, advance).as_data()

    def stay(self) -> None:
        """Keep everything running until Ctrl-C."""
        with suppress(KeyboardInterrupt):  # which may come as soon as the line is read
            click.echo(f"\nThe loop still runs: {self.pages[0]}   (Ctrl-C ends it)", err=True)
            while True:
                time.sleep(3600)

    # ------------------------------------------------------------------ the verdict

    def _report(
        self,
        status: dict[str, Any],
        verified: dict[str, Any],
        oracle: OracleProcess,
        seconds: float,
        requests: int,
    ) -> dict[str, Any]:
        river = oracle.result()
        models = {
            name: {
                metric: {"loop": value, "river": river[name].get(metric)}
                for metric, value in found["metrics"].items()
                if value is not None
            }
            | {
                "n": found["n"],
                "n_other_role": found["n_other_role"],
                "version": found["version"],
                "river_left_out": requests - int(river[name]["n"]),
            }
            for name, found in status["models"].items()
        }
        return {
            "task": self.task.name,
            "mode": "lockstep" if self.lockstep else "free",
            "partitions": self.partitions,
            "workers": self.count,
            "requests": requests,
            "seconds": seconds,
            "models": models,
            "failed": [
                f"model {name} failed {count:,} time(s)"
                for name, each in status["models"].items()
                if (count := each["failures"] + each["skipped"])
            ],
            "baselines": {name: found for name, found in river.items() if name not in models},
            "equal": all(
                close(pair["loop"], pair["river"])
                for each in models.values()
                for pair in each.values()
                if isinstance(pair, dict) and not each["n_other_role"]
            ),
            "left_out": {
                "duplicates": self.left_out.duplicates,
                "outcomes_before_request": self.left_out.before_request,
            },
            "resolutions": {kind: status["join"][kind] for kind in RESOLUTIONS if kind in status["join"]},
            "join": status["join"],
            "waiting": status["waiting"],
            "most_waiting": status["most_waiting"],
            "freshness_ms": status["freshness_ms"],
            "digests_equal": status["digests_equal"],
            "verified": verified,
            "snapshots": str(self.folder / "snapshots"),
        }

    def show(self, report: dict[str, Any]) -> None:
        """Print the last screen."""
        title = f"{report['task']}, {report['mode']}: {report['requests']:,} requests in {report['seconds']:.0f} s"
        table(title, ["", "loop", "River", "difference"], comparison(report))
        if not self.lockstep:
            click.echo("Running free, the log's order is what happened, so the figures differ from River's.")
        counts = ", ".join(f"{name} {count:,}" for name, count in report["resolutions"].items())
        if any(found["river_left_out"] for found in report["models"].values()):
            click.echo(
                "River's evaluator takes no row without a label: the rows left out have none, or repeat an id."
            )
        fresh = report["freshness_ms"]
        verified = report["verified"]
        click.echo(
            f"resolutions  {counts}; waiting {report['waiting']:,}, at most {report['most_waiting']:,} at once"
        )
        click.echo(
            f"freshness    p50 {fresh['p50']:.0f} ms, p99 {fresh['p99']:.0f} ms from arrival to learned"
        )
        scores = ", ".join(f"{count:,} of {model}" for model, count in verified["scores_reproduced"].items())
        verdict = "everything holds" if verified["ok"] else f"{verified['failed']} THINGS DO NOT HOLD"
        click.echo(f"verify       {verdict}; scores reproduced bit for bit: {scores}")
        show_left_out(self.left_out)
        for each in report["failed"]:
            click.echo(f"FAILED: {each}", err=True)
        for each in verified["failures"]:
            click.echo(f"             WRONG: {each['where']}: {each['what']}", err=True)
        if report["workers"] > 1:
            states = "equal" if report["digests_equal"] else "DIFFERENT"
            click.echo(f"replicas     {states} states at equal offsets in {report['workers']} workers")
        click.echo(f"snapshots    {short(report['snapshots'])}")
        place, _, name = self.loaded.reference.rpartition(":")
        reference = f"{short(place)}:{name}"
        other = "--free --partitions 4 --workers 2" if self.lockstep else "--lockstep"
        click.echo(f"\nNext: read {short(place)}, write a task of your own like it, and try\n")
        click.echo(f"  riverloop backtest {reference}\n  riverloop demo {reference} {other}")
