"""The page about reliability shows the reports of runs, and a run with impossible options is rejected."""

from __future__ import annotations

import importlib
import json
from array import array
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from infra.hooks import MAP_POINT, POINTS
from infra.kafka.partitioner import partition_of
from schemas.errors import UsageError
from tests.faults.__main__ import choose, harness
from tests.faults.catalog import models_change, rollback
from tests.faults.history import History
from tests.faults.page import page
from tests.faults.probe import Arrivals
from tests.faults.registry import CATALOG, FAULTS
from tests.faults.report import Round, RunOptions
from tests.faults.run import closing_ids
from tests.faults.timing import _SIGNS, mark_phases, mark_stalls

ROOT = Path(__file__).resolve().parents[2]


def report(loop: str, lost: int) -> dict[str, Any]:
    row: dict[str, float] = {"rounds": 2, "requests": 5000, "lost": lost, "doubled": 0, "wrong": 0}
    row |= {"longest_stall_s": 12.34, "freshness_p99_s": 8.5}
    return {
        "loop": loop,
        "ok": not lost,
        "date": "2026-01-02",
        "command": f"python -m tests.faults run --seed 9 --name {loop!r}",
        **{"seed": 9, "rounds": 2, "requests": 5000, "workers": 2, "partitions": 4, "records": 11_000},
        "seconds": 20.0,
        "entries": {"labelled": 4000, "late": 20},
        "dead_letters": 50,
        **{"lost": lost, "doubled": 0, "wrong": 0},
        "examples": {"lost": ["of r7: an expiry"]} if lost else {},
        "faults": {"kill": row},
        "versions": {"riverloop": "1.0", "runtime": "river 0.26.1", "system": "Linux, 2 cores"},
    }


def test_the_page_puts_loops_side_by_side_with_date_seed_versions_and_command(tmp_path: Path) -> None:
    files = []
    for loop, lost in (("riverloop", 0), ("plain Faust", 321)):
        files.append(tmp_path / f"{loop}.json")
        files[-1].write_text(json.dumps(report(loop, lost)))
    done = CliRunner().invoke(harness, ["page", *map(str, files)], catch_exceptions=False)
    text = done.output
    ours, theirs = text.partition("## Riverloop")[2].split("## Plain Faust")
    assert "kill | 2 | 5,000 | 0 | 12.3 | 8.5\n" in ours
    assert "kill | 2 | 5,000 | 321, 0, 0 | 12.3 | 8.5\n" in theirs
    assert f"- **kill**: {FAULTS['kill'].description}" in text
    for each in (
        "2026-01-02",
        "1 run: ",
        "riverloop 1.0",
        "river 0.26.1",
    ):
        assert each in text


def test_the_page_shows_the_first_findings_of_our_own_loop() -> None:
    assert "- lost: of r7: an expiry" in page([report("riverloop", 3)])
    assert "The first findings" not in page([report("riverloop", 0)])


def test_the_page_has_the_longest_time_until_answers_and_the_log_continue_after_a_failover() -> None:
    one, other = report("riverloop", 0), report("riverloop", 0)
    one["faults"] = {"kill": one["faults"]["kill"] | {"phases_s": {"answered": 6.0, "moved": 7.25}}}
    other["faults"] = {"kill": other["faults"]["kill"] | {"phases_s": {"noticed": 5.0, "moved": 9.04}}}
    text = page([one, other])
    assert "\nkill | 4 | 10,000 | 0 | 12.3 | 8.5 | 6.0 | 9.0\n" in text
    assert text.split("\n**all** |")[1].splitlines()[0].endswith("| **6.0** | **9.0**")
    assert "answered" not in page([report("riverloop", 0)]).partition("## Riverloop")[2]


def test_the_crash_points_share_a_row_with_their_sums_and_their_longest_times() -> None:
    found = report("riverloop", 0)
    row = found["faults"]["kill"]
    slow = row | {"longest_stall_s": 20.0, "lost": 1}
    found["faults"] = {"crash-after-poll": row, "crash-in-revoke": slow, "kill": row}
    text = page([found])
    assert "\ncrash-… | 4 | 10,000 | 1, 0, 0 | 20.0 | 8.5\n" in text
    assert "at a point: after-poll, in-revoke." in text


def test_runs_of_one_loop_are_added_up_and_the_worst_times_are_shown() -> None:
    other = report("riverloop", 0) | {"seed": 10}
    other["faults"] = {"kill": other["faults"]["kill"] | {"longest_stall_s": 20.0}}
    text = page([report("riverloop", 0), other])
    assert "\nkill | 4 | 10,000 | 0 | 20.0 | 8.5\n" in text
    assert "\n**all** | **4** | **10,000** | **0** | **20.0** | **8.5**\n" in text
    assert "2 runs: 22,000 records in 40 s" in text


@pytest.mark.parametrize("content", ["", "[]", '{"loop": "x"}'])
def test_a_file_that_is_no_report_is_rejected_with_a_sentence(tmp_path: Path, content: str) -> None:
    file = tmp_path / "report.json"
    file.write_text(content)
    with pytest.raises(UsageError, match="not a report"):
        CliRunner().invoke(harness, ["page", str(file)], catch_exceptions=False)
    with pytest.raises(UsageError, match="cannot be read"):
        CliRunner().invoke(harness, ["page", str(tmp_path / "none.json")], catch_exceptions=False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--faults", "kill,earthquake"], "unknown fault: earthquake"),
        (["--requests", "20", "--rounds", "3"], "ten requests for each round"),
        (["--name", "other"], "--name and --command together"),
    ],
)
def test_impossible_options_are_rejected_before_anything_starts(arguments: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        CliRunner().invoke(harness, ["run", *arguments], catch_exceptions=False)


def test_faults_that_need_an_embedded_broker_are_omitted_on_another_cluster() -> None:
    assert choose("none", own_broker=True) == ()
    assert choose("all", own_broker=True) == tuple(FAULTS)
    assert choose("all", own_broker=False) == tuple(
        name for name, fault in FAULTS.items() if not fault.needs_broker
    )


def test_a_stall_counts_for_its_round_without_the_time_in_which_nothing_was_sent() -> None:
    rounds = [Round("kill", 1000), Round("none", 5000), Round("kill", 9000)]
    gaps = [(1200, 4200), (5200, 7200), (9100, 9900)]
    mark_stalls(rounds, History(gaps=gaps), [(5500, 7000)])
    assert [each.stall_ms for each in rounds] == [3000, 500, 800]


def test_the_delay_of_facts_counts_for_the_round_in_which_they_were_appended() -> None:
    rounds = [Round("kill", 1000), Round("none", 5000)]
    appended, delays = array("q", [900, *range(1000, 1100), 6000]), array("q", [9, *range(100), 7])
    mark_stalls(rounds, History(appended=appended, delays=delays), [])
    assert [each.freshness_p99_ms for each in rounds] == [99, 7]


def test_each_partition_has_a_closing_request_of_its_own() -> None:
    ids = closing_ids(5)
    assert [partition_of(name.encode(), 5) for name in ids] == [0, 1, 2, 3, 4]


def test_a_report_contains_the_command_that_repeats_the_run() -> None:
    options = RunOptions(seed=3, rounds=2, requests=100, workers=2, partitions=4, faults=("kill",))
    assert options.command_line == (
        "python -m tests.faults run --seed 3 --rounds 2 --requests 100 --workers 2 --partitions 4 --faults kill"
    )


def test_phases_are_counted_from_the_death_and_read_from_the_logs_of_the_others(tmp_path: Path) -> None:
    died = 1_700_000_000_000

    def lines(*said: tuple[int, str]) -> str:
        written = [
            (f"{datetime.fromtimestamp((died + at) / 1000):%Y-%m-%d %H:%M:%S,%f}"[:-3], text)
            for at, text in said
        ]
        return "".join(f"{at} INFO {text}\n" for at, text in written)

    survivor, dead = tmp_path / "worker-0.log", tmp_path / "worker-1.log"
    survivor.write_text(
        lines(
            (-5000, "agents.app group: 2 partitions are assigned here"),
            (6000, "agents.app group: 2 partitions are revoked by a rebalance"),
            (6300, "agents.app group: 4 partitions are assigned here"),
            (6500, "infra.kafka.fencing group: fenced faults-1, which left the group, in 0.20 s"),
            (7000, "infra.task.join task: join of partition 0 restored: 1 waiting, in 0.50 s"),
            (7200, "infra.task.join task: join of partition 1 restored: 1 waiting, in 0.70 s"),
            (20_000, "infra.task.join task: join of partition 1 restored: 1 waiting, in 0.70 s"),
        )
    )
    dead.write_text(lines((3000, "agents.app group: 1 partitions are assigned here")))
    seen = {
        ("log", 0): Arrivals(
            gaps=[
                (died - 9000, died - 8000),
                (died + 2000, died + 2100),
                (died + 6000, died + 7900),
                (died + 9000, died + 30_000),
                (died + 59_000, died + 90_000),  # of the next round's fault
            ]
        ),
        ("predictions", 0): Arrivals(gaps=[(died + 5900, died + 7400)]),
        ("predictions", 1): Arrivals(gaps=[(died - 200, died + 7600)]),
    }
    broken, quiet = Round("kill", died - 10_000, outage=(died, 1)), Round("none", died + 60_000)
    pauses = [(died + 9100, died + 29_900)]
    mark_phases([broken, quiet], {0: survivor, 1: dead}, seen, "log", pauses)
    assert broken.phases == {
        "noticed": 6000,
        "assigned": 6300,
        "fenced": 6500,
        "restored": 7200,
        "answered": 7600,
        "moved": 7900,
    }
    assert quiet.phases == {}


@pytest.mark.parametrize(("phase", "logger", "sign"), _SIGNS)
def test_the_sign_of_a_phase_is_in_the_messages_of_its_logger(phase: str, logger: str, sign: str) -> None:
    source = (ROOT / logger.replace(".", "/")).with_suffix(".py").read_text()
    assert sign in source, f"{phase} would never be found in a worker's log"


def test_the_page_in_the_docs_is_made_from_the_recorded_reports() -> None:
    reports = [
        json.loads(file.read_text()) for file in sorted((ROOT / "docs/reference/faults").glob("*.json"))
    ]
    made = "python -m tests.faults page docs/reference/faults/*.json --out docs/reliability.md"
    assert (ROOT / "docs/reliability.md").read_text() == page(reports), f"run {made}"


def test_every_file_of_the_catalog_adds_a_fault_of_a_name_of_its_own() -> None:
    modules = [importlib.import_module(f"tests.faults.catalog.{file.stem}") for file in CATALOG.glob("*.py")]
    names = [fault.name for module in modules for fault in module.FAULTS]
    assert all(module.FAULTS for module in modules)
    assert sorted(names) == sorted(FAULTS)


def test_a_worker_dies_at_every_point_and_only_where_its_fault_reaches_it() -> None:
    """The workload asks for no command: a fault that waits for a point of one asks for the command itself."""
    crashes = {name.removeprefix("crash-") for name in FAULTS if name.startswith("crash-")}
    asking = {
        *models_change.DECISION_POINTS,
        *models_change.REVISION_POINTS,
        *rollback.REBUILD_POINTS,
        MAP_POINT,
    }
    assert crashes | asking == set(POINTS)
    assert not crashes & asking
    assert set(rollback.FREEZE_POINTS) < set(rollback.REBUILD_POINTS)
