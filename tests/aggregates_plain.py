"""Aggregates as anyone would compute them: over all requests, for each request anew."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from schemas.records import FeatureValue, Request
from streams.aggregates.aggregate import ENTITY_KEY, Aggregate


def plain_aggregates(
    requests: Sequence[Request], aggregates: Sequence[Aggregate], lateness_ms: int
) -> Iterator[dict[str, FeatureValue | None]]:
    """Give the aggregates of each request of a partition, in the order in which they lie on it."""
    kept_ms = max(each.window_ms for each in aggregates) + lateness_ms
    counted: list[Request] = []
    stream_time = -1
    for request in requests:
        stream_time = max(stream_time, request.ts)
        counted = [each for each in counted if each.ts >= stream_time - kept_ms]
        entity = entity_of(request, aggregates[0].by)
        if entity is None or request.ts < stream_time - lateness_ms:
            yield {each.name: None for each in aggregates}
        else:
            own = [each for each in counted if entity_of(each, aggregates[0].by) == entity]
            own = [each for each in own if each.request_id != request.request_id]
            yield {each.name: _aggregate(each, own, request.ts) for each in aggregates}
        known = any(each.request_id == request.request_id for each in counted)
        if entity is not None and not known and request.ts >= stream_time - kept_ms:
            counted.append(request)


def entity_of(request: Request, by: str) -> str | None:
    found: Any = request.entity_key if by == ENTITY_KEY else request.features.get(by)
    return None if found is None else str(found)


def _aggregate(aggregate: Aggregate, own: Sequence[Request], ts: int) -> FeatureValue | None:
    window = [each for each in own if ts - aggregate.window_ms <= each.ts < ts]
    window = sorted(window, key=lambda each: each.ts)  # stable: as they came, where times are equal
    values: list[Any] = [each.features.get(aggregate.value, None) for each in window]
    values = [each for each in values if each is not None] if aggregate.value else list(window)
    match aggregate.how:
        case "count":
            return len(values)
        case "distinct":
            return len(set(values))
        case "last":
            return values[-1] if values else None
        case "sum":
            return math.fsum(values)
        case "mean":
            return math.fsum(values) / len(values) if values else None
