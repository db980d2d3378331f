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
from click.testing import CliRunner, Result
from pyarrow import parquet

from agents.cli.main import riverloop
from infra.embedded.pytest_plugin import Broker
from infra.kafka.connection import Connection
from infra.kafka.log import read_all
from schemas.errors import UsageError
from schemas.records import Prediction, Score
from tests.integration.loops import Loop, bookings, command, hotel_task

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(900)]
ROWS = 6_000


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
        with loop.replaying(loop.events(ROWS), 0.03):
            loop.wait_for_more(300)
            models(loop, "freeze", "ht", "--reason", "<b>odd</b> | outcomes", "--author", "ada", "--wait")
            models(loop, "freeze", "ht", "--reason", "again", code=1)
            loop.wait_for_more(100)
            models(loop, "promote", "ht", "--reason", "half of them went well", "--wait")
        worker.stop()
        yield loop


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data file whose requests the loop has served."""
    path = tmp_path_factory.mktemp("data") / "bookings.csv"
    rows = bookings()[:ROWS]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def invoke(loop: Loop, *arguments: str, code: int = 0) -> Result:
    """Run a command against the loop's cluster, in this process."""
    done = CliRunner().invoke(riverloop, [*arguments, "--bootstrap", loop.connection.bootstrap])
    found = 2 if isinstance(done.exception, UsageError) else done.exit_code
    assert found == code, (done.output, done.exception)
    return done


def run(loop: Loop, *arguments: str, code: int = 0) -> dict[str, Any]:
    """Run a command; gives what it prints as JSON, or its error."""
    done = invoke(loop, *arguments, "--json", code=code)
    found: dict[str, Any] = json.loads(done.stdout) if done.stdout else {"error": str(done.exception)}
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
    loop: Loop, data: Path, tmp_path: Path
) -> None:
    frozen, many = by_version(loop, "ht").most_common(1)[0]
    assert many > 300, "the frozen version has answered often"
    passing = by_version(loop, "lr").most_common(1)[0][0]
    for version in (frozen, passing):
        live = scores_of(loop, version)
        for suffix in ("csv", "parquet"):
            out = tmp_path / f"{version}.{suffix}"
            found = run(loop, *scoring(loop, version, out, "--data", str(data)))
            assert (found["version"], found["failed"], found["resumed"]) == (version, 0, 0)
            rows = rows_of(out)
            assert len(rows) == found["rows"] == ROWS
            assert {row["version"] for row in rows} == {version}
            scored = {row["request_id"]: row for row in rows}
            for request_id, score in live.items():
                row = scored[request_id]
                assert bits(row["score"]) == bits(score.score)
                assert row["label"] in (score.label, str(score.label).lower())
        assert not list(tmp_path.glob("*.parts"))


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_run_that_was_killed_goes_on_to_the_same_bytes(
    loop: Loop, data: Path, tmp_path: Path, suffix: str
) -> None:
    version = by_version(loop, "ht").most_common(1)[0][0]
    whole, killed = tmp_path / f"whole.{suffix}", tmp_path / f"killed.{suffix}"
    small = ("--data", str(data), "--rows-per-part", "20")
    run(loop, *scoring(loop, version, whole, *small))
    arguments = scoring(loop, version, killed, *small)
    line, environment, folder = command(*arguments, "--bootstrap", loop.connection.bootstrap)
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
    assert 7 * 20 <= found["resumed"] < found["rows"] == ROWS
    assert killed.read_bytes() == whole.read_bytes()
    assert not parts.exists()
    assert "use --force to replace it" in run(loop, *scoring(loop, version, killed, *small), code=2)["error"]


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


def test_what_was_learned_while_the_model_was_frozen_is_a_version_of_its_own(
    loop: Loop, tmp_path: Path
) -> None:
    stored = next(each for each in loop.store.manifests(loop.task.name) if each.model == "ht")
    frozen = by_version(loop, "ht").most_common(1)[0][0]
    assert stored.log_offset > int(frozen.partition("@")[2])
    states = {}
    for version in (stored.version, frozen):
        out = tmp_path / f"{version}.csv"
        found = run(loop, *scoring(loop, version, out, "--from-log", "--until", "20"))
        states[version] = found["state"]
        without = ("--snapshots", str(tmp_path / "empty"), "--force")
        assert (
            run(loop, *scoring(loop, version, out, "--from-log", "--until", "20"), *without)["state"]
            == (found["state"])
        ), "the log alone gives the same state"
    assert states[stored.version] == stored.state_digest
    assert states[frozen] != stored.state_digest


def test_a_version_that_the_log_does_not_lead_to_is_an_error(loop: Loop, tmp_path: Path) -> None:
    out = tmp_path / "none.csv"
    last = loop.end_of(loop.topics.log)
    for version, words in (
        ("lr.2@20", "the log has no revision 2 of lr"),
        ("lr.1@1", "does not lead to version lr.1@1: at offset 1 the model is lr.1@0"),
        (f"lr.1@{last}", "is beyond the end of"),
        ("gbm", "'gbm' is neither a version such as lr.1@9999, nor a model (lr, ht), nor"),
    ):
        assert words in run(loop, *scoring(loop, version, out), code=2)["error"]
    assert not list(tmp_path.iterdir())


def text(loop: Loop, *arguments: str) -> str:
    return invoke(loop, *arguments).stdout


def paper(loop: Loop, name: str, *arguments: str) -> dict[str, Any]:
    return run(loop, "models", name, loop.loaded.reference, *arguments, "--snapshots", loop.store.uri)


def test_a_card_is_made_of_the_log_and_its_topics(loop: Loop) -> None:
    version = by_version(loop, "ht").most_common(1)[0][0]
    offset = int(version.partition("@")[2])
    card = paper(loop, "card", version)
    assert paper(loop, "card") == card, "the champion is frozen, so the version that answers is this one"
    assert card["log_end"] == loop.end_of(loop.topics.log)
    entries = loop.entries()
    facts = [(at, entry) for at, entry in entries if at <= offset and entry.command is None]
    training = card["training"]
    assert (training["first_offset"], training["last_offset"]) == (facts[0][0], facts[-1][0])
    assert (training["first_ts"], training["last_ts"]) == (facts[0][1].ts, facts[-1][1].ts)
    assert {kind: count for kind, count in training["kinds"].items() if kind != "command"} == Counter(
        entry.kind for _, entry in facts
    )
    assert card["state"]["learned"] == training["labels"]
    assert (card["state"]["skipped"], card["state"]["left_out"]) == (0, "")
    live = scores_of(loop, version)
    labelled = [
        entry
        for _, entry in entries
        if entry.prediction is not None
        and entry.prediction.request_id in live
        and entry.kind in {"labelled", "expired"}
    ]
    (mine, *_) = [each for each in card["measured"] if each["scored_by"] == "this version"]
    assert sum(each["labels"] for each in card["measured"] if each["scored_by"] == "this version") == len(
        labelled
    )
    accuracy = mine["metrics"][0]
    assert accuracy["name"] == "accuracy"
    assert accuracy["low"] < accuracy["value"] < accuracy["high"]
    assert sum(row["count"] for row in mine["calibration"]) == mine["labels"]
    assert sum(each[0]["labels"] for each in mine["segments"].values()) == mine["labels"]
    assert {each.partition("=")[0] for each in mine["segments"]} == {"DepositType"}
    done = [(each["command"], each["author"], each["result"]) for each in card["decisions"]]
    assert ("freeze ht", "ada", "done") in done
    assert any(each[0] == "revision ht" and each[2] == "done" for each in done)
    assert any(each[0] == "freeze ht" and each[2] == "rejected: ht is frozen already" for each in done)
    assert any(each[0] == "promote ht" for each in done)
    assert (card["role"], card["role_now"]) == ("shadow", "served 1, frozen")
    assert card["specification"]["parameters"] == {"max_depth": "100"}
    assert card["specification"]["runtime_text"].startswith("river ")


def test_a_card_is_markdown_or_html_in_which_nothing_of_a_text_is_a_mark(loop: Loop) -> None:
    arguments = ("models", "card", loop.loaded.reference, "ht", "--snapshots", loop.store.uri)
    shown, html = text(loop, *arguments), text(loop, *arguments, "--html")
    assert "&lt;b&gt;odd&lt;/b&gt; \\| outcomes" in shown
    assert "&lt;b&gt;odd&lt;/b&gt; | outcomes" in html
    for each in (shown, html):
        assert "<b>odd" not in each
        assert f"before offset {loop.end_of(loop.topics.log):,}" in each
        assert "booking to arrival" in each
    assert "<script" not in html
    assert "http://" not in html
    assert "https://" not in html


def test_two_versions_and_the_task_file_are_compared(loop: Loop, tmp_path: Path) -> None:
    old = by_version(loop, "lr").most_common()[-1][0]
    rows = {(each["section"], each["name"]): each for each in paper(loop, "diff", old, "lr")["rows"]}
    assert not any(each["equal"] for each in rows.values())
    assert ("training", "learned") in rows
    assert ("specification", "policy") not in rows
    everything = paper(loop, "diff", old, "lr", "--all")["rows"]
    assert {("parameters", "learning_rate"), ("specification", "pipeline")} <= {
        (each["section"], each["name"]) for each in everything if each["equal"]
    }
    changed = hotel_task(
        tmp_path / "changed",
        "papers",
        {
            '"learning_rate": 0.01': '"learning_rate": 0.02',
            'Integer(name="Adults", unit="guests", low=0, high=60),': "",
            'Meal", missing="NA", levels=': 'Meal", missing="NA", purpose="kitchen", levels=',
        },
        tree=True,
    )
    reference = f"{changed}:cancellation_within_30_days"
    # The log's end is of another specification than the file: its newest snapshot stands for the model.
    found = run(loop, "models", "diff", reference, "lr", "lr@file", "--snapshots", loop.store.uri)
    by_name = {(each["section"], each["name"]): (each["one"], each["other"]) for each in found["rows"]}
    assert by_name["parameters", "learning_rate"] == ("0.01", "0.02")
    assert {key for key in by_name if key[0] == "dictionary"} == {("dictionary", "Adults")}
    assert by_name["dictionary", "Adults"] == ("integer", "absent")
    assert ("specification", "pipeline") not in by_name
    assert not any(section in {"training", "metrics"} for section, _ in by_name)
    older = text(loop, "models", "card", reference, "lr")
    assert "Names and types are from the revision on the control topic" in older
    assert "LeadTime | integer" in older
    assert "policy differs" not in older
    with_score = ("--version", "lr", "--from-log", "--out", str(tmp_path / "none.csv"))
    assert "has no revision" in run(loop, "score", reference, *with_score, code=2)["error"]
    old_version = ("--version", old, *with_score[2:])
    assert (
        "has another specification or runtime" in run(loop, "score", reference, *old_version, code=2)["error"]
    )
    assert "papers-30d: lr.1@" in text(loop, "models", "diff", reference, "lr", "lr@file")


def test_a_model_that_the_task_file_no_longer_has_keeps_its_card(loop: Loop, tmp_path: Path) -> None:
    file = hotel_task(tmp_path / "without", "papers")
    reference = f"{file}:cancellation_within_30_days"
    card = run(loop, "models", "card", reference, "ht")
    stored = {each.version: each for each in loop.store.manifests(loop.task.name)}[card["version"]]
    assert card["state"]["source"] == "the snapshot's manifest"
    assert (card["state"]["learned"], card["state"]["digest"]) == (stored.learned, stored.state_digest)
    assert card["measured"] == []
    assert card["policy_differs"].startswith("Nothing is measured: the task file has no model of this name")
    assert card["training"]["labels"] is None
    assert card["specification"]["parameters"] == {"max_depth": "100"}
    assert any(each["command"] == "freeze ht" for each in card["decisions"])
