from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from infra.snapshots.store import SnapshotStore
from infra.verify import Report, verify
from schemas.errors import UsageError
from schemas.records import Entry, Outcome, Position, Prediction, Punctuation, Request, Score
from streams.backfill import BackfillEntries
from streams.datafile import Event
from streams.verify import check_score
from tests.history import DAY, History, MemorySource, ordinary


def check(history: History, store: SnapshotStore | None = None, runtime: str = "runtime") -> Report:
    return verify(history.loaded, history.codec, MemorySource(history), runtime, store)


def whats(report: Report) -> str:
    return "\n".join(f"{each.where}: {each.what}" for each in report.failures)


@pytest.fixture
def history() -> History:
    return ordinary("verified")


def test_what_the_loop_wrote_is_clean_and_every_score_is_reproduced(history: History) -> None:
    report = check(history)
    assert report.failures == []
    assert report.ok
    assert report.reproduced == {"lr": report.counts["predictions"], "window": report.counts["predictions"]}
    joins = [at.join for at in history.join.partitions.values()]
    assert report.counts["waiting"] == sum(join.waiting for join in joins)
    for counted, counter in (
        ("duplicate_predictions", "duplicate_prediction"),
        ("forwarded_outcomes", "misplaced"),
        ("dead_letters", "dead_letters"),
    ):
        made = sum(join.counters[counter] for join in joins) + history.statistics.counts[counter]
        assert report.counts[counted] == made > 0
    repeats = sum(join.counters["duplicate_outcome"] + join.counters["stale_revision"] for join in joins)
    assert report.counts["duplicate_outcomes"] == repeats == 2
    assert (report.counts["unserved"], report.counts["unread_predictions"]) == (1, 2)
    assert {"labelled", "expired", "late", "revised", "unavailable"} < set(report.resolutions)
    assert report.snapshots == 18


def test_one_partition_in_lockstep_is_clean() -> None:
    made = History("lockstep", 1, lockstep=True)
    for number in range(30):
        made.ask(f"r-{number}", number * DAY, number / 7)
        made.step()
        if number % 2:
            made.report(f"r-{number}", number * DAY, number % 3 == 0)
        made.send(made.topics.outcomes, "", Punctuation(number * DAY))
        made.resolve()
    report = check(made)
    assert report.failures == []
    assert report.resolutions["time"] == 30
    assert report.resolutions["expired"] > 5


def test_no_entry_can_be_left_out_unnoticed(history: History) -> None:
    log = history.records[history.topics.log, 0]
    whole = list(log)
    unnoticed = []
    for index, left_out in enumerate(whole):
        log[:] = whole[:index] + whole[index + 1 :]
        if check(history).ok:
            unnoticed.append(left_out.at)
    assert unnoticed == []


def test_no_entry_can_be_there_twice_even_under_another_id(history: History) -> None:
    log = history.records[history.topics.log, 0]
    whole = list(log)
    for index, twice in enumerate(whole):
        entry = history.codec.decode_entry(twice.value())
        again = replace(entry, entry_id=entry.entry_id.replace("#0", "#7") + "7")
        for second in (entry, again):
            log[:] = [*whole, replace(twice, at=len(whole), value_bytes=history.codec.encode(second))]
            assert not check(history).ok, f"entry {index} twice, the second time as {second.entry_id}"


def flipped(value: Any) -> Any:
    """The next float: one bit flipped."""
    return math.nextafter(value, 2.0) if isinstance(value, float) else 0.5


def test_no_score_can_be_changed_by_a_bit(history: History) -> None:
    unnoticed = []
    for (topic, number), kept in list(history.records.items()):
        if topic != history.topics.predictions:
            continue
        for record in list(kept):
            prediction = history.codec.decode_prediction(record.value())
            for index, score in enumerate(prediction.scores):
                scores = list(prediction.scores)
                scores[index] = replace(score, score=flipped(score.score))
                history.change(topic, number, record.at, replace(prediction, scores=tuple(scores)))
                report = check(history)
                where = f"{topic}[{number}]@{record.at}"
                found = [
                    each for each in report.failures if each.where == where and score.version in each.what
                ]
                if not found or found[0].expected == found[0].found:
                    unnoticed.append((where, score.model))
            kept[record.at] = record
    assert unnoticed == []


Change = Callable[[Entry], Entry]


def other_label(entry: Entry) -> Entry:
    assert entry.outcome is not None
    return replace(entry, outcome=replace(entry.outcome, value=not entry.outcome.value))


def other_feature(entry: Entry) -> Entry:
    assert entry.prediction is not None
    return replace(entry, prediction=replace(entry.prediction, features={"x": 77.0, "y": 1.0}))


@pytest.mark.parametrize("served", [None, (1.0, 4.5), (1.0, math.nextafter(4.0, 5.0))])
def test_an_interval_is_part_of_a_score(served: tuple[float, float] | None) -> None:
    expected = Score("m", 1, 5, 2.5, interval=(1.0, 4.0))
    assert [*check_score(expected, expected, "r1")] == []
    (found,) = check_score(expected, replace(expected, interval=served), "r1")
    assert found.expected.endswith("interval 1.0 to 4.0")
    assert "does not reproduce the served score" in found.what


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("labelled", other_label),
        ("late", other_label),
        ("revised", other_label),
        ("labelled", other_feature),
        ("expired", other_feature),
        ("expired", lambda entry: replace(entry, ts=entry.ts + 1)),
        ("labelled", lambda entry: replace(entry, kind="late", late_by="arrival")),
        ("labelled", lambda entry: replace(entry, kind="expired", outcome=None, outcome_at=None)),
        ("late", lambda entry: replace(entry, kind="labelled", late_by=None, corrects=None)),
        ("late", lambda entry: replace(entry, late_by="arrival")),
        ("late", lambda entry: replace(entry, corrects="topic[0]@1#0")),
        ("revised", lambda entry: replace(entry, previous=not entry.previous)),
        ("revised", lambda entry: replace(entry, previous_kind="late")),
        ("unavailable", lambda entry: replace(entry, kind="labelled")),
        ("labelled", lambda entry: replace(entry, prediction_at=Position("verified.predictions", 0, 9999))),
        ("labelled", lambda entry: replace(entry, outcome_at=Position("verified.outcomes", 0, 9999))),
        ("labelled", lambda entry: replace(entry, prediction=None, outcome=None)),
        ("command", lambda entry: replace(entry, command=None)),
        ("command", lambda entry: replace(entry, kind="time", command=None)),
    ],
)
def test_no_entry_can_be_altered_unnoticed(history: History, kind: str, change: Change) -> None:
    for offset, entry in enumerate(history.entries()):
        if entry.kind == kind:
            history.change(history.topics.log, 0, offset, change(entry))
            report = check(history)
            assert not report.ok
            assert f"verified.log[0]@{offset}" in whats(report) or kind == "command"
            history.change(history.topics.log, 0, offset, entry)
    assert check(history).ok


def test_a_prediction_that_is_missing_is_noticed(history: History) -> None:
    unnoticed = []
    for number in range(2):
        kept = history.records[history.topics.predictions, number]
        whole = list(kept)
        for index, record in enumerate(whole[:-1]):  # the last one may seem to be on its way
            kept[:] = whole[:index] + whole[index + 1 :]
            if check(history).ok:
                unnoticed.append(record.at)
        kept[:] = whole
    assert unnoticed == []


def test_a_prediction_made_twice_for_one_request_is_noticed(history: History) -> None:
    kept = history.records[history.topics.predictions, 0]
    kept.append(replace(kept[3], at=len(kept)))
    assert "is answered more than once" in whats(check(history))


def test_a_prediction_with_other_features_than_its_request_is_noticed(history: History) -> None:
    last = history.records[history.topics.predictions, 0][-1]
    prediction = history.codec.decode_prediction(last.value())
    history.change(history.topics.predictions, 0, last.at, replace(prediction, features={"x": 1.0, "y": 1.0}))
    assert "differs from its request" in whats(check(history))


def test_a_dead_letter_that_is_missing_is_noticed(history: History) -> None:
    for number in range(2):
        history.records[history.topics.dead_letters, number].clear()
    found = whats(check(history))
    assert "the request has neither a prediction nor a dead letter" in found
    assert "an unreadable outcome has no dead letter" in found
    assert "is in no entry and no dead letter" in found


def test_a_record_with_two_dead_letters_is_noticed(history: History) -> None:
    for number in range(2):
        kept = history.records[history.topics.dead_letters, number]
        kept += [replace(each, at=each.at + len(kept)) for each in kept]
    found = whats(check(history))
    assert "the request is answered more than once" in found
    assert "counts more than once" in found


def test_the_version_that_a_score_names_must_occur(history: History) -> None:
    topic = history.topics.predictions
    first = history.records[topic, 0][0]
    prediction = history.codec.decode_prediction(first.value())
    score = replace(prediction.scores[0], offset=100_000)
    history.change(topic, 0, first.at, replace(prediction, scores=(score, prediction.scores[1])))
    assert "does not lead to version lr.1@100000" in whats(check(history))


def test_scores_of_another_runtime_are_counted_and_not_called_wrong(history: History) -> None:
    report = check(history, runtime="another")
    assert report.ok
    assert not report.reproduced
    assert report.other == {"lr": report.counts["predictions"], "window": report.counts["predictions"]}


def test_a_version_of_a_revision_that_was_never_opened_hides_nothing(history: History) -> None:
    topic = history.topics.predictions
    first = history.records[topic, 0][0]
    prediction = history.codec.decode_prediction(first.value())
    score = replace(prediction.scores[0], revision=7, offset=3, score=0.9)
    history.change(topic, 0, first.at, replace(prediction, scores=(score, prediction.scores[1])))
    assert "lr.7@3: the log opens no such revision" in whats(check(history))
    hidden = replace(prediction.scores[0], model="other", revision=1, offset=2)
    history.change(topic, 0, first.at, replace(prediction, scores=(hidden, prediction.scores[1])))
    assert "neither in the task file nor in the log" in whats(check(history))


def test_an_id_may_be_used_again_only_when_its_request_is_forgotten() -> None:
    history = History("again", 1)
    for number, day in enumerate((0, 50, 150)):  # remembered for 110 days
        history.ask("same", day * DAY, float(number))
        history.step()
    history.ask("other", 400 * DAY, 1.0)
    history.step()
    report = check(history)
    assert report.failures == []
    assert report.counts["duplicate_predictions"] == 1
    assert report.resolutions["expired"] == 2
    log = history.records[history.topics.log, 0]
    del log[-1]  # the second resolution: no duplicate explains that it is not there
    assert "is not pending, and the log has no resolution" in whats(check(history))


def test_backfilled_examples_are_part_of_the_proof() -> None:
    history = History("backfilled", 1)
    events = [
        (row, Event(Request(f"old-{row}", row * DAY, {"x": row / 3, "y": 1.0}), outcomes))
        for row in range(1, 9)
        for outcomes in [(Outcome(f"old-{row}", (row + 2) * DAY, row % 2 == 0),) if row % 3 else ()]
    ]
    for entry in BackfillEntries(history.loaded.task, events, "0123456789abcdef"):
        history.send(history.topics.log, "backfilled", entry, 0)
    history.learn()
    for number in range(10, 30):
        history.ask(f"r-{number}", number * DAY, number / 7)
        history.report(f"r-{number}", number * DAY, True)
        history.step()
    report = check(history)
    assert report.failures == []
    assert report.resolutions["backfill"] == 6
    assert report.reproduced["lr"] == 20
    log = history.records[history.topics.log, 0]
    whole = list(log)
    for index, entry in enumerate(history.entries()):
        if entry.kind == "backfill" and entry.outcome is not None:
            log[:] = whole[:index] + whole[index + 1 :]
            assert not check(history).ok
            log[:] = whole
            history.change(history.topics.log, 0, index, other_label(entry))
            assert not check(history).ok
            log[:] = whole


# ---------------------------------------------------------------------- snapshots


def stored(history: History, folder: Path) -> SnapshotStore:
    store = SnapshotStore(str(folder))
    for made in history.snapshot():
        store.save(made.manifest, made.state, made.probes)
    return store


def test_a_snapshot_with_another_state_is_noticed(history: History) -> None:
    [made, _] = history.snapshot()
    changed = replace(made.manifest, state_digest="0" * 64)
    history.send(history.topics.snapshots, changed.version, changed, 0)
    report = check(history)
    assert f"snapshot {changed.version} differs from the fold of the log" in whats(report)


def test_a_stored_snapshot_is_opened_and_compared(history: History, tmp_path: Path) -> None:
    store = stored(history, tmp_path)
    assert check(history, store).failures == []
    version = str(history.models[0].version)
    blob = tmp_path / "verified" / version / "state.bin"
    blob.write_bytes(blob.read_bytes()[:-1])
    assert f"snapshot {version} cannot be used" in whats(check(history, store))


def test_a_model_changed_in_the_store_is_noticed(history: History, tmp_path: Path) -> None:
    fold = history.models[0]
    fold.estimator.learn_one({"x": 1.0, "y": 1.0}, True)  # type: ignore[attr-defined]  # any River model
    announced = dict(history.records)
    made = history.snapshot()[0]
    history.records.update(announced)
    store = SnapshotStore(str(tmp_path))
    store.save(made.manifest, made.state, made.probes)
    assert f"snapshot {fold.version} differs from the fold of the log" in whats(check(history, store))


# ---------------------------------------------------------------------- what is no longer there


def test_topics_cut_by_retention_limit_the_proof_and_it_says_so(history: History) -> None:
    whole = check(history)
    for topic in (history.topics.requests, history.topics.predictions, history.topics.outcomes):
        for number in range(2):
            history.cut(topic, number, 8)
    report = check(history)
    assert report.failures == []
    assert report.counts["cut"] > 0
    assert 0 < report.reproduced["lr"] < whole.reproduced["lr"]
    assert f"{history.topics.predictions}[0] begins at offset 8" in "\n".join(report.notes)


def test_a_log_that_was_cut_is_refolded_from_a_snapshot(tmp_path: Path) -> None:
    store = SnapshotStore(str(tmp_path))
    history = History("anchored", 1)
    for number in range(40):
        history.ask(f"r-{number}", number * DAY, number / 7)
        history.serve()
        history.report(f"r-{number}", number * DAY, number % 3 == 0)
        history.resolve()
        if number == 20:
            for made in history.snapshot():
                store.save(made.manifest, made.state, made.probes)
    anchor = history.codec.decode_manifest(history.records[history.topics.snapshots, 0][0].value())
    history.cut(history.topics.log, 0, anchor.next_offset - 3)
    with pytest.raises(UsageError, match="--snapshots"):
        check(history)
    report = check(history, store)
    assert report.failures == []
    assert report.reproduced["lr"] == 19  # 20 of 40 were scored by the anchor or before it, and its own one
    history.cut(history.topics.log, 0, anchor.next_offset + 3)
    with pytest.raises(UsageError, match="no snapshot of lr"):
        check(history, store)


def test_a_loop_that_goes_on_while_it_is_verified_gives_no_false_alarm() -> None:
    history = History("moving", 2)
    asked = 0

    class Moving(MemorySource):
        """The loop goes on with every look at where the topics end."""

        def ends(self, places: Any) -> dict[tuple[str, int], int]:
            nonlocal asked
            found = super().ends(places)
            for _ in range(7):
                history.ask(f"r-{asked}", asked * DAY, asked / 7)
                history.serve()
                history.report(f"r-{asked - asked % 3}", asked * DAY, asked % 2 == 0)
                history.resolve()
                asked += 1
            return found

    report = Report("none yet")
    for _ in range(5):
        report = verify(history.loaded, history.codec, Moving(history), "runtime")
        assert report.failures == []
    assert report.counts["unread_outcomes"] > 0
    assert report.reproduced["lr"] > 50


def test_many_differences_are_counted_and_the_first_twenty_shown(history: History) -> None:
    del history.records[history.topics.log, 0][2:]
    report = check(history)
    assert report.failed > len(report.failures) == 20


def test_predictions_are_compared_record_by_record(history: History) -> None:
    # The join's copy and the entry's copy are altered alike: the topic has the last word.
    offset, entry = next((i, each) for i, each in enumerate(history.entries()) if each.kind == "labelled")
    assert isinstance(entry.prediction, Prediction)
    history.change(history.topics.log, 0, offset, other_feature(entry))
    assert "does not match the prediction on the topic" in whats(check(history))
