"""What is published of a feature's newest window."""

from __future__ import annotations

from collections.abc import Iterator

from streams.fold import Measurement
from streams.quality.judge import Verdict, limit


def of_feature(name: str, verdict: Verdict) -> Iterator[Measurement]:
    """Return the measurements of one feature in one window."""

    def of(what: str, value: float, unit: str) -> Measurement:
        return Measurement(f"feature_{what}", value, unit, verdict.present, window="last", segment=name)

    for share in ("missing", "outside", "unseen"):
        yield of(share, getattr(verdict, share), "ratio")
    if verdict.psi is not None and verdict.js is not None:
        yield of("psi", verdict.psi.excess, "nats")
        yield of("psi_limit", limit(verdict.psi), "nats")
        if verdict.season is not None:
            yield of("psi_season", verdict.season, "nats")
        yield of("js", verdict.js.excess, "nats")
