"""Findings about requests as a whole: rejected, repeated, out of order, volume, stale features."""

from __future__ import annotations

from collections.abc import Iterator

from schemas.alert import Evidence
from streams.quality.divergence import rise
from streams.quality.judge import LEAST_RISE, Finding
from streams.quality.tally import Total
from streams.quality.volume import Hour


def requests_findings(base: Total, window: Total, alpha: float) -> Iterator[Finding]:
    """Compare a window of requests with the reference's.

    Parameters
    ----------
    base, window
        Counts of the reference and of the window.
    alpha
        Probability of a false alarm that each test may have.
    """
    rejected, were = sum(window.rejected.values()), sum(base.rejected.values())
    most = max(sorted(window.rejected), key=lambda each: window.rejected[each], default="")
    cases = (
        (
            "rejected",
            rejected,
            window.requests + rejected,
            were,
            base.requests + were,
            f"rejected, most with {most}",
        ),
        (
            "repeated",
            window.repeated,
            window.requests,
            base.repeated,
            base.requests,
            "repeated with the same id",
        ),
        ("disordered", window.disordered, window.requests, base.disordered, base.requests, "out of order"),
    )
    for signal, hits, n, base_hits, base_n, words in cases:
        if not n or not base_n or hits / n - base_hits / base_n < LEAST_RISE:
            continue
        if rise(hits, n, base_hits, base_n) < alpha:
            share, was = hits / n, base_hits / base_n
            evidence = Evidence("Chernoff bound", "share", share, was, was, base_n, share, n)
            text = f"{share:.1%} of requests are {words}, before {was:.1%}."
            severity = "critical" if signal == "rejected" and share - was > 0.5 else "warning"
            yield Finding("", signal, severity, "up", evidence, text)  # type: ignore[arg-type]
    new = sorted(window.written.keys() - base.written.keys())
    if new:
        count = sum(window.written[each] for each in new)
        evidence = Evidence(
            "schemas", "requests in this encoding", count, 0, 0.0, base.requests, count, window.requests
        )
        text = f"{count:,} requests are encoded as {', '.join(new)}, which is not in the reference."
        yield Finding("", "schema", "info", "none", evidence, text)


def odd_hour(hour: Hour) -> Finding:
    """Say that an hour is out of the ordinary."""
    down = hour.requests < hour.expected
    evidence = Evidence(
        "same hour of earlier weeks",
        "requests in an hour",
        hour.requests,
        hour.low if down else hour.high,
        hour.expected,
        hour.weeks,
        hour.requests,
        1,
    )
    text = (
        f"{hour.requests:,} requests in an hour, expected {hour.expected:,.0f} from the {hour.weeks} weeks "
        "before."
    )
    severity = "info" if hour.requests else "critical"
    return Finding("", "volume", severity, "down" if down else "up", evidence, text)  # type: ignore[arg-type]


def stands_still(name: str, seconds: float, after: float) -> Finding:
    """Yield features that have not changed for longer than the dictionary allows."""
    evidence = Evidence("no change", "seconds since it changed", seconds, after)
    text = f"{name} has not changed for {seconds:,.0f} s of event time: its source may have stopped."
    return Finding(name, "stale", "warning", "none", evidence, text)
