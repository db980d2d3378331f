"""What a window says about requests as a whole: refused, repeated, in disorder, written otherwise."""

from __future__ import annotations

from collections.abc import Iterator

from schemas.alert import Evidence
from streams.quality.divergence import rise
from streams.quality.judge import LEAST_RISE, Finding
from streams.quality.tally import Total


def requests_findings(base: Total, window: Total, alpha: float) -> Iterator[Finding]:
    """Compare a window of requests with the reference's.

    Parameters
    ----------
    base, window
        Counts of the reference and of the window.
    alpha
        Probability of a false alarm that each test may have.
    """
    refused, were = sum(window.refused.values()), sum(base.refused.values())
    most = max(sorted(window.refused), key=lambda each: window.refused[each], default="")
    cases = (
        (
            "refused",
            refused,
            window.requests + refused,
            were,
            base.requests + were,
            f"refused, most as {most}",
        ),
        (
            "repeated",
            window.repeated,
            window.requests,
            base.repeated,
            base.requests,
            "sent again with the same id",
        ),
        (
            "disordered",
            window.disordered,
            window.requests,
            base.disordered,
            base.requests,
            "older than one before them",
        ),
    )
    for signal, hits, n, base_hits, base_n, words in cases:
        if not n or not base_n or hits / n - base_hits / base_n < LEAST_RISE:
            continue
        if rise(hits, n, base_hits, base_n) < alpha:
            share, was = hits / n, base_hits / base_n
            evidence = Evidence("Chernoff bound", "share", share, was, was, base_n, share, n)
            text = f"{share:.1%} of the requests are {words}; {was:.1%} were."
            severity = "critical" if signal == "refused" and share - was > 0.5 else "warning"
            yield Finding("", signal, severity, "up", evidence, text)  # type: ignore[arg-type]
    new = sorted(window.written.keys() - base.written.keys())
    if new:
        count = sum(window.written[each] for each in new)
        evidence = Evidence(
            "schemas", "requests written so", count, 0, 0.0, base.requests, count, window.requests
        )
        text = f"{count:,} requests are written with {', '.join(new)}, which the reference had none of."
        yield Finding("", "schema", "info", "none", evidence, text)
