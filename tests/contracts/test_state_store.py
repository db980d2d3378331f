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
from schemas.records import Outcome, Position, Prediction
from schemas.state import EarlyOutcome, HeldState
from streams.held import MemoryStore, StateStore
from tests.joining import Bench

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
        wanted = [p for p in inspect.signature(implementation).parameters.values() if p.default is p.empty]
        assert len(wanted) <= 1, f"{request.param} needs more than a folder: say here how it is made"
        made.append(implementation(*(tmp_path / str(len(made)) for _ in wanted)))
        store: StateStore = made[-1]
        return store

    yield new
    for each in made:
        getattr(each, "close", lambda: None)()


@pytest.fixture
def store(make: Make) -> StateStore:
    return make()


WAITING = HeldState("waiting", Prediction("a", 7, {"x": 1.0}, ()), Position("p", 0, 3), 7)
EARLY = HeldState("early", early=(EarlyOutcome(Outcome("b", 9, None, 2, "lost"), Position("o", 0, 1), 11),))
CLOSED = HeldState(
    "closed",
    b"\0bytes",
    Position("p", 1, 2),
    5,
    "o[0]@4#1",
    late_by="arrival",
    kind="revised",
    value=False,
    revision=4,
    outcome_ts=8,
)


def test_the_memory_store_is_among_them() -> None:
    assert MemoryStore in IMPLEMENTATIONS.values()
    assert {"get", "apply", "items"} == set(METHODS)


def test_an_empty_store_holds_nothing(store: StateStore) -> None:
    assert store.get("a") is None
    assert list(store.items()) == []


def test_what_was_applied_is_given_back_as_it_was(store: StateStore) -> None:
    changes = {"a": WAITING, "b": EARLY, "c": CLOSED, "Ü/ \0x": WAITING}
    store.apply(changes)
    assert dict(store.items()) == changes
    for request_id, state in changes.items():
        assert store.get(request_id) == state
    assert store.get("A") is None


def test_later_changes_replace_and_none_forgets(store: StateStore) -> None:
    store.apply({"a": WAITING, "b": EARLY})
    store.apply({"a": CLOSED, "b": None, "never-there": None})
    assert dict(store.items()) == {"a": CLOSED}
    assert store.get("b") is None


def test_a_forgotten_id_may_come_back(store: StateStore) -> None:
    store.apply({"a": WAITING})
    store.apply({"a": None})
    store.apply({"a": EARLY})
    assert dict(store.items()) == {"a": EARLY}


def test_no_change_changes_nothing(store: StateStore) -> None:
    store.apply({"a": WAITING})
    store.apply({})
    assert dict(store.items()) == {"a": WAITING}


def test_what_was_given_may_change_afterwards(store: StateStore) -> None:
    changes: dict[str, HeldState | None] = {"a": WAITING}
    store.apply(changes)
    changes["a"] = None
    assert store.get("a") == WAITING


def test_two_stores_know_nothing_of_each_other(make: Make) -> None:
    one, two = make(), make()
    one.apply({"a": WAITING})
    assert two.get("a") is None


def test_thousands_of_ids(store: StateStore) -> None:
    for start in range(0, 5000, 500):
        store.apply({f"r{n}": WAITING for n in range(start, start + 500)})
    store.apply({f"r{n}": None for n in range(0, 5000, 2)})
    assert {request_id for request_id, _ in store.items()} == {f"r{n}" for n in range(1, 5000, 2)}


def test_a_join_works_on_it_as_on_any_other(make: Make) -> None:
    bench, reference = Bench(store=make()), Bench()
    for each in (bench, reference):
        for n in range(60):
            each.tell(f"early-{n}", n * 9)
            each.ask(f"r{n}", n * 9)
            if n % 3:
                each.tell(f"r{n - n % 2}", n * 9 + 3, n % 2 == 0)
            if n % 4 == 0:
                each.rollback()
            else:
                each.commit()
    assert bench.entries == reference.entries
    assert dict(bench.store.items()) == dict(reference.store.items())
