"""The join gives the same facts for any interleaving that keeps event time's promises, and loses nothing in any.

Predictions come in an order of their own, mostly that of time. The promise is about outcomes: none is read after
a prediction that moves stream time beyond its ts and grace. How much earlier it is read is anybody's guess.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import cycle
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.records import Entry, Outcome, Request, Value
from streams.datafile import Event
from streams.join.join_rules import JoinRules
from streams.join.outputs import Rejected
from streams.join.pending import due_of, early_size
from streams.schedule import Sync, schedule
from tests.joining import MEETS, RULES, Bench, DiskBench

GRACE = RULES.grace_ms
END = 10**7


@dataclass(frozen=True)
class Record:
    """A prediction or an outcome as it lies on its topic."""

    request_id: str
    ts: int
    outcome: bool
    value: Value = None
    revision: int | None = None
    arrived: int = END

    @property
    def moves_time_to(self) -> int:
        return -1 if self.outcome or self.impossible else self.ts

    @property
    def impossible(self) -> bool:
        return self.ts > self.arrived + RULES.max_ahead_ms

    def play(self, bench: Bench) -> None:
        if self.outcome:
            bench.report(self.request_id, self.ts, self.value, self.revision, self.arrived)
        else:
            bench.ask(self.request_id, self.ts, self.arrived)


class World(NamedTuple):
    """What lies on the two topics, in the order of their offsets."""

    predictions: tuple[Record, ...]
    outcomes: tuple[Record, ...]


# What decides is mostly a moment sooner or later than a bound.
DELAYS = st.sampled_from(
    (-300, -11, -10, -1, 0, 1, 9, 50, 60, 61, 99, 100, 101, 109, 110, 111, 500, 1099, 1100, 1101, 1110, 1300)
)
VALUES = st.sampled_from((True, False, None))
REVISIONS = st.sampled_from((None, None, 0, 1, 2))
TELLING = st.tuples(DELAYS, VALUES, REVISIONS, st.sampled_from((0, 0, 0, 5, 200)), st.integers(0, 30))
ASKING = st.tuples(
    st.sampled_from((0, 0, 1, 10, 30, 51, 100, 111, 700)),  # since the one before
    st.sampled_from((0, 0, 0, 0, 5, 120, 1200)),  # how much too old
    st.lists(TELLING, max_size=4),
    st.sampled_from(("", "", "", "", "again", "impossible")),
)


@st.composite
def worlds(draw: st.DrawFn) -> World:
    predictions: list[Record] = []
    outcomes: list[tuple[int, Record]] = []
    now = 1000
    for number, (gap, age, tellings, oddity) in enumerate(draw(st.lists(ASKING, max_size=14))):
        now += gap
        asked = Record(f"r{number}", max(0, now - age), outcome=False)
        if oddity == "impossible":
            asked = replace(asked, arrived=asked.ts - RULES.max_ahead_ms - 1)
        predictions.append(asked)
        if oddity == "again":
            predictions.append(asked)
        for delay, value, revision, sent_late, clock in tellings:
            ts = max(0, asked.ts + delay)
            arrived = ts - RULES.max_ahead_ms - 1 if clock == 30 and ts > RULES.max_ahead_ms else END
            reported = Record(asked.request_id, ts, True, value, revision, arrived)
            outcomes.append((ts + sent_late, reported))
    for number, (delay, *_) in enumerate(draw(st.lists(TELLING, max_size=3))):
        outcomes.append((1000 + delay, Record(f"nobody-{number}", max(0, 1000 + delay), True, True)))
    outcomes.sort(key=lambda sent: sent[0])
    return World(tuple(predictions), tuple(reported for _, reported in outcomes))


def interleaved(world: World, choices: Iterable[bool], *, keeping: bool = True) -> list[Record]:
    """Merge the two topics by choices (True: an outcome first), keeping event time's promise or not."""
    predictions, outcomes = list(world.predictions), list(world.outcomes)
    taken: list[Record] = []
    for outcome_first in cycle([*choices, True, False]):
        if not predictions and not outcomes:
            return taken
        allowed = bool(predictions)
        if allowed and keeping:
            allowed = all(predictions[0].moves_time_to <= each.ts + GRACE for each in outcomes)
        if outcomes and (outcome_first or not allowed):
            taken.append(outcomes.pop(0))
        elif allowed:
            taken.append(predictions.pop(0))
    raise AssertionError


def play(
    records: Sequence[Record], then: Callable[[Bench, int], None] = lambda *_: None, rules: JoinRules = RULES
) -> Bench:
    bench = Bench(rules)
    for number, record in enumerate(records):
        record.play(bench)
        then(bench, number)
    bench.idle(END)
    bench.commit()
    return bench


def chains(entries: Iterable[Entry]) -> dict[str, list[tuple[Any, ...]]]:
    """What the log says of each request, in order."""
    found: dict[str, list[tuple[Any, ...]]] = defaultdict(list)
    for entry in entries:
        if entry.prediction is None:
            continue
        reported = entry.outcome and (entry.outcome.value, entry.outcome.revision)
        what = (entry.kind, entry.ts, reported, entry.late_by, entry.previous_kind, entry.previous)
        found[entry.prediction.request_id].append(what)
    return dict(found)


def rejections(rejected: Iterable[Rejected]) -> Counter[tuple[Any, ...]]:
    return Counter((each.reason, each.at) for each in rejected)


def without(counters: Counter[str], *names: str) -> dict[str, int]:
    return {name: n for name, n in counters.items() if n and name not in names}


def check_whole(bench: Bench, world: World) -> None:
    """Nothing is lost, nothing is counted twice, no request is resolved twice."""
    counters = bench.join.counters
    assert bench.unaccounted() == 0
    assert bench.pending() == {}  # the end of time was reached
    impossible = sum(record.impossible for record in (*world.predictions, *world.outcomes))
    assert counters["impossible_time"] == impossible
    assert counters["outcomes"] == sum(not record.impossible for record in world.outcomes)
    taken = counters["predictions"] + counters["duplicate_prediction"] + counters["stale"]
    assert taken == sum(not record.impossible for record in world.predictions)
    assert counters["forgotten"] == counters["predictions"]
    entries = [entry for entry in bench.entries if entry.prediction is not None]
    roots = Counter(
        entry.prediction.request_id for entry in entries if entry.prediction and not entry.corrects
    )
    assert len(roots) == counters["predictions"]
    assert set(roots.values()) <= {1}
    assert {entry.kind for entry in entries if not entry.corrects} <= {"labelled", "expired", "unavailable"}
    newest: dict[str, Entry] = {}
    for entry in entries:
        assert entry.prediction is not None
        before = newest.get(entry.prediction.request_id)
        if before is not None:
            assert (entry.corrects, entry.previous_kind) == (before.entry_id, before.kind)
            assert entry.previous == (before.outcome.value if before.outcome else None)
        newest[entry.prediction.request_id] = entry
    kinds = Counter(entry.kind for entry in entries)
    assert kinds == {name: counters[name] for name in (*MEETS[:4], "expired") if counters[name]}
    assert len({entry.entry_id for entry in bench.entries}) == len(bench.entries)
    used = [entry.outcome_at for entry in entries if entry.outcome_at]
    rejected = [each.at for each in bench.rejected]
    assert len(set(used + rejected)) == len(used) + len(rejected)


CHOICES = st.lists(st.booleans(), max_size=40)


@settings(max_examples=300)
@given(worlds(), CHOICES, CHOICES)
def test_any_interleaving_that_keeps_the_promise_gives_the_same_facts(
    world: World, some: list[bool], others: list[bool]
) -> None:
    one, two = play(interleaved(world, some)), play(interleaved(world, others))
    check_whole(one, world)
    check_whole(two, world)
    assert chains(one.entries) == chains(two.entries)
    assert rejections(one.rejected) == rejections(two.rejected)
    # How long an outcome waited for its prediction is all that the order of reading decides.
    assert without(one.join.counters, "early") == without(two.join.counters, "early")
    assert one.join.counters["late_by_arrival"] == 0


@settings(max_examples=200)
@given(worlds(), CHOICES)
def test_nothing_is_lost_or_resolved_twice_even_when_the_promise_is_broken(
    world: World, choices: list[bool]
) -> None:
    check_whole(play(interleaved(world, choices, keeping=False)), world)


class Fate(NamedTuple):
    """What happens after a record."""

    commit: bool
    restart: bool
    aborted: int
    """How often the next batch is begun in vain."""
    within: int
    """After how many records it is aborted."""


FATES = st.lists(
    st.builds(Fate, st.booleans(), st.booleans(), st.integers(0, 2), st.integers(1, 6)), max_size=30
)


def check_due(bench: Bench) -> None:
    """Exactly what is held falls due, what waits is counted, and early outcomes are within their bytes."""
    pending = bench.pending()
    assert bench.due() == sorted(due_of(RULES, request_id, state) for request_id, state in pending.items())
    assert bench.join.waiting == sum(state.status == "waiting" for state in pending.values())
    early_bytes = sum(early_size(early) for state in pending.values() for early in state.early)
    assert bench.join._pending.changes.early_bytes == early_bytes <= bench.rules.early_budget_bytes


def check_disturbed(bench: Bench, records: Sequence[Record], fates: Sequence[Fate]) -> None:
    """Batches, aborts and restarts as the fates will; then it is what an undisturbed join is."""
    undisturbed = play(records, rules=bench.rules)
    fate = cycle(fates or [Fate(True, True, 1, 1)])
    for number, record in enumerate(records):
        happens = next(fate)
        record.play(bench)
        if not happens.commit:
            continue
        bench.commit()
        if happens.restart:
            bench.restart()
        check_due(bench)
        before = bench.state()
        for _ in range(happens.aborted):
            for again in records[number + 1 : number + 1 + happens.within]:
                again.play(bench)
            bench.rollback()
            assert bench.state() == before
    bench.idle(END)
    bench.commit()
    assert bench.entries == undisturbed.entries
    assert bench.rejected == undisturbed.rejected
    assert bench.join.counters == undisturbed.join.counters
    assert bench.pending() == undisturbed.pending()
    assert bench.due() == undisturbed.due()
    check_due(bench)


@settings(max_examples=300)
@given(worlds(), CHOICES, FATES)
def test_batches_aborts_and_restarts_change_nothing(
    world: World, choices: list[bool], fates: list[Fate]
) -> None:
    records = interleaved(world, choices)
    check_disturbed(Bench(), records, fates)


@settings(max_examples=25, deadline=None)  # it opens files, on a machine that may be busy
@given(worlds(), CHOICES, FATES)
def test_nor_do_they_with_the_state_on_disk(world: World, choices: list[bool], fates: list[Fate]) -> None:
    records = interleaved(world, choices)
    with TemporaryDirectory() as folder:
        bench = DiskBench(Path(folder) / "3")
        try:
            check_disturbed(bench, records, fates)
        finally:
            bench.store.close()


TIGHT = replace(RULES, early_budget_bytes=2 * 810)
"""Two early outcomes fit."""


@settings(max_examples=200)
@given(worlds(), CHOICES, FATES)
def test_nor_do_they_where_early_outcomes_exceed_their_budget(
    world: World, choices: list[bool], fates: list[Fate]
) -> None:
    # Outcomes first: most come before their predictions.
    records = interleaved(world, [True, True, True, *choices], keeping=False)
    bench = Bench(TIGHT)
    check_disturbed(bench, records, fates)
    check_whole(bench, world)


@settings(max_examples=25, deadline=None)
@given(worlds(), CHOICES, FATES)
def test_nor_there_with_the_state_on_disk(world: World, choices: list[bool], fates: list[Fate]) -> None:
    records = interleaved(world, [True, True, True, *choices], keeping=False)
    with TemporaryDirectory() as folder:
        bench = DiskBench(Path(folder) / "3", TIGHT)
        try:
            check_disturbed(bench, records, fates)
        finally:
            bench.store.close()


@settings(max_examples=200)
@given(worlds(), CHOICES, st.lists(st.integers(0, 400), max_size=20))
def test_idle_advances_within_the_promise_change_no_fact(
    world: World, choices: list[bool], advances: list[int]
) -> None:
    """An idle advance is as true as a prediction: it stays behind the outcomes that are still to be read."""
    records = interleaved(world, choices)
    steps = iter(advances)

    def advance(bench: Bench, number: int) -> None:
        coming = records[number + 1 :]
        # With an older prediction still to come the silence would be a lie.
        bounds = [each.ts + (GRACE if each.outcome else 0) for each in coming if not each.impossible]
        bench.idle(min([bench.join.stream_time + next(steps, 0), *bounds]))

    silent, advanced = play(records), play(records, advance)
    assert chains(silent.entries) == chains(advanced.entries)
    assert rejections(silent.rejected) == rejections(advanced.rejected)


@settings(max_examples=200)
@given(worlds(), CHOICES)
def test_lockstep_resolves_in_the_order_of_due_time_and_request_and_gives_the_same_facts(
    world: World, choices: list[bool]
) -> None:
    asked = sorted({each.request_id: each for each in world.predictions}.values(), key=lambda each: each.ts)
    asked = [replace(each, arrived=END) for each in asked]
    reported = [replace(each, arrived=END) for each in sorted(world.outcomes, key=lambda each: each.ts)]
    known = {each.request_id for each in asked}
    reported = [each for each in reported if each.request_id in known]
    bench = Bench(replace(RULES, lockstep=True))
    events = [
        Event(
            Request(each.request_id, each.ts, {}),
            tuple(
                Outcome(o.request_id, o.ts, o.value, o.revision)
                for o in reported
                if o.request_id == each.request_id
            ),
        )
        for each in asked
    ]
    for step in schedule(events, RULES.horizon_ms):
        if isinstance(step, Sync):
            for outcome in step.outcomes:
                bench.report(outcome.request_id, outcome.ts, outcome.value, outcome.revision)
            bench.punctuate(step.ts)
        else:
            bench.ask(step.request_id, step.ts)
    assert bench.join.waiting == 0
    bench.commit()
    facts = [entry for entry in bench.entries if entry.prediction_at is not None]
    assert facts == sorted(
        facts, key=lambda entry: (entry.ts, entry.prediction_at and entry.prediction_at.offset)
    )
    free = play(interleaved(World(tuple(asked), tuple(reported)), choices))
    assert chains(bench.entries) == chains(free.entries)
