"""The checked-in dashboards are what the code makes, and every one of their panels can be understood."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from docs.make.grafana import __main__ as generate
from docs.make.grafana.__main__ import FOLDER, dashboards, read, written
from infra.prometheus.rules import rules
from infra.worker_metrics import WORKER_METRICS
from streams.metrics.registry import METRICS

BOARDS = {path.name: path.read_text("utf-8") for path in sorted(FOLDER.glob("*.json"))}


def panels(text: str) -> Iterator[dict[str, Any]]:
    yield from (each for each in json.loads(text)["panels"] if each["type"] != "row")


def expressions(text: str) -> Iterator[str]:
    for panel in panels(text):
        yield from (target["expr"] for target in panel["targets"])
    yield from (mark["expr"] for mark in json.loads(text)["annotations"]["list"])


def test_the_files_are_what_the_code_makes_today() -> None:
    assert dashboards() == BOARDS, "run: python -m docs.make.grafana"


@pytest.mark.parametrize("name", BOARDS)
def test_nothing_is_lost_when_grafanas_own_types_read_a_file_and_write_it_again(name: str) -> None:
    assert written(read(BOARDS[name])) == BOARDS[name]


def test_a_field_that_grafana_does_not_have_is_noticed() -> None:
    text = BOARDS["riverloop-loop.json"]
    for right, wrong in (
        ('"refresh"', '"refesh"'),
        ('"expr"', '"expression"'),
        ('"axisSoftMin"', '"axisMin"'),
    ):
        changed = text.replace(right, wrong, 1)
        assert changed != text
        assert written(read(changed)) != changed


@pytest.mark.parametrize("name", BOARDS)
def test_every_panel_says_what_it_is_in_which_unit(name: str) -> None:
    titles = [panel["title"] for panel in panels(BOARDS[name])]
    assert len(titles) == len(set(titles))
    assert len(titles) <= 16, "a board is read at a glance"
    for panel in panels(BOARDS[name]):
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert re.search(r"[.:?] |\.$", panel["description"]), panel["title"]
        assert panel["targets"], panel["title"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    ids = [panel["id"] for panel in json.loads(BOARDS[name])["panels"]]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("name", BOARDS)
def test_panels_lie_on_the_grid_and_not_on_each_other(name: str) -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in json.loads(BOARDS[name])["panels"]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        for x in range(at["x"], at["x"] + at["w"]):
            for y in range(at["y"], at["y"] + at["h"]):
                assert taken.setdefault((x, y), panel["title"]) == panel["title"]


@pytest.mark.parametrize("name", BOARDS)
def test_an_expression_names_what_a_worker_or_a_rule_gives(name: str) -> None:
    known = {each.exported for each in METRICS} | WORKER_METRICS.keys()
    known |= {f"{each}_bucket" for each in WORKER_METRICS} | {each.name for each in rules("recording.yml")}
    for expr in expressions(BOARDS[name]):
        for used in re.findall(r"(?<![\w:])[a-z_]*:?riverloop_[\w:]+", expr):
            assert used in known, expr
        assert "$task" in expr, f"shows all tasks: {expr}"


def test_a_line_that_stands_for_an_alert_is_where_the_alert_is() -> None:
    at = {each.name: float(each.expr.rsplit(" ", 1)[1]) for each in rules("alerts.yml")}
    drawn = {
        f"{panel['title']}": panel["fieldConfig"]["defaults"]["thresholds"]["steps"][-1]["value"]
        for text in BOARDS.values()
        for panel in panels(text)
        if "thresholds" in panel["fieldConfig"]["defaults"]
    }
    assert drawn["Freshness, p99"] == drawn["Freshness by stage, p99"] == at["RiverloopFreshness"]
    assert drawn["Lag in records"] == at["RiverloopConsumerLag"]
    assert drawn["Errors"] == at["RiverloopDeadLetters"]


def test_files_are_written_and_then_no_longer_stale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(generate, "FOLDER", tmp_path)
    (tmp_path / "gone.json").write_text("{}")
    with pytest.raises(SystemExit) as stopped:
        generate.main(["--check"])
    assert stopped.value.code == 1
    assert capsys.readouterr().err.count("stale") == len(BOARDS) + 1
    generate.main([], standalone_mode=False)
    generate.main(["--check"], standalone_mode=False)
    assert {path.name: path.read_text("utf-8") for path in tmp_path.glob("*.json")} == BOARDS
