"""The whole job side by side with others, latency, where the time goes: `python -m tests.benchmarks.compare`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from agents.cli.common import json_option, print_json, progress, table
from agents.cli.main import main
from infra.embedded.broker import EmbeddedBroker
from infra.kafka.connection import Connection
from infra.kafka.reachable import check_reachable
from schemas.errors import UsageError
from tests.benchmarks.compare.latency import RATES, latency
from tests.benchmarks.compare.load import Load
from tests.benchmarks.compare.machine import Machine
from tests.benchmarks.compare.measure import Result, measure
from tests.benchmarks.compare.page import page
from tests.benchmarks.compare.peers import find
from tests.benchmarks.compare.run_config import CONTENDERS, OURS, SCALED, UNWATCHED, Contender, contender
from tests.benchmarks.compare.stages import stages
from tests.benchmarks.compare.summary import scaled, throughput

FOLDER = Path(__file__).resolve().parents[3] / "docs" / "reference"
RECORDED = "benchmarks.json"
PAGE = "benchmarks.md"


@click.command(epilog="Example: python -m tests.benchmarks.compare --only ours,handwritten --pairs 20000")
@click.option(
    "--pairs", type=click.IntRange(100), default=100_000, show_default=True, help="Of request and outcome."
)
@click.option("--only", metavar="NAME,…", help=f"Of {', '.join(each.name for each in CONTENDERS)}.")
@click.option(
    "--repeat", type=click.IntRange(1), default=3, show_default=True, help="Interleaved runs of each."
)
@click.option(
    "--table", "with_table", is_flag=True, help="The job side by side; what is done without another flag."
)
@click.option(
    "--latency",
    "with_latency",
    is_flag=True,
    help=f"How long a caller waits, at {', '.join(f'{rate:,}' for rate in RATES)} requests/s.",
)
@click.option(
    "--stages",
    "with_stages",
    is_flag=True,
    help="Where the time goes: the pure core by stage, the whole loop.",
)
@click.option(
    "--scale",
    "with_scale",
    is_flag=True,
    help="Two workers beside one, and ten times as many events.",
)
@click.option(
    "--peers-python",
    metavar="PATH",
    envvar="RIVERLOOP_PEERS_PYTHON",
    help="Python of an environment with infra/peers.txt; or RIVERLOOP_PEERS_PYTHON.",
)
@click.option("--page", "with_page", is_flag=True, help="Write docs/reference/benchmarks.md, in a checkout.")
@click.option("--bootstrap", metavar="HOST:PORT", help="A cluster; without it an embedded broker is started.")
@json_option
def compare(
    pairs: int,
    only: str | None,
    repeat: int,
    with_table: bool,
    with_latency: bool,
    with_stages: bool,
    with_scale: bool,
    peers_python: str | None,
    with_page: bool,
    bootstrap: str | None,
    as_json: bool,
) -> None:
    """Measure the loop beside others that do the same job: decode, predict, join, learn, measure, write.

    Each contender runs in a process of its own on topics of its own, filled before it starts. One that is not
    installed is named and left out: docs/contributing/speed.md.
    """
    chosen = _chosen(only)
    if with_page and not FOLDER.is_dir():
        raise UsageError(f"--page writes into a checkout of riverloop, and there is no {FOLDER}")
    found: dict[str, Any] = {}
    with ExitStack() as stack:
        if bootstrap is None:
            bootstrap = stack.enter_context(
                EmbeddedBroker(report=lambda text: click.echo(text, err=True))
            ).bootstrap
        connection = Connection(bootstrap)
        check_reachable(connection)
        machine = Machine()
        if with_table or not (with_latency or with_stages or with_scale):
            field = find(chosen, peers_python)
            if not field.pythons:
                raise UsageError("; ".join(f"{name}: {why}" for name, why in field.left_out.items()))
            rows = _rounds(
                [each for each in chosen if each.name in field.pythons],
                field.pythons,
                connection,
                pairs,
                repeat,
            )
            found["throughput"] = {"machine": machine.reported(), "rows": rows, "left_out": field.left_out}
        if with_latency:
            machine, rows = Machine(), latency(connection)
            found["latency"] = {"machine": machine.reported(), "rows": rows}
        if with_stages:
            machine = Machine()
            both = [contender(OURS), UNWATCHED]
            rows = _rounds(both, find(both).pythons, connection, pairs, repeat)
            pure = stages()
            found["stages"] = {"machine": machine.reported(), "whole": rows[0], "unwatched": rows[1], **pure}
        if with_scale:
            machine = Machine()
            rows = _rounds(SCALED, find(SCALED).pythons, connection, pairs, repeat, SCALED[0].name)
            found["scale"] = {"machine": machine.reported(), "rows": rows}
    if with_page:
        write_page(found, FOLDER)
    if as_json:
        print_json(found)
        return
    _show(found)
    for name, each in found.items():
        if each["machine"]["stolen"]:
            click.echo(
                f"{name}: this machine's host gave {each['machine']['stolen']:.0%} of it to others meanwhile"
            )


def _chosen(only: str | None) -> list[Contender]:
    if only is None:
        return list(CONTENDERS)
    try:
        return [contender(name.strip()) for name in only.split(",")]
    except KeyError as error:
        known = ", ".join(each.name for each in CONTENDERS)
        raise UsageError(f"--only {only}: there is no contender {error}; it has {known}") from None


def _rounds(
    chosen: Sequence[Contender],
    pythons: dict[str, str],
    connection: Connection,
    pairs: int,
    repeat: int,
    base: str = OURS,
) -> list[dict[str, Any]]:
    """Run all, then all again: what slows the machine down for a while, hits them alike."""
    if not chosen:
        return []
    loads = {share: Load.make(int(pairs * share)) for share in {each.share for each in chosen}}
    rounds: list[list[Result]] = []
    with progress("compare", repeat * len(chosen)) as advance:
        for number in range(repeat):
            results: list[Result] = []
            for each in chosen:
                results.append(measure(each, pythons[each.name], connection, loads[each.share]))
                advance(number * len(chosen) + len(results))
            rounds.append(results)
    return throughput(rounds, base)


def write_page(found: dict[str, Any], folder: Path) -> None:
    """Record results beside the page, and make the page anew; sections that were not measured stay."""
    file = folder / RECORDED
    recorded = json.loads(file.read_text("utf-8")) if file.is_file() else {}
    recorded |= found
    file.write_text(json.dumps(recorded, indent=1, ensure_ascii=False) + "\n", "utf-8")
    (folder / PAGE).write_text(page(recorded), "utf-8")


def _show(found: dict[str, Any]) -> None:
    if "throughput" in found:
        _show_throughput(found["throughput"])
    for row in found.get("latency", {}).get("rows", ()):
        rows = [
            [name, row[key]["count"], row[key]["p50"], row[key]["p99"]]
            for name, key in (
                ("request to prediction, topic", "topic"),
                ("request to prediction, HTTP", "http"),
                ("a bare handler, HTTP", "bare"),
                ("outcome to serving", "outcome_to_serving"),
            )
        ]
        title = (
            f"{row['rate']:,} requests/s; over HTTP {row['http_rate']:,.0f}/s were answered, by a bare "
            f"handler {row['bare_rate']:,.0f}/s"
        )
        table(title, ["ms", "count", "p50", "p99"], rows)
    if "stages" in found:
        _show_stages(found["stages"])
    if "scale" in found:
        head = ["", "pairs", "events/s", "as fast as one worker", "CPU µs", "MB"]
        table("how the loop scales", head, scaled(found["scale"]["rows"]))


def _show_throughput(measured: dict[str, Any]) -> None:
    lines = [
        [
            row["contender"],
            row["pairs"],
            *(round(row["events_per_s"][which]) for which in ("min", "median", "max")),
            "" if row["ours_is"] is None else f"{row['ours_is']:.2f}",
            round(row["cpu_us"]),
            round(row["memory_mb"]),
        ]
        for row in measured["rows"]
    ]
    head = [
        "contender",
        "pairs",
        "min",
        "median",
        "max",
        "ours is times",
        "CPU µs",
        "MB",
    ]
    if lines:
        table(f"events/s, {measured['rows'][0]['runs']} runs", head, lines)
    for row in measured["rows"]:
        click.echo(f"{row['contender']}, when it is killed: {row['promise']}")
    versions = {name: each for row in measured["rows"] for name, each in row["versions"].items()}
    click.echo("versions: " + ", ".join(f"{name} {each}" for name, each in versions.items()))
    for name, why in measured["left_out"].items():
        click.echo(f"left out: {name}: {why}")


def _show_stages(measured: dict[str, Any]) -> None:
    lines = [
        [row["stage"], row["times"], round(row["us"], 1), round(row["us_per_event"], 1), row["says"]]
        for row in measured["stages"]
    ]
    table("stages of the pure core", ["stage", "per pair", "µs each", "µs per event", ""], lines)
    for name, each in measured["core"].items():
        click.echo(
            f"pure core {name}: {each['us_per_event']:.1f} µs per event, {each['events_per_s']:,.0f} events/s"
        )
    click.echo(f"monitoring: {measured['monitoring']:.1%} of the pure core's time")
    whole, unwatched = measured["whole"], measured["unwatched"]
    for name, each in (("whole loop on Kafka", whole), ("the same without monitoring", unwatched)):
        click.echo(
            f"{name}: {each['cpu_us']:.1f} µs CPU per event, {each['events_per_s']['median']:,.0f} events/s"
        )
    click.echo(
        f"monitoring: {1 - unwatched['ours_is']:.1%} of the whole loop's throughput (pairs of runs, median), "
        f"{1 - unwatched['cpu_us'] / whole['cpu_us']:.1%} of its processor time"
    )


if __name__ == "__main__":
    main(compare)
