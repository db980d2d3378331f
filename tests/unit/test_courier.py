"""A courier commits only what was delivered, tries again by the schedule, and loses nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

from prometheus_client import CollectorRegistry, generate_latest

from infra.notify.config import Webhook
from infra.notify.courier import POLL_S, Courier
from infra.notify.exporter import HookExporter
from infra.notify.metrics import HOOK_METRICS
from infra.notify.progress import Progress
from infra.notify.source import Found, Source
from infra.notify.webhook import Outcome
from schemas.errors import BrokerError
from streams.notify.events import Event
from streams.notify.retries import SCHEDULE_S, SHARE

HOOK = Webhook(name="ci", url="https://ci.example.com", secrets=(b"k" * 24,))
FAILED = Outcome("it answered 500")


def event(offset: int, kind: str = "decision.promote") -> Event:
    return Event(f"evt_{offset}", kind, offset, {})


class Topic:
    """A source with given records, in pieces of two."""

    topic = "hotel.control"

    def __init__(self, events: Sequence[Event | None]) -> None:
        self.events, self.next_offset = events, 0

    @property
    def end(self) -> int:
        return len(self.events)

    def go_to(self, offset: int) -> None:
        """As decisions: they are read from the beginning."""

    def piece(self) -> list[Found]:
        begin, self.next_offset = self.next_offset, min(self.end, self.next_offset + 2)
        return [Found(offset, self.events[offset]) for offset in range(begin, self.next_offset)]


class Offsets:
    """A progress in memory; `fail` says which commits fail."""

    def __init__(self, at: int | None = 0) -> None:
        self.at, self.fail = at, 0

    def read(self, sources: Sequence[Source]) -> dict[str, int | None]:
        return {each.topic: self.at for each in sources}

    def write(self, source: Source, offset: int) -> None:
        if self.fail:
            self.fail -= 1
            raise BrokerError("not committed")
        self.at = offset

    def close(self) -> None:
        """Nothing is held."""


def courier(
    topic: Topic,
    offsets: Offsets,
    send: Callable[[Event], Outcome],
    skip: Sequence[str] = (),
    wait: Callable[[float], bool] | None = None,
    hook: Webhook = HOOK,
) -> Courier:
    sources = cast("list[Source]", [topic])
    return Courier(hook, sources, cast(Progress, offsets), send, skip, wait)


def test_nothing_is_committed_before_it_is_delivered() -> None:
    topic, offsets = Topic([event(0), event(1), event(2)]), Offsets()
    seen = list[tuple[str, Any]]()

    def send(sent: Event) -> Outcome:
        seen.append((sent.id, offsets.at))
        return Outcome()

    assert courier(topic, offsets, send).run(once=True)
    assert seen == [("evt_0", 0), ("evt_1", 1), ("evt_2", 2)]
    assert offsets.at == 3


def test_a_delivery_that_fails_is_repeated_by_the_schedule_and_holds_up_what_follows() -> None:
    failures = len(SCHEDULE_S) + 2
    sent, waits = list[str](), list[float]()

    def send(each: Event) -> Outcome:
        sent.append(each.id)
        return FAILED if len(sent) <= failures else Outcome()

    def wait(seconds: float) -> bool:
        waits.append(seconds)
        return seconds == POLL_S

    offsets = Offsets()
    made = courier(Topic([event(0), event(1)]), offsets, send, wait=wait)
    made.run()
    assert sent == ["evt_0"] * (failures + 1) + ["evt_1"]
    wanted = [*SCHEDULE_S, SCHEDULE_S[-1], SCHEDULE_S[-1]]
    assert waits[-1] == POLL_S
    assert all(least <= each < least * (1 + SHARE) for least, each in zip(wanted, waits[:-1], strict=True))
    assert (made.counts.delivered, made.counts.failed, made.counts.failing) == (2, failures, False)
    assert offsets.at == 2


def test_a_commit_that_fails_repeats_the_event_under_its_id_and_nothing_is_lost() -> None:
    offsets, sent = Offsets(), list[str]()
    offsets.fail = 1

    def send(each: Event) -> Outcome:
        sent.append(each.id)
        return Outcome()

    waited = list[float]()

    def wait(seconds: float) -> bool:
        waited.append(seconds)
        return len(waited) == 2

    courier(Topic([event(0), event(1), event(2)]), offsets, send, wait=wait).run()
    assert sent == ["evt_0", "evt_0", "evt_1", "evt_2"]
    assert offsets.at == 3


def test_once_ends_at_the_first_that_fails_and_keeps_its_place() -> None:
    offsets = Offsets()
    made = courier(
        Topic([event(0), event(1)]), offsets, lambda each: FAILED if each.id == "evt_1" else Outcome()
    )
    assert not made.run(once=True)
    assert offsets.at == 1
    assert made.counts.failing


def test_what_is_not_wanted_or_skipped_is_passed_over() -> None:
    sent = list[str]()

    def send(each: Event) -> Outcome:
        sent.append(each.id)
        return Outcome()

    offsets, hook = Offsets(), Webhook(name="ci", url="", secrets=(), events=("alert.opened", "validation"))
    events = [
        event(0),
        event(1, "alert.opened"),
        event(2, "alert.closed"),
        event(3, "validation.failed"),
        None,
    ]
    events.append(event(5, "validation.passed"))
    assert courier(Topic(events), offsets, send, skip=["evt_5"], hook=hook).run(once=True)
    assert sent == ["evt_1", "evt_3"]
    assert offsets.at == 6


def test_a_new_destination_begins_with_what_comes_and_one_that_goes_on_where_it_was() -> None:
    sent, offsets = list[str](), Offsets(None)

    def send(each: Event) -> Outcome:
        sent.append(each.id)
        return Outcome()

    assert courier(Topic([event(0), event(1)]), offsets, send).run(once=True)
    assert (sent, offsets.at) == ([], 2)
    assert courier(Topic([event(n) for n in range(4)]), offsets, send).run(once=True)
    assert sent == ["evt_2", "evt_3"]


def test_the_metrics_name_the_destination_that_fails() -> None:
    failing = courier(Topic([event(0)]), Offsets(), lambda each: FAILED)
    assert not failing.run(once=True)
    registry = CollectorRegistry(auto_describe=False)
    exporter = HookExporter("hotel", [failing])
    registry.register(exporter)
    page = generate_latest(registry).decode()
    assert 'riverloop_hook_failing{destination="ci",task="hotel"} 1.0' in page
    assert 'riverloop_hook_attempts_total{destination="ci",result="failed",task="hotel"} 1.0' in page
    found = {each.name for family in exporter.collect() for each in family.samples}
    assert found == set(HOOK_METRICS)
