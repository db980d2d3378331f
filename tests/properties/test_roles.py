"""Roles and draws: functions of the log's commands, however these are cut, repeated and restarted."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import cache

from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import CommandRejected
from schemas.records import Command, Entry
from streams.commands import CHECKS, decide_all
from streams.model import ModelFold
from streams.roles import Roles
from streams.shares import SHARE, UNIT, moved, place_of
from streams.snapshot import dump, load
from streams.snapshot.digest import state_digest
from streams.task_model import Model
from tests.history import make_task, pipeline

NAMES = ("lr", "tree", "nb", "rf")


@cache
def folds() -> dict[str, ModelFold]:
    base = make_task("roles").task
    task = replace(base, models=tuple(Model(name, pipeline) for name in NAMES))
    return {each.name: ModelFold(task, each) for each in task.models}


@st.composite
def shares(draw: st.DrawFn) -> dict[str, int]:
    """Shares that add up to the unit."""
    cuts = sorted(draw(st.lists(st.integers(0, UNIT), min_size=3, max_size=3)))
    ends = [0, *cuts, UNIT]
    parts = [high - low for low, high in itertools.pairwise(ends)]
    return {name: part for name, part in zip(NAMES, parts, strict=True) if part}


def share_arguments(found: dict[str, int]) -> dict[str, str]:
    return {f"{SHARE}{name}": f"{part / UNIT:.6f}" for name, part in found.items()}


ASKED = st.lists(
    st.one_of(
        st.builds(
            lambda name, model, mode: (name, model, {"mode": mode} if name == "resume" else {}),
            st.sampled_from(sorted(set(CHECKS) - {"share"})),
            st.sampled_from(NAMES),
            st.sampled_from(("catch-up", "skip")),
        ),
        shares().map(lambda found: ("share", "", share_arguments(found))),
        st.builds(
            lambda found, model: ("propose", model, share_arguments(found)), shares(), st.sampled_from(NAMES)
        ),
        st.builds(
            lambda name, number: (name, "", {"proposal": f"c-{number}"}),
            st.sampled_from(("approve", "reject")),
            st.integers(0, 10),
        ),
        st.builds(
            lambda name, model, end: (name, model, {"end": "true"} if end else {}),
            st.sampled_from(("pause", "abort", "promote")),
            st.sampled_from(NAMES),
            st.booleans(),
        ),
    ),
    max_size=25,
)


def log_of(asked: Sequence[tuple[str, str, dict[str, str]]]) -> list[Entry]:
    """A log in which the owner has done what it could of the commands, with facts between."""
    roles = Roles("roles")
    opened = [Command("revision", name, folds()[name].next_opening()) for name in NAMES]
    entries = [Entry(f"revision/{each.model}", "command", 5, command=each) for each in opened]
    for offset, entry in enumerate(entries):
        roles.apply(offset, entry)
    for number, (name, model, arguments) in enumerate(asked):
        waiting = roles.rollout.proposals.get(arguments.get("proposal", ""))
        given = arguments | ({} if waiting is None else {"digest": waiting.digest})
        command = Command(name, model, given, "ada", "why not", f"c-{number}")  # type: ignore[arg-type]  # a name
        try:
            commands = decide_all(command, roles, folds())
        except CommandRejected:
            continue
        for each in commands:
            entries.append(Entry(f"roles/command/{each.id}", "command", 5, command=each))
            roles.apply(len(entries) - 1, entries[-1])
        entries.append(Entry(f"t[0]@{number}#0", "time", 5, partition=0))
    return entries


@settings(deadline=None)
@given(ASKED, st.lists(st.tuples(st.integers(1, 9), st.integers(0, 5), st.booleans()), max_size=9))
def test_cuts_redeliveries_and_restarts_change_no_role(
    asked: list[tuple[str, str, dict[str, str]]], steps: list[tuple[int, int, bool]]
) -> None:
    entries, alone, cut, at = log_of(asked), Roles("roles"), Roles("roles"), 0
    for offset, entry in enumerate(entries):
        alone.apply(offset, entry)
    for count, again, restart in [*steps, (len(entries), 0, False)]:
        start = max(0, at - again)
        for offset, entry in enumerate(entries[start : at + count], start):
            cut.apply(offset, entry)
        at = min(len(entries), at + count)
        if restart:
            state = load(dump(cut.snapshot()))
            assert Roles.is_state(state)
            cut = Roles("roles")
            cut.restore(state)
    assert state_digest(cut.snapshot()) == state_digest(alone.snapshot())
    assert sum(alone.answering.values()) == UNIT
    assert all(alone.role(name).retired_at < 0 for name in alone.answering)
    for key in map(str, range(20)):
        assert cut.draw(key, None) == alone.draw(key, None)
        assert cut.draw("another request", key) == alone.draw(key, None), "sticky for an entity"


@settings(deadline=None)
@given(st.lists(shares(), min_size=2, max_size=6))
def test_a_changed_share_moves_keys_from_models_that_shrink_to_models_that_grow_and_no_more(
    steps: list[dict[str, int]],
) -> None:
    parts = moved((), steps[0])
    for before, after in itertools.pairwise(steps):
        new = moved(parts, after)
        assert sizes(new) == after
        ends = sorted({0, *(end for end, _ in parts), *(end for end, _ in new)})
        changed = Counter[tuple[str, str]]()
        for low, high in itertools.pairwise(ends):
            old, now = (next(model for end, model in each if low < end) for each in (parts, new))
            if old != now:
                changed[old, now] += high - low
        for (old, now), _ in changed.items():
            assert after.get(old, 0) < before.get(old, 0)
            assert after.get(now, 0) > before.get(now, 0)
        grown = sum(max(0, part - before.get(name, 0)) for name, part in after.items())
        assert changed.total() == grown
        parts = new


def sizes(parts: Sequence[tuple[int, str]]) -> dict[str, int]:
    found, start = Counter[str](), 0
    for end, model in parts:
        found[model] += end - start
        start = end
    return dict(found)


def test_keys_are_spread_evenly_and_each_experiment_has_keys_of_its_own() -> None:
    places = [place_of("orders", "c-1", f"customer-{number}") for number in range(20_000)]
    tenths = Counter(place * 10 // UNIT for place in places)
    assert set(tenths) == set(range(10))
    assert all(abs(count - 2_000) < 200 for count in tenths.values())
    challenged = {number for number, place in enumerate(places) if place < UNIT // 10}
    others = {
        number for number in range(20_000) if place_of("orders", "c-2", f"customer-{number}") < UNIT // 10
    }
    assert 100 < len(challenged & others) < 300
    assert place_of("a", "bc", "d") != place_of("ab", "c", "d")


def test_a_raised_share_keeps_its_keys_and_a_new_experiment_draws_anew() -> None:
    def asked(number: int, lr: float, tree: float) -> tuple[str, str, dict[str, str]]:
        return ("share", "", {f"{SHARE}lr": str(lr), f"{SHARE}tree": str(tree)})

    steps = [asked(0, 0.95, 0.05), asked(1, 0.9, 0.1), ("promote", "lr", {}), asked(3, 0.9, 0.1)]
    chosen = []
    for count in (1, 2, 4):
        roles = Roles("roles")
        for offset, entry in enumerate(log_of(steps[:count])):
            roles.apply(offset, entry)
        chosen.append({key for key in map(str, range(2_000)) if roles.draw("r", key) == "tree"})
    small, raised, anew = chosen
    assert 60 < len(small) < 140
    assert small < raised
    assert 150 < len(raised) < 250
    assert len(raised & anew) < 60
