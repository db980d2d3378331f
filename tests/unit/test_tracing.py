"""Spans of a request: what a caller's header is, who belongs to the share, how spans hang together."""

from __future__ import annotations

import subprocess
import sys

import pytest

from infra.spans import Collector
from streams.tracing import Caller, caller_of, is_sampled, learning_spans, otlp, prediction_span

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.mark.parametrize(
    ("header", "valid"),
    [
        (f"00-{TRACE}-{SPAN}-01", True),
        (f"00-{TRACE}-{SPAN}-00", True),
        (f"01-{TRACE}-{SPAN}-01-of-a-later-version", True),
        (f"ff-{TRACE}-{SPAN}-01", False),
        (f"00-{TRACE.upper()}-{SPAN}-01", False),
        (f"00-{TRACE}-{'0' * 16}-01", False),
        (f"00-{'0' * 32}-{SPAN}-01", False),
        (f"00-{TRACE}-{SPAN}", False),
        (f"00-{TRACE}-{SPAN}-01\n", False),
        (f"00-{TRACE}-{SPAN}-01-{'x' * 600}", False),
        ("", False),
    ],
)
def test_a_header_is_read_as_w3c_says(header: str, valid: bool) -> None:
    assert caller_of(header.encode()) == (Caller(TRACE, SPAN) if valid else None)


def test_foreign_bytes_are_no_caller() -> None:
    assert caller_of(None) is None
    assert caller_of(bytes(range(256))) is None


def test_a_larger_share_holds_all_of_a_smaller_one() -> None:
    ids = [b"request-%d" % number for number in range(5_000)]
    few, many = ({each for each in ids if is_sampled(each, share)} for share in (0.01, 0.1))
    assert few < many
    assert 20 < len(few) < 90
    assert all(is_sampled(each, 1.0) for each in ids)
    assert not any(is_sampled(each, 0.0) for each in ids)


@pytest.mark.parametrize("caller", [None, Caller(TRACE, SPAN)])
def test_spans_are_the_same_at_every_reading_and_hang_together(caller: Caller | None) -> None:
    def made() -> list[tuple[object, ...]]:
        first = prediction_span("orders", "r-1", caller, 10, 12, "lr.1@5")
        return [first, *learning_spans("orders", "r-1", caller, 9, 100, 104, 7)]

    assert made() == made()
    predicted, waited, learned = (
        prediction_span("orders", "r-1", caller, 10, 12, "lr.1@5"),
        *learning_spans("orders", "r-1", caller, 9, 100, 104, 7),
    )
    assert len({predicted.trace_id, waited.trace_id, learned.trace_id}) == 1
    assert (waited.parent, learned.parent) == (predicted.span_id, waited.span_id)
    assert predicted.parent == ("" if caller is None else SPAN)
    assert len({predicted.span_id, waited.span_id, learned.span_id}) == 3
    others = learning_spans("orders", "r-2", None, 9, 100, 104, 8)
    assert others[0].trace_id != waited.trace_id
    for span in otlp([predicted, waited, learned], "loop")["resourceSpans"][0]["scopeSpans"][0]["spans"]:
        assert len(bytes.fromhex(span["traceId"])) == 16
        assert len(bytes.fromhex(span["spanId"])) == 8


def test_clocks_that_disagree_give_no_span_that_ends_before_it_begins() -> None:
    for span in (
        prediction_span("orders", "r-1", None, 20, 10, ""),
        *learning_spans("orders", "r-1", None, 200, 100, 90, 7),
    ):
        assert span.start_ms <= span.end_ms


def test_a_collector_that_is_away_is_tried_again_until_the_end() -> None:
    waits: list[float] = []

    def pause(seconds: float) -> bool:
        waits.append(seconds)
        return len(waits) == 8

    collector = Collector("http://127.0.0.1:9", {}, "loop", pause)
    span = prediction_span("orders", "r-1", None, 1, 2, "")
    assert not collector.send([span])
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]
    assert (collector.sent, collector.dropped) == (0, 0)


def test_a_worker_imports_nothing_of_it() -> None:
    program = (
        "import sys, agents.app, agents.worker\n"
        "print(*({'infra.spans', 'streams.tracing', 'infra.capacity', 'streams.capacity'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
