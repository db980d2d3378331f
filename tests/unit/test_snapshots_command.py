"""`riverloop snapshots`: what is there, what it is, and what to do when it is not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from agents.cli.snapshots import snapshots
from infra.snapshots.store import SnapshotStore
from schemas.errors import SnapshotError, UsageError
from tests.history import DAY, History

TASK_FILE = """
from datetime import timedelta
from river import dummy
from schemas import Dictionary, Number
from streams import Model, Task
task = Task(
    name="listed", question="?", features=Dictionary(Number(name="x")), horizon=timedelta(days=1),
    models=(Model("lr", dummy.NoChangeClassifier),),
)
"""


@pytest.fixture
def history() -> History:
    return History("listed", 1)


@pytest.fixture
def store(tmp_path: Path, history: History) -> SnapshotStore:
    made = SnapshotStore(str(tmp_path / "store"))
    for number in range(3):
        history.ask(f"r{number}", number * DAY, 1.0)
        history.report(f"r{number}", number * DAY, True)
        history.step()
        for each in history.snapshot():
            made.save(each.manifest, each.state, each.probes)
    return made


@pytest.fixture
def file(tmp_path: Path) -> str:
    made = tmp_path / "listed.py"
    made.write_text(TASK_FILE)
    return str(made)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(snapshots, list(arguments))


def test_the_newest_snapshot_comes_first(file: str, store: SnapshotStore, history: History) -> None:
    reported = json.loads(run("list", file, "--snapshots", store.uri, "--json").stdout)
    offsets = [each["log_offset"] for each in reported["snapshots"]]
    assert offsets == sorted(offsets, reverse=True)
    assert len(offsets) == 6
    assert reported["snapshots"][0]["version"].endswith(f"@{history.models[0].version.offset}")
    assert all(each["bytes"] > 500 for each in reported["snapshots"])
    people = run("list", file, "--snapshots", store.uri)
    assert people.exit_code == 0
    assert "snapshots of listed" in people.stdout


def test_a_snapshot_is_shown_with_its_manifest_and_probes(
    file: str, store: SnapshotStore, history: History
) -> None:
    version = str(history.models[0].version)
    reported = json.loads(run("show", file, version, "--snapshots", store.uri, "--json").stdout)
    assert reported["manifest"]["state_digest"] == history.models[0].digest
    assert reported["probes"][0]["features"] == {"x": 1.0, "y": 2.0}
    people = run("show", file, version, "--snapshots", store.uri).stdout
    assert "LogisticRegression" in people
    assert history.models[0].digest in people.replace("\n", "").replace(" ", "").replace("│", "")


def test_a_version_that_is_not_there_names_those_that_are(
    file: str, store: SnapshotStore, history: History
) -> None:
    missing = run("show", file, "lr.1@99", "--snapshots", store.uri).exception
    assert isinstance(missing, UsageError)
    assert str(history.models[0].version) in str(missing)
    nonsense = run("show", file, "newest", "--snapshots", store.uri).exception
    assert isinstance(nonsense, UsageError)
    assert "lr.1@9999" in str(nonsense)


def test_a_damaged_state_is_named(file: str, store: SnapshotStore, history: History) -> None:
    version = str(history.models[0].version)
    (Path(store.uri) / "listed" / version / "state.bin").write_bytes(b"damaged")
    damaged = run("show", file, version, "--snapshots", store.uri).exception
    assert isinstance(damaged, SnapshotError)
    assert "state.bin is damaged" in str(damaged)


def test_snapshots_that_cannot_be_used_are_counted(
    file: str, store: SnapshotStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RIVERLOOP_SNAPSHOT_KEY", "a key that did not sign them")
    reported = json.loads(run("list", file, "--snapshots", store.uri, "--json").stdout)
    assert (reported["unreadable"], reported["snapshots"]) == (6, [])
    people = run("list", file, "--snapshots", store.uri)
    assert people.stderr.count("is skipped") == 6
    assert "no usable snapshots" in people.stdout


def test_an_empty_store_is_no_error(file: str, tmp_path: Path) -> None:
    empty = run("list", file, "--snapshots", str(tmp_path / "nothing"))
    assert empty.exit_code == 0
    assert "has no usable snapshots of listed" in empty.stdout


def test_a_snapshot_that_is_not_there_cannot_be_kept(
    file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RIVERLOOP_SNAPSHOTS", str(tmp_path / "empty"))
    found = run("keep", file, "lr.1@7", "--reason", "why", "--bootstrap", "localhost:1")
    assert found.exit_code != 0
    assert "has no snapshot lr.1@7; the store is empty" in str(found.exception)
