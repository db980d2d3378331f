"""What the benchmark says of its contenders: the job they share, the ratios, who is left out, the page."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from typing import Any

import pytest
from click.testing import CliRunner
from river import metrics

from schemas.errors import UsageError
from tests.benchmarks.compare import __main__ as bench
from tests.benchmarks.compare import stages
from tests.benchmarks.compare.job import Job, read_example
from tests.benchmarks.compare.load import SLICE, Load, requests_and_outcomes
from tests.benchmarks.compare.measure import Result
from tests.benchmarks.compare.page import page
from tests.benchmarks.compare.peers import find
from tests.benchmarks.compare.run_config import CONTENDERS, OURS, Contender, contender
from tests.benchmarks.compare.summary import throughput

RESULT = Result(OURS, 100, 100, 100, 1.0, 200.0, 50.0, 100.0, 0.8, {"river": "1"})


def test_the_job_by_hand_scores_as_river_does_and_writes_what_it_learned_from() -> None:
    load, job = Load.make(500), Job()
    accuracy, log_loss, auc = metrics.Accuracy(), metrics.LogLoss(), metrics.ROCAUC(n_thresholds=400)
    truths = {
        found["request_id"]: found["value"] for _, data in load.outcomes if (found := job.outcome(data))
    }
    assert len(truths) == 500
    for _, data in load.requests:
        prediction = job.request(data)
        label = truths[prediction["request_id"]]
        assert read_example(job.example(prediction, label)) == (prediction["score"], label)
        accuracy.update(label, prediction["score"] > 0.5)
        for each in (log_loss, auc):
            each.update(label, prediction["score"])
    found = job.metrics()
    assert found["accuracy"] == accuracy.get()
    assert found["log_loss"] == pytest.approx(log_loss.get(), abs=1e-12)
    assert found["auc"] == pytest.approx(auc.get(), abs=5e-3)
    assert found["auc"] > 0.8


def test_no_outcome_is_put_on_its_topic_before_its_request() -> None:
    pairs = 3 * SLICE + 7
    load = Load.make(pairs)
    asked: set[bytes] = set()
    reported = 0
    for number, due in enumerate(load.due):
        asked.update(key for key, _ in load.requests[number * SLICE : (number + 1) * SLICE])
        assert {key for key, _ in load.outcomes[reported:due]} <= asked
        reported = due
    assert (len(asked), reported) == (pairs, pairs)


def test_the_same_seed_gives_the_same_events() -> None:
    assert list(requests_and_outcomes(50)) == list(requests_and_outcomes(50))
    assert list(requests_and_outcomes(50)) != list(requests_and_outcomes(50, seed=2))


def test_ratios_are_taken_within_a_repeat_not_between_them() -> None:
    other = replace(RESULT, contender="bytewax")

    def fast(result: Result, events_per_s: float) -> Result:
        return replace(result, events_per_s=events_per_s)

    # The machine was three times as slow in the last repeat, for both.
    rounds = [
        [fast(RESULT, 300), fast(other, 100)],
        [fast(RESULT, 330), fast(other, 110)],
        [fast(RESULT, 100), fast(other, 25)],
    ]
    ours, theirs = throughput(rounds)
    assert (ours["ours_is"], theirs["ours_is"]) == (1.0, 3.0)
    assert theirs["events_per_s"] == {"min": 25, "median": 100, "max": 110}
    assert theirs["promise"] == contender("bytewax").promise


def test_who_is_not_installed_is_named_with_what_is_missing() -> None:
    here = Contender("here", "ours", "", "", ("river",))
    nowhere = Contender("nowhere", "ours", "", "", ("river", "no-such-distribution"))
    found = find([here, nowhere])
    assert found.pythons == {"here": sys.executable}
    assert list(found.left_out) == ["nowhere"]
    assert "no-such-distribution is not installed" in found.left_out["nowhere"]
    assert find([here, nowhere], sys.executable) == found
    with pytest.raises(UsageError, match="--peers-python /no/such/python does not run"):
        find([here], "/no/such/python")


def test_every_contender_says_what_it_promises_and_has_a_file() -> None:
    assert len({each.name for each in CONTENDERS}) == len(CONTENDERS)
    for each in CONTENDERS:
        assert each.promise
        assert (bench.FOLDER.parents[1] / "tests" / "benchmarks" / "compare" / f"{each.module}.py").is_file()


def test_a_contender_that_is_none_is_rejected_with_the_names_there_are() -> None:
    done = CliRunner().invoke(bench.compare, ["--only", "ours,theirs"])
    assert isinstance(done.exception, UsageError)
    assert "there is no contender 'theirs'; it has ours, handwritten" in str(done.exception)


def test_the_stages_are_those_of_the_loop_and_add_up() -> None:
    found = stages.stages(pairs=200, repeat=1)
    names = [each["stage"] for each in found["stages"]]
    assert {"decode request", "predict", "join", "encode entry", "learn", "monitor loop"} <= set(names)
    total = sum(each["us_per_event"] for each in found["stages"])
    watching = sum(each["us_per_event"] for each in found["stages"] if each["monitoring"])
    core = found["core"]
    assert core["with monitoring"]["us_per_event"] == pytest.approx(total)
    assert core["without monitoring"]["us_per_event"] == pytest.approx(total - watching)
    assert 0 < watching < total
    assert found["monitoring"] == pytest.approx(watching / total)
    seeing = {"monitor drift", "count requests", "judge requests", "publish metrics"}
    assert seeing <= {each["stage"] for each in found["stages"] if each["monitoring"]}


def test_what_seeing_costs_is_measured_against_a_worker_that_does_all_else() -> None:
    ours, blind = contender(OURS), contender("ours-unwatched")
    assert (ours.module, ours.packages, ours.share) == (blind.module, blind.packages, blind.share)
    assert blind not in CONTENDERS, "nobody can run it"


def test_the_stages_learn_from_every_pair() -> None:
    core = stages.Core(300)
    core.run()
    assert core.learned == 301  # and the one before, so that no prediction is made on a copy


@pytest.fixture
def recorded() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((bench.FOLDER / bench.RECORDED).read_text("utf-8"))
    return found


def test_the_page_is_made_of_what_is_recorded_beside_it(recorded: dict[str, Any]) -> None:
    assert (bench.FOLDER / bench.PAGE).read_text("utf-8") == page(recorded)


def test_the_page_names_whom_it_left_out_and_what_each_promises(recorded: dict[str, Any]) -> None:
    throughput_reported = recorded["throughput"]
    text = page({"throughput": throughput_reported | {"left_out": {"someone": "x is not installed"}}})
    assert "Not measured: `someone` (x is not installed)." in text
    for row in throughput_reported["rows"]:
        assert row["promise"] in text
        assert all(re.search(rf"{name} [^,]*{version}", text) for name, version in row["versions"].items())
