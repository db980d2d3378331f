"""The benchmark's page: made of the recorded results, and of nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from tests.benchmarks.compare.aims import aims
from tests.benchmarks.compare.summary import scaled

MADE: Final = "<!-- Made by `python -m tests.benchmarks.compare --page`; do not edit. -->"


def page(recorded: Mapping[str, Any]) -> str:
    """Give the page's text.

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

Measured on the embedded broker, which shares the machine's cores with what is measured. Absolute figures move
with the machine and with what else runs on it; ratios are taken within one run. How to repeat it, and what is
compared: [comparing with others](../how-to/compare-with-others.md).""",
    ]
    if reached := aims(recorded):
        parts += [
            "## What was aimed at",
            _table(("", "wanted", "found", ""), reached, left=4),
            "Why what is missed is missed, and what was tried: [speed](../concepts/speed.md).",
        ]
    for name, make in (
        ("throughput", _throughput),
        ("latency", _latency),
        ("stages", _stages),
        ("scale", _scale),
    ):
        if name in recorded:
            parts.append(make(recorded[name]))
    return "\n\n".join(parts) + "\n"


def _table(head: Sequence[str], rows: Sequence[Sequence[object]], left: int = 1) -> str:
    marks = ["---"] * left + ["---:"] * (len(head) - left)
    lines = [head, marks, *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def _where(measured: Mapping[str, Any]) -> str:
    found = measured["machine"]
    stolen = found.get("stolen")
    lent = "" if not stolen else f" The machine's host gave {stolen:.0%} of their time to others meanwhile."
    return (
        f"Measured on {found['date']}: {found['cores']} cores of {found['processor']}, {found['system']}, "
        f"Python {found['python']}.{lent}"
    )


def _throughput(measured: Mapping[str, Any]) -> str:
    rows = measured["rows"]
    speeds = [
        (
            f"`{row['contender']}`",
            f"{row['pairs']:,}",
            *(f"{row['events_per_s'][which]:,.0f}" for which in ("min", "median", "max")),
            "" if row["ours_is"] is None else f"{row['ours_is']:.2f}",
            f"{row['cpu_us']:.0f}",
            f"{row['memory_mb']:.0f}",
            f"{row['accuracy']:.3f}",
        )
        for row in rows
    ]
    told = [
        (
            f"`{row['contender']}`",
            row["says"],
            row["promise"],
            ", ".join(f"{name} {version}" for name, version in row["versions"].items()),
        )
        for row in rows
    ]
    out = [f"Left out: `{name}` ({why})." for name, why in measured["left_out"].items()]
    head = (
        "contender",
        "pairs",
        "min",
        "median",
        "max",
        "times as fast is ours",
        "CPU µs",
        "memory MB",
        "accuracy",
    )
    return "\n\n".join(
        [
            "## The whole job, side by side",
            f"{_where(measured)} A pair is a request and its outcome, two events; {rows[0]['runs']} interleaved "
            "runs, one process, one partition; slow contenders get fewer pairs. Events per second count from the "
            "first prediction to the last labelled example by the broker's clock; CPU is that of the process per "
            "event, memory its peak.",
            _table(head, speeds),
            "Accuracy is that of the scores as served. The topics are filled before the start: who reads all "
            "requests ahead of their outcomes, serves an untrained model.",
            _table(("contender", "what it is", "when it is killed", "versions"), told, left=4),
            *out,
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
            f"{_where(measured)} Milliseconds, one worker, {measured['rows'][0]['seconds']:.0f} s at each rate, "
            "from the moment a request is due until its prediction is read from the topic (committed) or answered "
            "over HTTP (one request per call, client on the same machine); outcome: from its arrival until the "
            "served model has learned from it.",
            _table(head, rows, left=0),
        ]
    )


def _quantiles(found: Mapping[str, float]) -> tuple[str, str]:
    return f"{found['p50']:.0f}", f"{found['p99']:.0f}"


def _stages(measured: Mapping[str, Any]) -> str:
    rows = [
        (
            f"{row['stage']}{' (monitoring)' if row['monitoring'] else ''}",
            row["says"],
            row["times"],
            f"{row['us']:.1f}",
            f"{row['us_per_event']:.1f}",
        )
        for row in measured["stages"]
    ]
    core = [
        (f"pure core, {name}", f"{each['us_per_event']:.1f}", f"{each['events_per_s']:,.0f}")
        for name, each in measured["core"].items()
    ]
    whole, unwatched = measured["whole"], measured["unwatched"]
    for name, each in (
        ("whole loop, on Kafka", whole),
        ("whole loop, on Kafka, without monitoring", unwatched),
    ):
        core.append((name, f"{each['cpu_us']:.1f}", f"{each['events_per_s']['median']:,.0f}"))
    told = (
        f"Monitoring takes {measured['monitoring']:.0%} of the pure core's time, and "
        f"{1 - unwatched['ours_is']:.0%} of the whole loop's throughput: the median over pairs of runs, one after "
        "the other."
    )
    return "\n\n".join(
        [
            "## Stages",
            f"{_where(measured)} The real functions in memory; a pair of request and outcome is two events.",
            _table(("stage", "what", "times per pair", "µs each", "µs per event"), rows, left=2),
            _table(("", "CPU µs per event", "events/s"), core),
            told,
        ]
    )


def _scale(measured: Mapping[str, Any]) -> str:
    head = ("", "pairs", "events/s", "as fast as one worker", "CPU µs per event", "memory MB")
    return "\n\n".join(
        [
            "## Workers and events",
            f"{_where(measured)} Two partitions; events per second are the median. The broker shares the cores, "
            "and each worker folds the whole log, so that its models are at hand: what a second worker adds is "
            "serving, joining and the encoding of both. Processor time and memory are those of all workers.",
            _table(head, scaled(measured["rows"])),
        ]
    )
