"""The page docs/reliability.md, made of the reports of runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from tests.faults.registry import FAULTS
from tests.faults.report import OURS

MADE: Final = "<!-- Made by `python -m tests.faults page`; do not edit. -->"
INTRODUCTION: Final = """# Reliability

The [fault harness](contributing/faults.md) sends outcomes on time, before their prediction, repeated, corrected,
withdrawn, late, missing, unreadable, and for unknown requests. It injects faults at random times, then compares
resolutions and corrections in order, dead letters, counters, states, and every served score with the expected
results.

- *Lost, doubled*: missing, or present more often than expected.
- *Wrong*: with another value, in another order, or not reproducible; or a worker that ended unexpectedly.
- *Stall*: the longest time without a new log entry although there was work.
- *Freshness*: p99 from an outcome's arrival to its entry in the log.
- *Answered*, *moved*: time from a worker's death, or the broker's return, until every partition has new
  predictions, and until the log grows. Aim: 15 s.

Times in seconds: the longest of all rounds. A finding counts for the fault during which its request was sent."""
CRASH: Final = "crash-"
CRASHES: Final = f"{CRASH}…"
SUMS: Final = ("rounds", "requests", "lost", "doubled", "wrong")
WORST: Final = ("longest_stall_s", "freshness_p99_s")
SHOWN: Final = ("answered", "moved")
"""The phases of a failover that users notice, of `tests.faults.timing.PHASES`."""
HEADS: Final = ("fault", "rounds", "requests", "lost, doubled, wrong", "stall", "freshness", *SHOWN)


def page(reports: Sequence[Mapping[str, Any]]) -> str:
    """Build the page's text.

    Parameters
    ----------
    reports
        As `python -m tests.faults run --json` prints them. Several runs of one loop are added up; riverloop's
        come first.
    """
    loops: dict[str, list[Mapping[str, Any]]] = {}
    for each in sorted(reports, key=lambda report: report["loop"] != OURS):
        loops.setdefault(each["loop"], []).append(each)
    injected = [name for name in FAULTS if any(name in report["faults"] for report in reports)]
    parts = [MADE, INTRODUCTION]
    for loop, runs in loops.items():
        parts += [f"## {loop[:1].upper()}{loop[1:]}", _table(_rows(runs)), _described_runs(loop, runs)]
    if injected:
        parts.append("## The faults\n\n" + "\n".join(_described(injected)))
    return "\n\n".join(parts) + "\n"


def _described(names: Sequence[str]) -> Iterator[str]:
    """Yield a line for each fault; the crash points share one."""
    points = [name.removeprefix(CRASH) for name in names if name.startswith(CRASH)]
    for name in names:
        if not name.startswith(CRASH):
            yield f"- **{name}**: {FAULTS[name].description}"
        elif name == f"{CRASH}{points[0]}":
            yield f"- **{CRASHES}**: A worker kills itself (SIGKILL) at a point: {', '.join(points)}."


def _rows(runs: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Return a row for each fault, one for all crash points, and the sum."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for name in ("none", *FAULTS):
        shown = CRASHES if name.startswith(CRASH) else name
        groups.setdefault(shown, []).extend(run["faults"][name] for run in runs if name in run["faults"])
    rows = [
        [name, *_sums(mine), *(_number(value) for value in _worst(mine)), *_failover(mine)]
        for name, mine in groups.items()
        if mine
    ]
    all_faults = [row for run in runs for row in run["faults"].values()]
    totals = [*_sums(runs), *(_number(value) for value in _worst(all_faults))]
    return [*rows, [f"**{cell}**" if cell else "" for cell in ("all", *totals, *_failover(all_faults))]]


def _failover(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the longest time of each shown phase, empty where no worker died."""
    phases = [row.get("phases_s", {}) for row in rows]
    most = [max((each[phase] for each in phases if phase in each), default=None) for phase in SHOWN]
    return ["" if seconds is None else _number(float(seconds)) for seconds in most]


def _sums(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    rounds, requests, *found = (sum(row[column] for row in rows) for column in SUMS)
    findings = ", ".join(map(_number, found)) if any(found) else "0"
    return [_number(rounds), _number(requests), findings]


def _worst(rows: Sequence[Mapping[str, Any]]) -> list[float]:
    return [max(row[column] for row in rows) for column in WORST]


def _described_runs(loop: str, runs: Sequence[Mapping[str, Any]]) -> str:
    last = runs[-1]
    dates = " to ".join(sorted({min(run["date"] for run in runs), max(run["date"] for run in runs)}))
    text: str = (
        f"{dates}, {len(runs)} run{'s' if len(runs) > 1 else ''}: "
        f"{sum(run['records'] for run in runs):,} records in {sum(run['seconds'] for run in runs):,.0f} s "
        f"({last['versions']['system']}; riverloop {last['versions']['riverloop']}, "
        f"{last['versions']['runtime']}). [The reports](reference/faults) have "
        "commands, seeds and findings."
    )
    first: dict[str, str] = {}
    for run in runs if loop == OURS else ():
        for kind, texts in run["examples"].items():
            first.setdefault(kind, texts[0])
    examples = [f"- {kind}: {found}" for kind, found in first.items()]
    return text + ("\n\nThe first findings:\n\n" + "\n".join(examples) if examples else "")


def _number(value: Any) -> str:
    return f"{value:,.1f}" if isinstance(value, float) else f"{value:,}"


def _table(rows: Sequence[Sequence[str]]) -> str:
    lines = [HEADS, *rows]
    if not any(any(row[-len(SHOWN) :]) for row in rows):
        lines = [line[: -len(SHOWN)] for line in lines]
    first, *others = (" | ".join(line) if line[-1] else f"| {' | '.join(line)} |" for line in lines)
    return "\n".join([first, "|".join(["---", *["--:"] * (len(lines[0]) - 1)]), *others])
