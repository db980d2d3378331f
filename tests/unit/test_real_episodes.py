"""The episodes of the example data mean something: pages coincide with a worse loss, and no bad week is missed."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import pytest
from click.testing import CliRunner

from agents.cli.episodes import REAL, episodes
from infra.taskfile import examples


@cache
def played(reference: str) -> dict[str, Any]:
    """Run the command on one example; its exit code says whether the bar is met."""
    result = CliRunner().invoke(episodes, ["--json", str(examples() / reference)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.output
    (found,) = json.loads(result.output)
    assert result.exit_code == int(not found["met"])
    return dict(found)


@pytest.mark.parametrize("reference", [REAL[0], REAL[2]])
def test_half_of_the_pages_have_a_worse_loss_and_no_worst_week_is_missed(reference: str) -> None:
    found = played(reference)
    assert found["paged"] > 0
    assert 2 * found["worse"] >= found["paged"]
    assert found["missed"] == []
    assert len(found["worst"]) == 10
    assert found["shaded"] < 0.35, "it is not most of the chart"


def test_what_only_moved_pages_nobody() -> None:
    moved = [each for each in played(REAL[0])["episodes"] if each["family"] not in {"loss", "outage"}]
    assert {each["family"] for each in moved} >= {"drift", "delay", "features", "feature.Agent"}
    assert {each["severity"] for each in moved} == {"info"}


def test_the_first_outcomes_of_a_stream_are_no_sign_of_an_outage() -> None:
    # In December only cancellations are known; the first deadlines pass after Christmas, in silence.
    assert "outage" not in {each["family"] for each in played(REAL[2])["episodes"]}
