"""Batch scoring: the same bytes whatever interrupts it, exact numbers, memory of one part."""

from __future__ import annotations

import csv
import json
import math
import struct
import tracemalloc
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet
from river import linear_model

from agents.cli.versions import span_of
from infra.scoring.forms import form_of
from infra.scoring.parts import Parts
from infra.scoring.requests import FileRequests, Span
from infra.scoring.run import run
from infra.taskfile import LoadedTask
from infra.versions import LogExtent, model_named
from schemas import Category, Dictionary, Number
from schemas.codec import Codec
from schemas.errors import UsageError
from schemas.records import Command, Entry, Outcome, Prediction, Request, Score
from schemas.subject_keys import SubjectKeys
from streams import DataFile, Model, OnArrival, Task
from streams.batch_scoring import ScoredRow, score
from streams.model import ModelFold
from streams.roles import Roles
from streams.version import Version

KINDS = ("binary", "multiclass", "regression")
SCORES: dict[str, list[Any]] = {
    "binary": [0.1 + 0.2, 5e-324, 1 - 2**-53, None],
    "multiclass": [{"b": 1 / 3, "a": 2 / 3}, None],
    "regression": [-1e300, 0.1, 3, None],
}
LABELS: dict[str, Any] = {"binary": True, "multiclass": 'b,"é', "regression": None}


def task() -> Task:
    return Task(
        name="scored",
        question="?",
        features=Dictionary(Number(name="x", unit="1")),
        horizon=timedelta(days=1),
        models=(Model("lr", linear_model.LogisticRegression, policy=OnArrival()),),
    )


def taught() -> ModelFold:
    fold = ModelFold(task(), task().models[0])
    fold.apply(0, Entry("open", "command", 0, command=fold.opening()))
    for number in range(1, 50):
        prediction = Prediction(f"t{number}", number, {"x": number / 50}, ())
        outcome = Outcome(prediction.request_id, number, number > 20)
        fold.apply(number, Entry(f"e{number}", "labelled", number, prediction=prediction, outcome=outcome))
    return fold


def requests(count: int) -> Iterator[Request]:
    return (Request(f"r{number}", number, {"x": math.sin(number)}) for number in range(count))


def rows_of(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".parquet":
        return [dict(row) for row in parquet.read_table(path).to_pylist()]
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


class Interrupted(BaseException):
    """What a kill is to this process."""


def make(target: Path, count: int = 95, about: Any = None, *, force: bool = False, stop: int = 10**9) -> Any:
    """Score requests in parts of 10; stops after some rows as a kill does."""
    fold, parts = taught(), Parts(target)

    def progress(done: int) -> None:
        if done >= stop:
            raise Interrupted

    form = form_of(target, "binary", {"version": str(fold.version)})
    return run(
        fold, requests(count), parts, form, about or {"version": "v"}, 10, force=force, progress=progress
    )


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@pytest.mark.parametrize("stop", [10, 50, 95])
def test_an_interrupted_run_goes_on_to_the_same_bytes(tmp_path: Path, suffix: str, stop: int) -> None:
    whole, again = tmp_path / f"whole.{suffix}", tmp_path / f"again.{suffix}"
    assert make(whole).data() == {"rows": 95, "failed": 0, "resumed": 0}
    with pytest.raises(Interrupted):
        make(again, stop=stop)
    assert not again.exists()
    folder = tmp_path / f"again.{suffix}.parts"
    # A kill may leave a part that is not whole.
    (folder / "00000099-10-0.tmp").write_bytes(b"half of it")
    assert make(again).data() == {"rows": 95, "failed": 0, "resumed": stop}
    assert again.read_bytes() == whole.read_bytes()
    assert [each.name for each in tmp_path.iterdir() if each.is_dir()] == []


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_kill_between_the_file_and_the_end_of_its_parts_changes_nothing(
    tmp_path: Path, suffix: str
) -> None:
    target = tmp_path / f"scores.{suffix}"
    with pytest.raises(Interrupted):
        make(target, stop=95)
    folder, kept = tmp_path / f"scores.{suffix}.parts", tmp_path / "kept"
    kept.mkdir()
    for each in folder.iterdir():
        (kept / each.name).write_bytes(each.read_bytes())
    make(target)
    made = target.read_bytes()
    kept.rename(folder)
    assert make(target).resumed == 95
    assert target.read_bytes() == made


def test_parts_of_another_run_are_neither_continued_nor_dropped_unasked(tmp_path: Path) -> None:
    target = tmp_path / "scores.csv"
    with pytest.raises(Interrupted):
        make(target, stop=50)
    with pytest.raises(UsageError, match=r"parts of another run \(other version\)"):
        make(target, about={"version": "w"})
    assert make(target, about={"version": "w"}, force=True).resumed == 0
    with pytest.raises(UsageError, match="exists; use --force"):
        make(target)
    made = target.read_bytes()
    assert make(target, count=20, force=True).rows == 20
    assert len(made) > len(target.read_bytes())
    with pytest.raises(Interrupted):
        make(target, stop=50, force=True)
    assert make(target, force=True).resumed == 50, "the same command goes on, with --force too"
    with pytest.raises(Interrupted):
        make(target, stop=50, force=True)
    with pytest.raises(UsageError, match="has 50 rows, and the requests are only 45"):
        make(target, count=45)


def test_a_part_that_is_gone_is_not_passed_over(tmp_path: Path) -> None:
    target = tmp_path / "scores.csv"
    with pytest.raises(Interrupted):
        make(target, stop=50)
    (tmp_path / "scores.csv.parts" / "00000002-10-0").unlink()
    with pytest.raises(UsageError, match="lacks a part"):
        make(target)


def test_two_processes_do_not_write_one_file(tmp_path: Path) -> None:
    one, other = Parts(tmp_path / "scores.csv"), Parts(tmp_path / "scores.csv")
    one.open({"version": "v"})
    with pytest.raises(UsageError, match="another process is writing"):
        other.open({"version": "v"})
    one.close()
    assert other.open({"version": "v"}) == []
    other.close()


def test_rows_have_the_bits_of_a_prediction(tmp_path: Path) -> None:
    fold = taught()
    expected = {each.request_id: fold.predict(each.features) for each in requests(95)}
    for suffix in ("csv", "parquet"):
        target = tmp_path / f"scores.{suffix}"
        make(target)
        rows = rows_of(target)
        assert [row["request_id"] for row in rows] == list(expected)
        for row in rows:
            found: Score = expected[row["request_id"]]
            assert isinstance(found.score, float)
            assert struct.pack("<d", float(row["score"])) == struct.pack("<d", found.score)
            assert str(row["label"]).lower() == str(found.label).lower()
            assert row["version"] == "lr.1@49"
    assert fold.next_offset == 50, "nothing is learned"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_scores_of_every_kind_are_read_back_to_the_last_bit(tmp_path: Path, kind: str, suffix: str) -> None:
    rows = [
        ScoredRow(
            f'r,"{number}\n=1', number, "lr.1@5", value, None if value is None else LABELS[kind], failure
        )
        for number, value in enumerate(SCORES[kind])
        for failure in ("" if value is not None else "KeyError at task.py:3",)
    ]
    target = tmp_path / f"scores.{suffix}"
    form, parts = form_of(target, kind, {"task": "t"}), Parts(target)
    parts.open({})
    parts.write(0, form, rows)
    parts.finish(form)
    for row, found in zip(rows, rows_of(target), strict=True):
        assert found["request_id"] == row.request_id
        assert (found["failure"] or "") == row.failure
        if row.score is None:
            assert not found["score"]
            assert not found["label"]
        elif kind == "multiclass":
            score_ = json.loads(found["score"]) if suffix == "csv" else dict(found["score"])
            assert list(score_.items()) == list(row.score.items())  # type: ignore[union-attr]  # it is a mapping
            assert found["label"] == row.label
        else:
            assert float(found["score"]) == row.score
    if suffix == "parquet":
        assert parquet.read_schema(target).metadata[b"riverloop.task"] == b"t"


def test_a_model_that_fails_fails_in_its_row(tmp_path: Path) -> None:
    fold = taught()
    bad = Request("bad", 0, {"x": "text"})
    row = score(fold, bad)
    assert row.score is None
    assert "TypeError" in row.failure
    target = tmp_path / "scores.csv"
    found = run(fold, iter([bad, *requests(3)]), Parts(target), form_of(target, "binary", {}), {}, 2)
    assert (found.rows, found.failed) == (4, 1)
    assert [bool(each["failure"]) for each in rows_of(target)] == [True, False, False, False]


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_memory_does_not_grow_with_the_file(tmp_path: Path, suffix: str) -> None:
    fold = taught()

    def peak(count: int) -> int:
        target = tmp_path / f"{count}.{suffix}"
        form = form_of(target, "binary", {})
        tracemalloc.start()
        run(fold, requests(count), Parts(target), form, {}, 200, force=True)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(400)  # what is imported and cached by the first run
    assert peak(8_000) < 1.5 * peak(400)


def test_the_name_of_the_file_says_its_form(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"must end in \.parquet or \.csv"):
        form_of(tmp_path / "scores.txt", "binary", {})


# ---------------------------------------------------------------------- requests of a file


def test_personal_data_of_a_file_are_scored_in_the_form_in_which_serving_stores_them(tmp_path: Path) -> None:
    """With the tokens of `T.keys`; of a subject that has none, with one that is equal in each run."""
    file = tmp_path / "guests.csv"
    file.write_text("id,ts,guest,name\nr1,2024-01-01,Ada,Ada Lovelace\nr2,2024-01-02,Grace,Grace Hopper\n")
    features = Dictionary(
        Category(name="guest", personal_data="tokenised"),
        Category(name="name", personal_data="left_out", optional=True),
    )
    personal = Task(
        name="guests",
        question="?",
        features=features,
        horizon=timedelta(days=1),
        models=(Model("lr", linear_model.LogisticRegression),),
        data=DataFile(request_id="id", ts="ts", timezone="UTC", outcome=lambda row: None),
    )
    loaded = LoadedTask(personal, "guests.py:personal", tmp_path, ())
    salts = {"Ada": bytes(range(32))}

    def read() -> tuple[list[Request], SubjectKeys, Codec]:
        keys = SubjectKeys(b"a token key")
        for name, salt in salts.items():
            keys.read(keys.lookup(name), salt)
        codec = Codec(personal.name, personal.kind, features, keys, serving=True)
        return list(FileRequests(loaded, codec, str(file), lambda found: None)), keys, codec

    found, keys, codec = read()
    sent = {"request_id": "r1", "ts": found[0].ts, "features": {"guest": "Ada", "name": "Ada Lovelace"}}
    assert found[0] == codec.decode_request(json.dumps(sent).encode())
    assert set(found[0].features) == {"guest"}
    assert found[0].features["guest"] not in ("Ada", found[1].features["guest"])
    assert read()[0] == found
    assert keys.unwritten() == []
    assert FileRequests(loaded, codec, str(file), lambda found: None).count() == 2


# ---------------------------------------------------------------------- names of versions and spans


def test_a_version_is_named_by_itself_by_its_model_or_by_its_role() -> None:
    roles, models = Roles("scored"), ["lr", "ht"]
    with pytest.raises(UsageError, match="no champion yet"):
        model_named("@champion", "scored", models, roles)
    for number, name in enumerate(models):
        command = Command("revision", name, {"revision": "1", "spec": "s", "runtime": "r"})
        roles.apply(number, Entry(name, "command", 0, command=command))
    roles.apply(2, Entry("p", "command", 0, command=Command("promote", "ht")))
    assert model_named("lr.1@7", "scored", models, roles) == Version("lr", 1, 7)
    assert model_named("lr", "scored", models, roles) == "lr"
    for champion in ("@champion", "scored@champion"):
        assert model_named(champion, "scored", models, roles) == "ht"
    for wrong in ("other@champion", "lr@7", "x"):
        with pytest.raises(UsageError, match=r"neither a version such as lr\.1@9999, nor a model"):
            model_named(wrong, "scored", models, roles)
    with pytest.raises(UsageError, match="no model 'gbm'; it has lr, ht"):
        model_named("gbm.1@7", "scored", models, roles)


@pytest.mark.parametrize(
    ("span", "offsets", "has"),
    [
        (Span(), (5, 90), [0, 1, 2]),
        (Span(2, 40), (5, 40), [0, 1, 2]),
        (Span(20, 100), (20, 90), [0, 1, 2]),
        (Span(1, 2, by_time=True), (5, 90), [1]),
    ],
)
def test_a_span_is_one_of_offsets_or_of_request_times(
    span: Span, offsets: tuple[int, int], has: Sequence[int]
) -> None:
    assert span.offsets(LogExtent(5, 90)) == offsets
    assert [each.ts for each in requests(3) if span.has(each)] == has


def test_a_span_is_read_from_offsets_or_times() -> None:
    assert span_of("1970-01-01T00:00:01", None) == Span(1000, None, by_time=True)
    with pytest.raises(UsageError, match="must both be log offsets, or both times"):
        span_of("7", "2026-01-01")
    with pytest.raises(UsageError, match="neither a log offset nor a time"):
        span_of("yesterday", None)
