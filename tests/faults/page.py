"""The page docs/reliability.md, made of the reports of runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from tests.faults.registry import FAULTS
from tests.faults.report import OURS
from tests.faults.timing import PHASES

MADE: Final = "<!-- Made by `python -m tests.faults page`; do not edit. -->"
INTRODUCTION: Final = """# Reliability

What happens to requests and outcomes when something fails? The fault harness sends a workload whose results are a
pure function of its seed: outcomes on time, before their prediction, twice, corrected, withdrawn, late, forgotten,
missing, unreadable, and for unknown requests. Meanwhile it injects faults at random times. Afterwards it reads
everything committed and compares: one resolution per request, corrections in order and with the entry that they
correct, dead letters, counters, the join's state, the workers' states, and every served score. How to run it:
[run the fault harness](contributing/faults.md).

- *Lost*: expected, and missing.
- *Doubled*: present more often than expected.
- *Wrong*: present, but with another value, in another order, or not reproducible; or a worker that ended
  unexpectedly.
- *Longest stall*: the longest time in which the training log did not grow although there was something to do.
- *Freshness p99*: from an outcome's arrival in Kafka to its entry in the log, 99 % of those between the fault and
  the next one; the worst of all rounds.

A finding counts for the fault that was active while its request was sent. One that is about no single request
counts in the sum only."""
FAILOVER: Final = """## Failover

Seconds from the death of a worker, or the return of the broker, to the end of each phase; the longest of all
rounds. The limit for *answered* and *moved* is 15 s. The phases are described in
[run the fault harness](contributing/faults.md#where-the-time-of-a-failover-goes)."""
CRASH: Final = "crash-"
SUMS: Final = ("rounds", "requests", "lost", "doubled", "wrong")
WORST: Final = ("longest_stall_s", "freshness_p99_s")
HEADS: Final = (
    *("loop", "fault", "rounds", "requests", "lost", "doubled", "wrong"),
    *("longest stall (s)", "freshness p99 (s)"),
)


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
    rows = [row for loop, runs in loops.items() for row in _rows(loop, runs)]
    injected = [name for name in FAULTS if any(name in report["faults"] for report in reports)]
    parts = [MADE, INTRODUCTION, _table(HEADS, rows)]
    if injected:
        parts.append("## The faults\n\n" + "\n".join(_described(injected)))
    if failovers := _failovers([run for run in reports if run["loop"] == OURS]):
        parts += [FAILOVER, _table(("fault", *PHASES), failovers, texts=1)]
    parts.append("## The runs\n\n" + "\n\n".join(_runs(loop, runs) for loop, runs in loops.items()))
    return "\n\n".join(parts) + "\n"


def _described(names: Sequence[str]) -> Iterator[str]:
    """Yield a line for each fault; the crash points share one."""
    points = [name.removeprefix(CRASH) for name in names if name.startswith(CRASH)]
    for name in names:
        if not name.startswith(CRASH):
            yield f"- **{name}**: {FAULTS[name].description}"
        elif name == f"{CRASH}{points[0]}":
            yield f"- **{CRASH}…**: A worker kills itself (SIGKILL) at a point: {', '.join(points)}."


def _rows(loop: str, runs: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    rows = []
    for name in ("none", *FAULTS):
        mine = [run["faults"][name] for run in runs if name in run["faults"]]
        if mine:
            rows.append([loop, name, *(_number(value) for value in (*_sums(mine), *_worst(mine)))])
    all_faults = [row for run in runs for row in run["faults"].values()]
    totals = [f"**{_number(value)}**" for value in (*_sums(runs), *_worst(all_faults))]
    return [*rows, [loop, "**all**", *totals]]


def _failovers(runs: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Return the seconds of each phase, the longest over all rounds of a fault."""
    rows = []
    for name in FAULTS:
        mine = [run["faults"][name].get("phases_s", {}) for run in runs if name in run["faults"]]
        most = [max((each[phase] for each in mine if phase in each), default=None) for phase in PHASES]
        if any(most):
            rows.append([name, *("" if seconds is None else _number(float(seconds)) for seconds in most)])
    return rows


def _sums(rows: Sequence[Mapping[str, Any]]) -> list[int]:
    return [sum(row[column] for row in rows) for column in SUMS]


def _worst(rows: Sequence[Mapping[str, Any]]) -> list[float]:
    return [max(row[column] for row in rows) for column in WORST]


def _runs(loop: str, runs: Sequence[Mapping[str, Any]]) -> str:
    kinds: Counter[str] = Counter()
    for run in runs:
        kinds.update(run["entries"])
    last = runs[-1]
    dates = " to ".join(sorted({min(run["date"] for run in runs), max(run["date"] for run in runs)}))
    text: str = (
        f"**{loop}**, {dates}, seed{'s' if len(runs) > 1 else ''} {', '.join(str(run['seed']) for run in runs)}: "
        f"{sum(run['records'] for run in runs):,} records in {sum(run['seconds'] for run in runs):,.0f} s "
        f"({last['versions']['system']}; riverloop {last['versions']['riverloop']}, "
        f"{last['versions']['runtime']}). Entries: "
        + ", ".join(f"{count:,} {kind}" for kind, count in sorted(kinds.items()))
        + f". Dead letters due: {sum(run['dead_letters'] for run in runs):,}. The reports in "
        "[reference/faults](reference/faults) have the command of each run; the first is:\n\n"
        f"```sh\n{runs[0]['command']}\n```"
    )
    first: dict[str, str] = {}
    for run in runs:
        for kind, texts in run["examples"].items():
            first.setdefault(kind, texts[0])
    examples = [f"- {kind}: {found}" for kind, found in first.items()]
    return text + ("\n\nThe first findings:\n\n" + "\n".join(examples) if examples else "")


def _number(value: Any) -> str:
    return f"{value:,.1f}" if isinstance(value, float) else f"{value:,}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], texts: int = 2) -> str:
    places = [*["---"] * texts, *["--:"] * (len(head) - texts)]
    return "\n".join("| " + " | ".join(line) + " |" for line in (head, places, *rows))
