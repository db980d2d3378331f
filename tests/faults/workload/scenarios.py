"""What can happen to a request: each scenario sends the records, and states the entries that must result.

The expected entries are written down here by hand, from the join's table and not by running the join.
"""

from __future__ import annotations

from typing import Final, Protocol

from tests.faults.workload.draft import Draft
from tests.faults.workload.plan import Input

UNKNOWN_PREFIX: Final = "nobody-"
"""Ids that were never requested begin with this, followed by the number of the request they came with."""
BROKEN: Final = (
    (b"\xfe\xfeneither JSON nor Avro", "unreadable"),
    (b'{"request_id": "cut short', "malformed"),
    (b"\x00\x00\x00\x00\x01framed", "registry_framing"),
    (b'{"request_id": "x", "ts": 1}', "missing_field"),
    (b'{"request_id": "x", "ts": "noon"}', "wrong_type"),
)
"""Bytes that no topic accepts, with the expected reason."""


def on_time(draft: Draft) -> None:
    """The outcome arrives within the horizon."""
    draft.send_request()
    draft.expect("labelled", draft.send_outcome(draft.in_time(), draft.value, alone=True))


def at_the_deadline(draft: Draft) -> None:
    """The outcome arrives at the last moment that is in time."""
    draft.send_request()
    draft.expect("labelled", draft.send_outcome(draft.deadline, draft.value, alone=True))


def before_the_prediction(draft: Draft) -> None:
    """The outcome arrives before the request, within the tolerance."""
    ts = draft.between(draft.request.ts - draft.rules.tolerance_ms, draft.request.ts)
    draft.expect("labelled", draft.send_outcome(ts, draft.value, alone=True))
    draft.send_request()


def requested_twice(draft: Draft) -> None:
    """The request is repeated; the first prediction counts."""
    draft.send_request()
    draft.send_request()
    draft.expect_count("duplicate_prediction")
    draft.expect("labelled", draft.send_outcome(draft.in_time(), draft.value))


def same_bytes(draft: Draft) -> None:
    """The outcome is sent twice with the same bytes."""
    draft.send_request()
    draft.expect("labelled", draft.send_outcome(draft.in_time(), draft.value))
    draft.sent_records.append(draft.sent_records[-1])
    draft.expect_count("duplicate_outcome")


def same_value(draft: Draft) -> None:
    """The outcome is reported again later, with the same value."""
    draft.send_request()
    ts = draft.in_time()
    draft.expect("labelled", draft.send_outcome(ts, draft.value))
    draft.send_outcome(draft.between(ts + 1, draft.deadline + draft.rules.revision_horizon_ms), draft.value)
    draft.expect_count("duplicate_outcome")


def revised(draft: Draft) -> None:
    """The outcome is corrected later: a refund, a chargeback."""
    draft.send_request()
    ts = draft.in_time()
    draft.expect("labelled", draft.send_outcome(ts, draft.value))
    ts = draft.between(ts + 1, draft.deadline + draft.rules.revision_horizon_ms)
    draft.expect("revised", draft.send_outcome(ts, draft.other(draft.value)))


def numbered(draft: Draft) -> None:
    """Corrections carry revision numbers; an old one that arrives late changes nothing."""
    draft.send_request()
    value, ts = draft.value, draft.in_time()
    most = draft.rules.revision_horizon_ms // 4
    draft.expect("labelled", draft.send_outcome(ts, value, 1))
    for revision in (2, 4):
        value, ts = draft.other(value), draft.between(ts + 1, ts + most)
        draft.expect("revised", draft.send_outcome(ts, value, revision))
    draft.send_outcome(ts + 1, draft.other(value), 3)
    draft.expect_count("stale_revision")


def unavailable(draft: Draft) -> None:
    """The outcome is reported as lost, and found after all."""
    draft.send_request()
    ts = draft.in_time()
    draft.expect("unavailable", draft.send_outcome(ts, None))
    ts = draft.between(ts + 1, draft.deadline + draft.rules.revision_horizon_ms)
    draft.expect("revised", draft.send_outcome(ts, draft.value))


def withdrawn(draft: Draft) -> None:
    """The outcome is withdrawn."""
    draft.send_request()
    ts = draft.in_time()
    draft.expect("labelled", draft.send_outcome(ts, draft.value))
    draft.expect("unavailable", draft.send_outcome(draft.between(ts + 1, draft.deadline), None))


def just_late(draft: Draft) -> None:
    """The outcome arrives one millisecond after the deadline."""
    draft.send_request()
    draft.expect("expired")
    draft.expect("late", draft.send_outcome(draft.deadline + 1, draft.value, alone=True), late=True)


def after_expiry(draft: Draft) -> None:
    """The outcome arrives after the expiry, and is sometimes corrected once more."""
    draft.send_request()
    draft.expect("expired")
    rules = draft.rules
    last = draft.deadline + rules.revision_horizon_ms
    soonest = min(rules.grace_ms, rules.revision_horizon_ms // 2) + 1
    ts = draft.between(draft.deadline + soonest, last - 1)
    draft.expect("late", draft.send_outcome(ts, draft.value), late=True)
    if draft.random.random() < 0.5:
        correction = draft.send_outcome(draft.between(ts + 1, last), draft.other(draft.value))
        draft.expect("revised", correction, late=True)


def never(draft: Draft) -> None:
    """No outcome arrives."""
    draft.send_request()
    draft.expect("expired")


def forgotten(draft: Draft) -> None:
    """The outcome arrives when the join has forgotten the request."""
    ts = draft.deadline + draft.rules.revision_horizon_ms + draft.random.randint(1, 1000)
    never(draft)
    if ts <= draft.last_ts:
        draft.send_outcome(ts, draft.value, alone=True)
        draft.dead_letters.append(("unknown_or_forgotten", draft.request.request_id))


def impossible(draft: Draft) -> None:
    """The outcome claims to be older than its request, beyond the tolerance."""
    never(draft)
    draft.send_outcome(draft.request.ts - draft.rules.tolerance_ms - 1, draft.value)
    draft.dead_letters.append(("outcome_before_request", draft.request.request_id))


def unknown(draft: Draft) -> None:
    """An outcome names a request that was never sent."""
    name = f"{UNKNOWN_PREFIX}{draft.number}"
    draft.send_outcome(draft.request.ts, draft.value, alone=True, name=name)
    draft.dead_letters.append(("unknown_or_forgotten", name))
    on_time(draft)


def malformed_request(draft: Draft) -> None:
    """A malformed request precedes the good one."""
    _send_broken(draft, "requests")
    on_time(draft)


def malformed_outcome(draft: Draft) -> None:
    """A malformed outcome precedes the good one."""
    draft.send_request()
    _send_broken(draft, "outcomes")
    draft.expect("labelled", draft.send_outcome(draft.in_time(), draft.value, alone=True))


def _send_broken(draft: Draft, topic: Input) -> None:
    data, reason = draft.random.choice(BROKEN)
    draft.send_bytes(topic, data, reason)


class Scenario(Protocol):
    """Fills a draft in."""

    __name__: str

    def __call__(self, draft: Draft) -> None:
        """Add the records sent, and the entries expected."""


SCENARIOS: Final[dict[Scenario, int]] = {
    on_time: 44,
    at_the_deadline: 2,
    before_the_prediction: 5,
    requested_twice: 3,
    same_bytes: 4,
    same_value: 3,
    revised: 6,
    numbered: 3,
    unavailable: 2,
    withdrawn: 2,
    just_late: 2,
    after_expiry: 5,
    never: 12,
    forgotten: 2,
    impossible: 1,
    unknown: 2,
    malformed_request: 1,
    malformed_outcome: 1,
}
"""Weights of the draw; they add up to a hundred."""
