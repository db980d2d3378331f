"""The page docs/reliability.md, made of the reports of runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from agents.ledger.faults import FAULTS

MADE: Final = "<!-- Made by `riverloop ledger page`; do not edit. -->"
INTRODUCTION: Final = """# Reliability

What becomes of requests and outcomes when things break? The ledger sends a workload whose right answer is a pure
function of its seed: outcomes on time, before their prediction, twice, corrected, withdrawn, late, forgotten,
never, unreadable, for nobody. While it is sent, faults strike at random times. Afterwards everything that is
committed is read and compared: one resolution per request, corrections in order and naming what they correct,
dead letters, counts, the join's state, the workers' states, and every served score. How to run it:
[run the ledger](how-to/run-the-ledger.md).

*Lost*: due, and not there. *Doubled*: there more often than due. *Wrong*: there, but with another value, in another
order, or not reproducible. *Longest stall*: the longest time in which the training log did not grow although there
was something to do. A finding counts for the fault that struck while its request was sent; one that is about
no single request counts in the sum only."""
COLUMNS: Final = ("rounds", "requests", "lost", "doubled", "wrong", "longest_stall_s")
HEADS: Final = ("loop", "fault", "rounds", "requests", "lost", "doubled", "wrong", "longest stall (s)")


def page(reports: Sequence[Mapping[str, Any]]) -> str:
    """Give the page's text.

    Parameters
    ----------
    reports
        As `riverloop ledger run --json` prints them, in the order of the table; several runs of one loop are
        rows of their own.
    """
    rows = [row for report in reports for row in _rows(report)]
    runs = "\n\n".join(map(_run, reports))
    struck = [name for name in FAULTS if any(name in report["faults"] for report in reports)]
    parts = [MADE, INTRODUCTION, _table(HEADS, rows)]
    if struck:
        parts.append(
            "## The faults\n\n" + "\n".join(f"- **{name}**: {FAULTS[name].describe}" for name in struck)
        )
    parts.append(f"## The runs\n\n{runs}")
    return "\n\n".join(parts) + "\n"


def _rows(report: Mapping[str, Any]) -> list[list[str]]:
    rows = [
        [report["loop"], name, *(_number(row[column]) for column in COLUMNS)]
        for name, row in report["faults"].items()
    ]
    longest = max(row["longest_stall_s"] for row in report["faults"].values())
    told = [report[column] for column in COLUMNS[:-1]]
    rows.append([report["loop"], "**all**", *(f"**{_number(each)}**" for each in (*told, longest))])
    return rows


def _run(report: Mapping[str, Any]) -> str:
    entries = ", ".join(f"{count:,} {kind}" for kind, count in report["entries"].items())
    text = (
        f"**{report['loop']}**, {report['date']}, seed {report['seed']}: {report['records']:,} records in "
        f"{report['seconds']:,.0f} s with {report['workers']} workers on {report['partitions']} partitions "
        f"({report['versions']['system']}; riverloop {report['versions']['riverloop']}, "
        f"{report['versions']['runtime']}). Entries: {entries}. Dead letters due: {report['dead_letters']:,}.\n\n"
        f"```sh\n{report['command']}\n```"
    )
    examples = [f"- {kind}: {texts[0]}" for kind, texts in report["examples"].items()]
    return text + ("\n\nThe first of what was found:\n\n" + "\n".join(examples) if examples else "")


def _number(value: Any) -> str:
    return f"{value:,.1f}" if isinstance(value, float) else f"{value:,}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    places = ["---", "---", *["--:"] * (len(head) - 2)]
    return "\n".join("| " + " | ".join(line) + " |" for line in (head, places, *rows))
