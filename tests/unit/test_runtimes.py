"""Another runtime counts as this one only if the models' bits are proven to be equal there."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from river import preprocessing

from infra.runtimes import PROOF, equal_runtimes
from infra.snapshots.models import LogPlace, pack
from infra.snapshots.store import SnapshotStore
from schemas.records import Command, Control, Entry
from streams.examples import synthetic_examples
from streams.exercise import exercise
from streams.loadcheck import proof
from streams.model import ModelFold
from tests.history import History

PLACE = LogPlace("t.log", "log-id")
THERE = "the other one"


@pytest.fixture
def history() -> History:
    return History("runtimes")


def proof_of(history: History) -> dict[str, str]:
    task = history.loaded.task
    return proof(exercise(task.models[0].make, task.features, task.kind, 50))


def opened_there(history: History, made: dict[str, str]) -> Control:
    fold = ModelFold(history.loaded.task, history.loaded.task.models[0], THERE)
    arguments = {**fold.next_opening(), PROOF: json.dumps(made)}
    return Control("audit", Command("revision", fold.model.name, arguments), 0, entry_id="an entry")


def stored_there(history: History, store: SnapshotStore, spoil: bool = False) -> None:
    """Store a snapshot that was taken on the other runtime."""
    fold = ModelFold(history.loaded.task, history.loaded.task.models[0], THERE)
    fold.apply(0, Entry("an entry", "command", 0, command=fold.opening()))
    for number, (x, y) in enumerate(synthetic_examples(fold.task.features, fold.task.kind, 30, 1), start=1):
        fold.learner.learn(number, number, str(number), x, y)
    fold._set_version(1, 30)
    fold.next_offset = 31
    stored = pack(fold, PLACE, "there", {}, {}, [x], 1)
    if spoil:
        stored.probes[0]["score"] = math.nextafter(stored.probes[0]["score"], 9.0)
    store.save(stored.manifest, stored.state, stored.probes)


def found(history: History, store: SnapshotStore, here: dict[str, str], audit: Control) -> frozenset[str]:
    loaded = history.loaded
    return equal_runtimes(loaded, loaded.task.models[0], "here", here, [audit], store, PLACE)


def test_a_runtime_with_the_same_bits_counts_as_this_one(history: History, tmp_path: Path) -> None:
    store, made = SnapshotStore(str(tmp_path / "store")), proof_of(history)
    assert found(history, store, made, opened_there(history, made)) == {THERE}
    stored_there(history, store)
    assert found(history, store, made, opened_there(history, made)) == {THERE}


def test_one_whose_snapshot_gives_other_scores_does_not(
    history: History, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store, made = SnapshotStore(str(tmp_path / "store")), proof_of(history)
    stored_there(history, store, spoil=True)
    assert found(history, store, made, opened_there(history, made)) == set()
    assert "probe 1 returns" in caplog.text


def test_one_with_other_bits_in_the_load_check_does_not_and_the_component_is_named(
    history: History, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, made = SnapshotStore(str(tmp_path / "store")), proof_of(history)
    scale: Any = preprocessing.StandardScaler.transform_one

    def last_bits(self: Any, x: dict[str, Any]) -> dict[str, Any]:
        return {name: math.nextafter(value, 9.0) for name, value in scale(self, x).items()}

    with monkeypatch.context() as other_library:
        other_library.setattr(preprocessing.StandardScaler, "transform_one", last_bits)
        other = proof_of(history)
    assert found(history, store, other, opened_there(history, made)) == set()
    assert "StandardScaler" in caplog.text
    assert "gives other bits in the load check" in caplog.text


def test_a_revision_without_a_proof_is_not_trusted(history: History, tmp_path: Path) -> None:
    store = SnapshotStore(str(tmp_path / "store"))
    assert found(history, store, proof_of(history), opened_there(history, {})) == set()
