"""What the join relies on in a store of its state, for every implementation that there is."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import infra
import streams
from infra.store.rocks import RocksStore
from schemas.records import Outcome, Position
from schemas.state import EarlyOutcome, JoinPosition, JoinRecord, Resolution
from streams.join.changelog import fill
from streams.join.pending import Changes, Due, MemoryStore, StateStore, due_of
from tests.joining import CODEC, RULES, Bench, PackedBench

METHODS = [name for name in vars(StateStore) if not name.startswith("_")]


def implementations() -> dict[str, type[Any]]:
    """Every class of ours that has the port's methods."""
    found: dict[str, type[Any]] = {}
    for package in (streams, infra):
        for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
            for name, each in vars(importlib.import_module(module.name)).items():
                ours = inspect.isclass(each) and each.__module__ == module.name and each is not StateStore
                if ours and all(callable(getattr(each, method, None)) for method in METHODS):
                    found[f"{module.name}.{name}"] = each
    return found


IMPLEMENTATIONS = implementations()
Make = Callable[[], StateStore]


@pytest.fixture(params=sorted(IMPLEMENTATIONS))
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Make]:
    """Makes empty stores; one that lives in files gets a folder for each."""
    implementation = IMPLEMENTATIONS[request.param]
    made: list[Any] = []

    def new() -> StateStore:
        needs = [p for p in inspect.signature(implementation).parameters.values() if p.default is p.empty]
        known = {"folder": tmp_path / str(len(made)), "codec": CODEC}
        made.append(implementation(*(known[each.name] for each in needs)))
        store: StateStore = made[-1]
        return store

    yield new
    for each in made:
        each.close()


@pytest.fixture
def store(make: Make) -> StateStore:
    return make()


WAITING = JoinRecord(Position("p", 0, 3), 7, prediction=b"a prediction")
EARLY = JoinRecord(early=(EarlyOutcome(Outcome("b", 9, None, 2, "lost"), Position("o", 0, 1), 11),))
CLOSED = JoinRecord(
    Position("p", 1, 2),
    5,
    Resolution(Position("o", 0, 4), 1, "revised", "arrival", value=False, revision=4, delay_ms=3),
    prediction=b"\0bytes",
)


def change(waiting: int = 0, **states: JoinRecord | None) -> Changes:
    return Changes(states, waiting={0: waiting} if waiting else {})


def test_memory_and_disk_are_among_them() -> None:
    assert {MemoryStore, RocksStore} == set(IMPLEMENTATIONS.values())
    assert {"get", "due", "apply", "items", "waiting", "early_bytes", "position", "close"} == set(METHODS)


def test_an_empty_store_holds_nothing(store: StateStore) -> None:
    assert store.get("a") is None
    assert list(store.items()) == []
    assert list(store.due()) == []
    assert store.waiting() == {}
    assert store.early_bytes() == 0
    assert store.position() is None


def test_what_was_applied_is_given_back_as_it_was(store: StateStore) -> None:
    states = {"a": WAITING, "b": EARLY, "c": CLOSED, "Ü/ \0x": WAITING}
    store.apply(Changes(dict(states)))
    assert dict(store.items()) == states
    for request_id, state in states.items():
        assert store.get(request_id) == state
    assert store.get("A") is None


def test_the_bytes_of_early_outcomes_are_those_of_the_last_batch(store: StateStore) -> None:
    store.apply(Changes({"b": EARLY}, early_bytes=2**33))
    assert store.early_bytes() == 2**33
    store.apply(Changes({"b": None}, early_bytes=0))
    assert store.early_bytes() == 0


def test_later_changes_replace_and_none_forgets(store: StateStore) -> None:
    store.apply(change(a=WAITING, b=EARLY))
    store.apply(Changes({"a": CLOSED, "b": None, "never-there": None}))
    assert dict(store.items()) == {"a": CLOSED}
    assert store.get("b") is None


def test_a_forgotten_id_may_come_back(store: StateStore) -> None:
    store.apply(change(a=WAITING))
    assert store.get("a") == WAITING
    store.apply(change(a=None))
    assert store.get("a") is None
    store.apply(change(a=EARLY))
    assert dict(store.items()) == {"a": EARLY}


def test_no_change_changes_nothing(store: StateStore) -> None:
    store.apply(change(1, a=WAITING))
    store.apply(change(1))
    assert dict(store.items()) == {"a": WAITING}
    assert store.waiting() == {0: 1}


def test_the_number_of_waiting_requests_and_the_position_are_those_of_the_last_batch(
    store: StateStore,
) -> None:
    first = JoinPosition(7, 4, 5, {"labelled": 2})
    store.apply(Changes(waiting={0: 2, 7000: 1}, position=first))
    assert (store.waiting(), store.position()) == ({0: 2, 7000: 1}, first)
    store.apply(Changes(waiting={7000: 2}))
    assert (store.waiting(), store.position()) == ({7000: 2}, first)
    second = JoinPosition(None, 5, 5, {})
    store.apply(Changes(position=second))
    assert (store.waiting(), store.position()) == ({}, second)


DUES: list[Due] = [
    (-5, -1, "z"),
    (0, -1, "a"),
    (0, 0, "a"),
    (9, -1, "b"),
    (9, 3, "a"),
    (9, 3, "a\0"),
    (9, 3, "aa"),
    (9, 3, "é"),
    (9, 3, "\uffee"),
    (9, 3, "\U0001f30a"),
    (9, 12, "a"),
    (300, 1, "a"),
    (2**53, 2**62, "a"),
]


def test_the_due_index_is_in_the_order_of_time_then_request_position_then_id(store: StateStore) -> None:
    assert sorted(DUES) == DUES
    store.apply(Changes(added=set(DUES[::2])))
    assert list(store.due()) == DUES[::2]
    store.apply(Changes(added=set(DUES[1::2])))
    assert list(store.due()) == DUES


def test_what_was_dropped_is_not_due_and_may_come_back(store: StateStore) -> None:
    store.apply(Changes(added=set(DUES)))
    store.apply(Changes(dropped=set(DUES[:3] + DUES[7:9])))
    assert list(store.due()) == DUES[3:7] + DUES[9:]
    store.apply(Changes(dropped={DUES[4]}, added={DUES[4], DUES[0]}))
    assert list(store.due()) == DUES[:1] + DUES[3:7] + DUES[9:]
    assert list(store.due()) == DUES[:1] + DUES[3:7] + DUES[9:]


def test_the_due_index_may_be_left_early(store: StateStore) -> None:
    store.apply(Changes(added={(n, n, "a") for n in range(2000)}))
    some = store.due()
    assert [next(some) for _ in range(3)] == [(n, n, "a") for n in range(3)]
    store.apply(Changes(dropped={(n, n, "a") for n in range(1500)}))
    assert next(store.due()) == (1500, 1500, "a")
    assert list(store.due()) == [(n, n, "a") for n in range(1500, 2000)]


def test_two_stores_know_nothing_of_each_other(make: Make) -> None:
    one, two = make(), make()
    one.apply(Changes({"a": WAITING}, added={(1, 2, "a")}, waiting={0: 1}))
    assert two.get("a") is None
    assert list(two.due()) == []
    assert two.waiting() == {}


def test_thousands_of_ids(store: StateStore) -> None:
    for start in range(0, 5000, 500):
        store.apply(Changes({f"r{n}": WAITING for n in range(start, start + 500)}))
    store.apply(Changes({f"r{n}": None for n in range(0, 5000, 2)}))
    assert {request_id for request_id, _ in store.items()} == {f"r{n}" for n in range(1, 5000, 2)}


def played(bench: Bench) -> Bench:
    for n in range(60):
        bench.report(f"early-{n}", n * 9)
        bench.ask(f"r{n}", n * 9)
        if n % 3:
            bench.report(f"r{n - n % 2}", n * 9 + 3, n % 2 == 0)
        if n % 4 == 0:
            bench.rollback()
        else:
            bench.commit()
    return bench


def test_a_join_works_on_it_as_on_any_other(make: Make) -> None:
    bench, reference = played(PackedBench(store=make())), played(Bench())
    assert bench.entries == reference.entries
    assert bench.due() == reference.due()
    assert bench.counters == reference.counters
    assert bench.join.waiting == reference.join.waiting


def test_exactly_what_is_held_is_due(make: Make) -> None:
    bench = played(PackedBench(store=make()))
    pending = {request_id: due_of(RULES, request_id, state) for request_id, state in bench.store.items()}
    assert len(pending) > 20
    assert sorted(pending.values()) == list(bench.store.due())
    assert sum(bench.store.waiting().values()) == sum(
        state.status == "waiting" for _, state in bench.store.items()
    )


def test_filled_again_from_any_place_of_the_changelog_it_holds_the_same(make: Make) -> None:
    changelog: list[Any] = [("a", WAITING), ("b", EARLY), JoinPosition(7, 1, 1), ("a", None), ("c", CLOSED)]
    changelog += [("b", None), ("a", CLOSED), JoinPosition(9, 2, 3), ("d", WAITING), JoinPosition(9, 3, 3)]
    for again in range(len(changelog) + 1):
        store = make()
        assert fill(store, RULES, changelog) == len(changelog)
        fill(store, RULES, changelog[again:])
        assert dict(store.items()) == {"a": CLOSED, "c": CLOSED, "d": WAITING}
        assert sorted(due_of(RULES, name, state) for name, state in store.items()) == list(store.due())
        assert (sum(store.waiting().values()), store.position()) == (1, JoinPosition(9, 3, 3))
