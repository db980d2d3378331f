"""The log's owner publishes what the models do not learn once: behind or ahead of them, aborted, or another one."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from agents.follow import Follow
from agents.log_owner import LogOwner
from agents.loop import TaskLoop
from agents.owner import Owner
from infra.snapshots.store import SnapshotStore
from schemas.alert import Alert
from schemas.records import Command
from streams.learner import PassedOver
from streams.learning_steps import FAMILY
from streams.model import ModelFold
from tests.unit.http_worker import make_loop


@pytest.fixture(autouse=True)
def nothing_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """An owner takes over at the committed offset, without a cluster."""

    def take_over(owner: Owner[Any], committed: int | None, note: str = "") -> None:
        owner.held, owner.next_offset = True, committed or 0

    monkeypatch.setattr(Owner, "take_over", take_over)


def owner_of(loop: TaskLoop, folder: Path, committed: int | None, note: str) -> LogOwner:
    store = SnapshotStore(str(folder))
    owner = LogOwner(loop, Follow(loop, store), store)
    owner.take_over(committed, note)
    return owner


def alerts(owner: LogOwner) -> list[Alert]:
    """Give what the next transaction publishes of the models."""
    records = [each for each in owner.metric_records() if each.topic == owner.loop.topics.alerts]
    assert {each.key for each in records} <= {FAMILY.encode()}
    return [owner.loop.codec.decode_alert(each.value or b"") for each in records]


def pass_over(fold: ModelFold, offset: int) -> None:
    fold.learner.pass_over(PassedOver(offset, f"r{offset}", "OverflowError"), offset * 1000)


@pytest.mark.parametrize("seed", range(6))
def test_each_step_is_published_once_whatever_becomes_of_owners_and_transactions(
    seed: int, tmp_path: Path
) -> None:
    rng = random.Random(seed)
    loop = make_loop()
    committed, note = 2, ""
    owner, published = owner_of(loop, tmp_path, committed, note), list[Alert]()
    followed = 2
    for _ in range(100):
        for offset in range(followed, followed + rng.randrange(6)):  # the models go on, on their own
            if rng.random() < 0.4:
                pass_over(rng.choice(loop.models), offset)
            followed = offset + 1
        owner.follow.next_offset = followed
        owner.next_offset += rng.randrange(6)  # and so does the owner, behind or ahead
        given = alerts(owner)
        fate = rng.choice(("commit", "commit", "abort", "die before", "die after"))
        if fate in {"commit", "die after"}:
            published += given
            committed, note = owner.next_offset, owner.note
        if fate in {"commit", "abort"}:
            owner.published(fate == "commit")
        else:
            owner = owner_of(loop, tmp_path, committed, note)
    owner.follow.next_offset = followed
    published += alerts(owner)
    for fold in loop.models:
        mine = [each for each in published if each.model == fold.model.name]
        # A state lists the newest; what was published before them came one after the other, too.
        newest = [*fold.alerts(1)]
        assert mine[-len(newest) :] == newest
        assert [each.alarms for each in mine if each.signal == "passed_over"] == [
            *range(1, fold.learner.passed_over + 1)
        ]


def test_nothing_is_published_that_not_all_models_have_come_to(tmp_path: Path) -> None:
    loop = make_loop()
    owner = owner_of(loop, tmp_path, 2, "")
    pass_over(loop.models[1], 9)  # restored from a newer snapshot than the other one
    owner.follow.next_offset = 5
    assert alerts(owner) == []
    owner.published(True)
    owner.follow.next_offset = 10
    assert [each.log_offset for each in alerts(owner)] == [9]


def test_a_note_that_is_lost_leaves_steps_out_and_repeats_none(tmp_path: Path) -> None:
    loop = make_loop()
    pass_over(loop.models[0], 5)
    pass_over(loop.models[0], 8)
    for note, offsets in (("6", [8]), ("", []), ("from somebody", []), ("0", [5, 8])):
        owner = owner_of(loop, tmp_path, 9, note)
        owner.follow.next_offset = 20
        assert [each.log_offset for each in alerts(owner)] == offsets, note


def test_a_revision_brings_all_that_it_has_passed_over_and_they_are_not_published_again(
    tmp_path: Path,
) -> None:
    loop = make_loop()
    first, second = loop.models
    pass_over(first, 5)
    pass_over(first, 20)
    pass_over(second, 5)
    pass_over(second, 20)
    first.in_force = False  # its specification is new, and the log has been folded anew for it
    owner = owner_of(loop, tmp_path, 9, "9")
    owner.follow.next_offset = 30
    assert alerts(owner) == []  # until it is in force
    records = [*owner.openings()]
    found = [loop.codec.decode_alert(e.value or b"") for e in records if e.topic == loop.topics.alerts]
    assert [(each.version.partition("@")[0], each.log_offset) for each in found] == [
        ("lr.2", 5),
        ("lr.2", 20),
        ("other.1", 20),
    ]
    (entry,) = (loop.codec.decode_entry(e.value or b"") for e in records if e.topic == loop.topics.log)
    assert isinstance(entry.command, Command)
    owner.published(True)
    assert owner.note == "30"
    assert alerts(owner) == []
    first.apply(30, entry)
    assert first.in_force
    owner.follow.next_offset = 31
    assert alerts(owner) == []
    pass_over(first, 31)
    owner.follow.next_offset = 32
    assert [(each.version.partition("@")[0], each.log_offset) for each in alerts(owner)] == [("lr.2", 31)]
