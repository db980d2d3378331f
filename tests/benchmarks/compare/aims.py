"""What the benchmark aims at, and whether what was measured reaches it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

TIMES_AS_FAST: Final[Mapping[str, float]] = {
    "handwritten": 1.4,
    "plain-faust": 10.0,
    "quix-exactly-once": 4.0,
    "quix": 1.2,
    "bytewax": 1.2,
}
"""By contender: how many times as fast ours wants to be."""
LATENCIES: Final = (
    ("answer over HTTP at 1,000 requests/s, p99", "http", 20.0),
    ("outcome to serving at 1,000 requests/s, p99", "outcome_to_serving", 500.0),
)
"""What, its key in a row of `latency`, at most (ms)."""
AT_RATE: Final = 1_000
AS_BARE: Final = 1.5
"""How many times as long as a bare handler's an answer over HTTP may take, p99."""
TWO_WORKERS: Final = 1.3
"""How many times as fast two workers want to be as one."""


def aims(recorded: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    """Give for each aim that was measured: what, what is wanted, what was found, `reached` or `missed`.

    Examples
    --------
    >>> rows = [{"contender": "handwritten", "ours_is": 0.5}, {"contender": "other", "ours_is": 2.0}]
    >>> aims({"throughput": {"rows": rows}})
    [('as fast as `handwritten`', 'at least 1.4 times', '0.50 times', 'missed')]
    """
    found = [
        _at_least(f"as fast as `{row['contender']}`", TIMES_AS_FAST[row["contender"]], row["ours_is"])
        for row in _rows(recorded, "throughput")
        if row["contender"] in TIMES_AS_FAST and row["ours_is"] is not None
    ]
    for row in _rows(recorded, "latency"):
        if row["rate"] == AT_RATE:
            for what, key, most in LATENCIES:
                measured = row[key]["p99"]
                verdict = "reached" if measured <= most else "missed"
                found.append((what, f"at most {most:.0f} ms", f"{measured:.0f} ms", verdict))
        if "bare" in row and row["rate"] >= AT_RATE:
            times = row["http"]["p99"] / row["bare"]["p99"]
            what = f"answer over HTTP at {row['rate']:,} requests/s, p99, beside a bare handler's"
            verdict = "reached" if times <= AS_BARE else "missed"
            found.append((what, f"at most {AS_BARE} times", f"{times:.2f} times", verdict))
    found += [
        _at_least("two workers, as fast as one on two cores", TWO_WORKERS, 1 / row["ours_is"])
        for row in _rows(recorded, "scale")
        if row["contender"] == "two-workers"
    ]
    return found


def _rows(recorded: Mapping[str, Any], section: str) -> Sequence[Mapping[str, Any]]:
    rows: Sequence[Mapping[str, Any]] = recorded.get(section, {}).get("rows", ())
    return rows


def _at_least(what: str, wanted: float, times: float) -> tuple[str, str, str, str]:
    return (
        what,
        f"at least {wanted:.1f} times",
        f"{times:.2f} times",
        "reached" if times >= wanted else "missed",
    )
