"""The drift bench: streams are repeatable, alarms are matched as published, the page says what was measured."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from schemas.records import Entry
from streams.drift.fold import DriftFold
from streams.fold import Monitor
from tests.benchmarks.drift.__main__ import drift, markdown
from tests.benchmarks.drift.baselines import BASELINES, DUMMY, alarms
from tests.benchmarks.drift.concepts import GENERATORS, Drifting
from tests.benchmarks.drift.conversion import Conversions
from tests.benchmarks.drift.matching import match
from tests.benchmarks.drift.no_drift import WORLDS, no_drift_stream
from tests.benchmarks.drift.ours import task as bench_task
from tests.benchmarks.drift.protocols import OURS, PROTOCOLS, Table


def test_the_fold_is_a_monitor_of_the_logs_owner() -> None:
    monitor: Monitor[Entry] = DriftFold(bench_task())
    assert monitor.name == "drift"
    assert "excess_log_loss" in monitor.spec
    assert {each.segment for each in monitor.measurements()} >= {"drift", "delay", "outage"}


@pytest.mark.parametrize("generator", GENERATORS)
def test_a_stream_is_the_same_at_every_call_and_has_its_drifts_where_it_says(generator: str) -> None:
    stream = Drifting(generator, 2, 100, seed=9, every=300)
    assert stream.places == [(300, 400), (700, 800)]
    events = list(stream.events())
    assert len(events) == 1_100
    assert events == list(stream.events())
    assert events != list(Drifting(generator, 2, 100, seed=10, every=300).events())


def test_three_percent_convert_and_the_base_rate_doubles_where_it_says() -> None:
    stream = Conversions(seed=9)
    labels = [label for _, label in stream.events()]
    (up,) = [at for at, what in stream.places if what == "base rate up"]
    before, after = labels[up - 10_000 : up], labels[up : up + 10_000]
    assert sum(before) / 10_000 == pytest.approx(0.03, abs=0.01)
    assert sum(after) / sum(before) == pytest.approx(2, abs=0.5)


def test_alarms_before_a_drift_and_long_after_it_are_false_and_a_drift_without_one_is_missed() -> None:
    found = match([(1_000, 1_000), (5_000, 7_000), (9_000, 9_000)], [900, 1_100, 4_000, 7_900])
    assert found.recall == pytest.approx(2 / 3)
    assert found.false == 2
    assert found.f1 == pytest.approx(2 * (2 / 4) * (2 / 3) / (2 / 4 + 2 / 3))


def test_every_rival_runs_and_the_one_that_knows_nothing_alarms_every_thousand() -> None:
    events = no_drift_stream(next(iter(WORLDS)), 3_200, seed=1)
    assert [number + 1 - 1_000 for number in alarms(DUMMY, events)] == [1_000, 2_000]
    for name in BASELINES:
        alarms(name, events[:1_200])


def test_a_page_has_every_table_its_bar_and_whether_it_is_met() -> None:
    page = markdown(
        [Table("A title", "What was done.", ("detector", "F1"), [[OURS, 0.5]], "F1 of 0.7: 0.5", False)]
    )
    assert "\nriverloop | 0.500\n" in page
    assert "Target (missed): F1 of 0.7: 0.5." in page
    assert "seed 1" in page


def test_the_command_runs_one_protocol_and_tells_machines() -> None:
    ran = CliRunner().invoke(drift, ["--quick", "--only", "cost", "--json"])
    reported = json.loads(ran.stdout)
    assert [table["title"] for table in reported["tables"]] == ["Cost"]
    assert ran.exit_code == (0 if reported["tables"][0]["met"] else 1)
    assert set(PROTOCOLS) >= {"concepts", "conversions", "no-drift", "cost"}
