"""The benchmark's page, generated from the recorded results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from tests.benchmarks.compare.aims import AT_RATE, aims
from tests.benchmarks.compare.run_config import OURS
from tests.benchmarks.compare.summary import scaled

KEEPING: Final = ("plain-faust", "quix-exactly-once")
"""Contenders whose joined state survives a kill."""
MADE: Final = "<!-- Made by `python -m tests.benchmarks.compare --page`; do not edit. -->"


def page(recorded: Mapping[str, Any]) -> str:
    """Return the page's text.

    Parameters
    ----------
    recorded
        By section (`throughput`, `latency`, `stages`, `scale`): what was measured, with its `machine`.

    Examples
    --------
    >>> print(page({}).splitlines()[2])
    # Benchmarks
    """
    machines = dict.fromkeys(_machine(recorded[name]["machine"]) for name, _ in SECTIONS if name in recorded)
    parts = [
        MADE,
        """# Benchmarks

The broker shares the machine's cores; compare ratios within one table.
[Speed](../contributing/speed.md#compare-with-other-frameworks) has the job, how to repeat it, and why aims were
missed.""",
    ]
    if gained := _gains(recorded):
        parts += ["## What you gain", "\n".join(f"- {each}" for each in gained)]
    if len(machines) == 1:
        parts.append(f"Measured on {next(iter(machines))}.")
    for name, make in SECTIONS:
        if name in recorded:
            where = _where(recorded[name]["machine"], alone=len(machines) > 1)
            parts.append(make(recorded[name], where))
    if reached := aims(recorded):
        parts += [
            "## Aims",
            _table(("aim", "target", "measured", "result"), reached, left=4),
        ]
    return "\n\n".join(parts) + "\n"


def _gains(recorded: Mapping[str, Any]) -> list[str]:
    """Return what a user gains and pays, a sentence each."""
    rows = {row["contender"]: row for row in recorded.get("throughput", {}).get("rows", ())}
    found = []
    if OURS in rows:
        ours = rows[OURS]
        found.append(
            f"{ours['events_per_s']['median']:,.0f} events/s on one worker, with exactly-once outputs, "
            "joined state, versioned models, metrics and drift detection."
        )
        others = [
            f"{row['ours_is']:.1f} times as fast as `{name}`"
            for name, row in rows.items()
            if name in KEEPING and row["ours_is"] is not None
        ]
        if others:
            found.append(f"Of the loops that keep joined state: {' and '.join(others)}.")
        if "handwritten" in rows:
            found.append(
                f"The price: {rows['handwritten']['ours_is']:.2f} times as fast as a handwritten loop, "
                "which loses joined state and model when it is killed."
            )
    for row in recorded.get("latency", {}).get("rows", ()):
        if row["rate"] == AT_RATE:
            found.append(
                f"At {AT_RATE:,} requests/s, p99: an answer over HTTP after {row['http']['p99']:.0f} ms, "
                f"over the topic after {row['topic']['p99']:.0f} ms; a model learns an outcome after "
                f"{row['outcome_to_serving']['p99']:.0f} ms."
            )
    return found


def _table(head: Sequence[str], rows: Sequence[Sequence[object]], left: int = 1) -> str:
    marks = ["---"] * left + ["---:"] * (len(head) - left)
    first, *others = (_row([str(cell) for cell in line]) for line in (head, *rows))
    return "\n".join([first, "|".join(marks), *others])


def _row(cells: Sequence[str]) -> str:
    text = " | ".join(cells)
    return text if cells[0] and cells[-1] else f"| {text} |"


def _machine(found: Mapping[str, Any]) -> str:
    return f"{found['date']}, {found['cores']} cores ({found['processor']}), Python {found['python']}"


def _where(found: Mapping[str, Any], *, alone: bool) -> str:
    """Return sentences about a section's machine; the machine itself only if the page's top does not name it."""
    stolen = found.get("stolen")
    lent = f"Others used {stolen:.0%} of the cores. " if stolen else ""
    return (f"{_machine(found)}. " if alone else "") + lent


def _throughput(measured: Mapping[str, Any], where: str) -> str:
    rows = measured["rows"]
    speeds = [
        (
            f"`{row['contender']}`",
            row["promise"],
            f"{row['events_per_s']['median']:,.0f}",
            "" if row["ours_is"] is None else f"{row['ours_is']:.2f}",
            f"{row['cpu_us']:.0f}",
            f"{row['memory_mb']:.0f}",
            f"{row['accuracy']:.3f}",
        )
        for row in rows
    ]
    contenders = [f"- `{row['contender']}`: {row['says']}." for row in rows]
    versions: dict[str, dict[str, None]] = {}
    for row in rows:
        for name, version in row["versions"].items():
            versions.setdefault(name, {})[version] = None
    skipped = [f"Not measured: `{name}` ({why})." for name, why in measured["left_out"].items()]
    head = ("contender", "after a kill", "events/s", "ours is times as fast", "CPU µs", "MB", "accuracy")
    return "\n\n".join(
        [
            "## Throughput",
            f"{where}Median of {rows[0]['runs']} interleaved runs, one process, one partition. "
            "A pair of request and outcome is two events. CPU is per event; MB is peak memory.",
            _table(head, speeds, left=2),
            "The topics are filled in advance, so a contender that reads requests ahead of outcomes serves an "
            "untrained model, which lowers accuracy.",
            "\n".join(contenders),
            "Versions: "
            + ", ".join(f"{name} {' and '.join(found)}" for name, found in versions.items())
            + ".",
            *skipped,
        ]
    )


def _latency(measured: Mapping[str, Any], where: str) -> str:
    rows = [
        (
            f"{row['rate']:,}",
            *_quantiles(row["topic"]),
            *_quantiles(row["http"]),
            f"{row['http_rate']:,.0f}",
            *(_quantiles(row["bare"]) if "bare" in row else ("", "")),
            *_quantiles(row["outcome_to_serving"]),
        )
        for row in measured["rows"]
    ]
    head = (
        "requests/s",
        "topic p50",
        "p99",
        "HTTP p50",
        "p99",
        "HTTP answers/s",
        "bare HTTP p50",
        "p99",
        "outcome p50",
        "p99",
    )
    return "\n\n".join(
        [
            "## Latency",
            f"{where}Milliseconds, one worker, {measured['rows'][0]['seconds']:.0f} s at each "
            "rate, from a request's due time to its committed prediction (topic) or answer (HTTP), and from an "
            "outcome's arrival until the served model has learned it.",
            _table(head, rows, left=0),
        ]
    )


def _quantiles(found: Mapping[str, float]) -> tuple[str, str]:
    return f"{found['p50']:.0f}", f"{found['p99']:.0f}"


def _stages(measured: Mapping[str, Any], where: str) -> str:
    rows = [
        (f"core, {name}", f"{each['us_per_event']:.1f}", f"{each['events_per_s']:,.0f}")
        for name, each in measured["core"].items()
    ]
    whole, unwatched = measured["whole"], measured["unwatched"]
    for name, each in (
        ("loop on Kafka", whole),
        ("loop on Kafka, without monitoring", unwatched),
    ):
        rows.append((name, f"{each['cpu_us']:.1f}", f"{each['events_per_s']['median']:,.0f}"))
    share = (
        f"Monitoring takes {measured['monitoring']:.0%} of the core's time and "
        f"{1 - unwatched['ours_is']:.0%} of the loop's throughput (median over pairs of runs)."
    )
    return "\n\n".join(
        [
            "## Monitoring",
            f"{where}CPU time; the core is the functions in memory. `--stages` prints each stage.",
            _table(("part", "CPU µs per event", "events/s"), rows),
            share,
        ]
    )


def _scale(measured: Mapping[str, Any], where: str) -> str:
    head = ("workers", "pairs", "events/s", "times one worker", "CPU µs per event", "MB")
    return "\n\n".join(
        [
            "## Workers and events",
            f"{where}Two partitions, median events/s. The broker shares the cores, and each "
            "worker folds the whole log; a second worker adds serving and joining only. CPU and memory are "
            "the sum of the workers.",
            _table(head, scaled(measured["rows"])),
        ]
    )


SECTIONS: Final = (
    ("throughput", _throughput),
    ("latency", _latency),
    ("stages", _stages),
    ("scale", _scale),
)
"""The sections of the recorded results, in the page's order."""
