"""Papers on a real broker: scores of a fixed version, model cards, comparisons."""

from __future__ import annotations

import csv
import json
import signal
import struct
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet

from infra.embedded.pytest_plugin import Broker
from infra.kafka.connection import Connection
from infra.kafka.log import read_all
from schemas.records import Prediction, Score
from tests.integration.loops import HOTEL, Loop, command, hotel_task

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(600)]
FILE = HOTEL / "hotel_h1_resort.csv.gz"


@pytest.fixture(scope="module")
def loop(riverloop_broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loop]:
    """A loop that has learned, frozen a model, promoted it, and rejected a command."""
    folder = tmp_path_factory.mktemp("papers")
    segments = {
        'question="Will this booking be cancelled within': (
            'metrics=MetricRules(segments=("DepositType",), least=1),\n'
            '    question="Will this booking be cancelled within'
        ),
        "Task, millis": "Task, millis\nfrom streams.metrics.metric_rules import MetricRules",
    }
    file = hotel_task(folder / "task", "papers", segments, tree=True)
    reference = f"{file}:cancellation_within_30_days"
    with Loop(reference, Connection(riverloop_broker.bootstrap), folder, 2, snapshot_every=150) as loop:
        worker = loop.worker()
        worker.restart()
        with loop.replaying(loop.events(3000), 0.01):
            loop.wait_for_more(300)
            models(loop, "freeze", "ht", "--reason", "<b>odd</b> | outcomes", "--author", "ada", "--wait")
            models(loop, "freeze", "ht", "--reason", "again", code=1)
            loop.wait_for_more(100)
            models(loop, "promote", "ht", "--reason", "half of them went well", "--wait")
        worker.stop()
        yield loop


def line_of(loop: Loop, *arguments: str) -> tuple[list[str], dict[str, str], Path]:
    more = ("--bootstrap", loop.connection.bootstrap, "--json")
    return command(*arguments, *more)


def run(loop: Loop, *arguments: str, code: int = 0) -> dict[str, Any]:
    """Run a command against the loop's cluster; gives what it prints as JSON."""
    line, environment, folder = line_of(loop, *arguments)
    done = subprocess.run(
        line, check=False, env=environment, cwd=folder, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == code, (done.stdout, done.stderr)
    found: dict[str, Any] = json.loads(done.stdout) if done.stdout else {"error": done.stderr}
    return found


def models(loop: Loop, name: str, *arguments: str, code: int = 0) -> dict[str, Any]:
    group = ("--group", str(loop._settings["group"]))
    return run(loop, "models", name, loop.loaded.reference, *arguments, *group, code=code)


def scoring(loop: Loop, version: str, out: Path, *more: str) -> tuple[str, ...]:
    options = ("--version", version, "--out", str(out), "--snapshots", loop.store.uri)
    return ("score", loop.loaded.reference, *options, *more)


def served(loop: Loop) -> list[Prediction]:
    return [
        loop.codec.decode_prediction(message.value())
        for number in range(loop.partitions)
        for message in read_all(loop.connection, loop.topics.predictions, number)
    ]


def scores_of(loop: Loop, version: str) -> dict[str, Score]:
    """The scores that a version gave while it was live, by request."""
    return {
        prediction.request_id: score
        for prediction in served(loop)
        for score in prediction.scores
        if score.version == version
    }


def by_version(loop: Loop, model: str) -> Counter[str]:
    return Counter(
        score.version for prediction in served(loop) for score in prediction.scores if score.model == model
    )


def bits(score: Any) -> bytes:
    return struct.pack("<d", float(score))


def rows_of(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".parquet":
        return [dict(row) for row in parquet.read_table(path).to_pylist()]
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_scores_of_a_file_equal_bit_for_bit_those_that_the_version_gave_live(
    loop: Loop, tmp_path: Path
) -> None:
    frozen, many = by_version(loop, "ht").most_common(1)[0]
    assert many > 300, "the frozen version has answered often"
    passing = by_version(loop, "lr").most_common(1)[0][0]
    for version in (frozen, passing):
        live = scores_of(loop, version)
        for suffix in ("csv", "parquet"):
            out = tmp_path / f"{version}.{suffix}"
            found = run(loop, *scoring(loop, version, out))
            assert (found["version"], found["failed"], found["resumed"]) == (version, 0, 0)
            rows = rows_of(out)
            assert len(rows) == found["rows"] == 40_060
            assert {row["version"] for row in rows} == {version}
            scored = {row["request_id"]: row for row in rows}
            for request_id, score in live.items():
                row = scored[request_id]
                assert bits(row["score"]) == bits(score.score)
                assert row["label"] in (score.label, str(score.label).lower())
        assert not list(tmp_path.glob("*.parts"))


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_run_that_was_killed_goes_on_to_the_same_bytes(loop: Loop, tmp_path: Path, suffix: str) -> None:
    version = by_version(loop, "ht").most_common(1)[0][0]
    whole, killed = tmp_path / f"whole.{suffix}", tmp_path / f"killed.{suffix}"
    small = ("--rows-per-part", "300")
    run(loop, *scoring(loop, version, whole, *small))
    line, environment, folder = line_of(loop, *scoring(loop, version, killed, *small))
    process = subprocess.Popen(line, env=environment, cwd=folder, stdout=subprocess.DEVNULL)
    parts = tmp_path / f"killed.{suffix}.parts"
    ends = time.monotonic() + 120
    while len(list(parts.glob("0*"))) < 8:
        assert time.monotonic() < ends
        time.sleep(0.002)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert not killed.exists()
    other = run(loop, *scoring(loop, "lr", killed, *small), code=2)
    assert "has parts of another run (other named, spec, state, version)" in other["error"]
    found = run(loop, *scoring(loop, version, killed, *small))
    assert 2_100 <= found["resumed"] < found["rows"] == 40_060
    assert killed.read_bytes() == whole.read_bytes()
    assert not parts.exists()
    assert "use --force to replace it" in run(loop, *scoring(loop, version, killed), code=2)["error"]


def test_the_requests_of_the_log_are_scored_once_each(loop: Loop, tmp_path: Path) -> None:
    entries = loop.entries()
    first = {
        entry.prediction.request_id: offset
        for offset, entry in entries
        if entry.prediction is not None and entry.corrects is None
    }
    out = tmp_path / "log.parquet"
    found = run(loop, *scoring(loop, f"{loop.task.name}@champion", out, "--from-log"))
    assert found["version"].startswith("ht.1@")
    assert [row["request_id"] for row in rows_of(out)] == list(first)
    middle = entries[len(entries) // 2][0]
    halves = []
    for span in ("--until", "--since"):
        out = tmp_path / f"log{span}.csv"
        run(loop, *scoring(loop, "lr", out, "--from-log", span, str(middle)))
        halves += [row["request_id"] for row in rows_of(out)]
    assert halves == list(first)
    live = scores_of(loop, found["version"])
    assert live.keys() & first.keys()
    scored = {row["request_id"]: row for row in rows_of(tmp_path / "log.parquet")}
    for request_id in live.keys() & first.keys():
        assert bits(scored[request_id]["score"]) == bits(live[request_id].score)


def test_a_version_that_the_log_does_not_lead_to_is_an_error(loop: Loop, tmp_path: Path) -> None:
    out = tmp_path / "none.csv"
    last = loop.end_of(loop.topics.log)
    for version, words in (
        ("lr.2@20", "does not lead to version lr.2@20"),
        (f"lr.1@{last}", "is beyond the end of"),
        ("gbm", "'gbm' is neither a version such as lr.1@9999, nor a model (lr, ht), nor"),
    ):
        assert words in run(loop, *scoring(loop, version, out), code=2)["error"]
    assert not list(tmp_path.iterdir())
