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
    parts = [
        MADE,
        """# Benchmarks

The broker runs on the same machine and shares its cores. Absolute numbers depend on the machine; compare ratios
within one table. The job and how to repeat it: [comparing with others](../how-to/compare-with-others.md).""",
    ]
    if gained := _gains(recorded):
        parts += ["## What you gain", "\n".join(f"- {each}" for each in gained)]
    for name, make in (
        ("throughput", _throughput),
        ("latency", _latency),
        ("stages", _stages),
        ("scale", _scale),
    ):
        if name in recorded:
            parts.append(make(recorded[name]))
    if reached := aims(recorded):
        parts += [
            "## Aims",
            _table(("", "aim", "measured", ""), reached, left=4),
            "[Speed](../concepts/speed.md) explains the aims that were missed.",
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
            "joined state that survives a kill, versioned models, metrics and drift detection."
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
    lines = [head, marks, *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def _where(measured: Mapping[str, Any]) -> str:
    found = measured["machine"]
    stolen = found.get("stolen")
    lent = f", {stolen:.0%} of them used by others" if stolen else ""
    return f"{found['date']}, {found['cores']} cores ({found['processor']}){lent}, Python {found['python']}."


def _throughput(measured: Mapping[str, Any]) -> str:
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
            f"{_where(measured)} Median of {rows[0]['runs']} interleaved runs, one process, one partition. "
            "A pair of request and outcome is two events, counted from the first prediction to the last "
            "labelled example. CPU is per event; MB is peak memory.",
            _table(head, speeds, left=2),
            "Accuracy is that of the scores as served: the topics are filled in advance, so a contender that reads "
            "requests ahead of outcomes serves an untrained model.",
            "\n".join(contenders),
            "Versions: "
            + ", ".join(f"{name} {' and '.join(found)}" for name, found in versions.items())
            + ".",
            *skipped,
        ]
    )


def _latency(measured: Mapping[str, Any]) -> str:
    rows = [
        (
            f"{row['rate']:,}",
            *_quantiles(row["topic"]),
            *_quantiles(row["http"]),
            f"{row['http_rate']:,.0f}",
            *_quantiles(row["outcome_to_serving"]),
        )
        for row in measured["rows"]
    ]
    head = ("requests/s", "topic p50", "p99", "HTTP p50", "p99", "HTTP answers/s", "outcome p50", "p99")
    return "\n\n".join(
        [
            "## Latency",
            f"{_where(measured)} Milliseconds, one worker, {measured['rows'][0]['seconds']:.0f} s at each "
            "rate. Topic: from the due time of a request to its committed prediction. HTTP: to its answer, "
            "one request per call. Outcome: from its arrival until the served model has learned it.",
            _table(head, rows, left=0),
        ]
    )


def _quantiles(found: Mapping[str, float]) -> tuple[str, str]:
    return f"{found['p50']:.0f}", f"{found['p99']:.0f}"


def _stages(measured: Mapping[str, Any]) -> str:
    rows = [
        (
            f"{row['stage']}{' (monitoring)' if row['monitoring'] else ''}",
            f"{row['us_per_event']:.1f}",
        )
        for row in measured["stages"]
    ]
    core = [
        (f"core, {name}", f"{each['us_per_event']:.1f}", f"{each['events_per_s']:,.0f}")
        for name, each in measured["core"].items()
    ]
    whole, unwatched = measured["whole"], measured["unwatched"]
    for name, each in (
        ("loop on Kafka", whole),
        ("loop on Kafka, without monitoring", unwatched),
    ):
        core.append((name, f"{each['cpu_us']:.1f}", f"{each['events_per_s']['median']:,.0f}"))
    share = (
        f"Monitoring takes {measured['monitoring']:.0%} of the core's time and "
        f"{1 - unwatched['ours_is']:.0%} of the loop's throughput (median over pairs of runs)."
    )
    return "\n\n".join(
        [
            "## Stages",
            f"{_where(measured)} CPU time of the functions in memory.",
            _table(("stage", "µs per event"), rows),
            _table(("", "CPU µs per event", "events/s"), core),
            share,
        ]
    )


def _scale(measured: Mapping[str, Any]) -> str:
    head = ("", "pairs", "events/s", "times one worker", "CPU µs per event", "MB")
    return "\n\n".join(
        [
            "## Workers and events",
            f"{_where(measured)} Two partitions, median events/s. The broker shares the cores, and each "
            "worker folds the whole log; a second worker adds serving and joining only. CPU and memory are "
            "the sum of the workers.",
            _table(head, scaled(measured["rows"])),
        ]
    )
