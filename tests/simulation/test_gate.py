"""What the gate decides in a loop whose better model is known."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import timedelta
from itertools import chain
from typing import Any, Literal

import pytest

from schemas.records import Command, Entry
from streams import Event, Guardrail, OnArrival
from streams.gate.fold import GateFold
from streams.gate.outages import Outages
from streams.gate.wager import Wager
from streams.rollout import GATE
from tests.gate_task import DAY, Loop, event, events, make_task, quick, twice_in

GOOD, BAD = (0.5, 0.3), (0.3, 0.5)
"""Scores of both models where half of the requests are positive: 0.5 has the lower loss."""


def test_a_better_challenger_goes_through_the_steps_with_evidence() -> None:
    loop = Loop(make_task(quick())).run(events(2500, lambda n, draw: BAD))
    assert loop.actions == [("share", "b.1", 10), ("promote", "b.1", 100)]
    share, promote = loop.done
    assert loop.driver.server.champion.model.name == "b"
    assert share.verdict == "better"
    assert share.evidence.low > 0 > -share.evidence.low
    assert share.evidence.e_better * share.evidence.alpha >= 1
    assert share.evidence.n >= 200
    assert promote.ts - share.ts >= DAY // 2
    start, end = share.evidence.cohorts
    assert start == 0
    assert end + 5 * DAY <= share.ts
    assert len(share.command().evidence) <= 1000


def test_a_worse_challenger_is_named_and_never_promoted() -> None:
    loop = Loop(make_task(quick())).run(events(2500, lambda n, draw: GOOD))
    assert loop.actions == []
    assert ("verdict", "b.1", 0) in loop.said
    assert loop.gate.promotion.tests["b"].verdict == "worse"


def test_two_equal_models_are_equivalent_and_undecided_ones_end_with_their_budget() -> None:
    def noise(n: int, draw: random.Random) -> tuple[float, float]:
        return (0.45, 0.55) if draw.random() < 0.5 else (0.55, 0.45)

    loop = Loop(make_task(quick(margin=0.05))).run(events(3000, noise))
    assert loop.gate.promotion.tests["b"].verdict == "equivalent"
    short = Loop(make_task(quick(budget=500, owner="pricing"))).run(events(3000, noise))
    assert short.gate.promotion.tests["b"].verdict == "inconclusive"
    assert "ask pricing" in short.gate.decisions()[-1].reason
    assert loop.actions == short.actions == []


# ---------------------------------------------------------------------- order and silence


def positives_first(n: int) -> list[Event]:
    """Positive labels come after an hour, negative ones at the end of the horizon: the challenger scores high."""
    draw = random.Random(3)
    return [
        event(number, number * DAY // 100, (0.4, 0.9), 3_600_000 if draw.random() < 0.4 else None)
        for number in range(n)
    ]


def test_early_labels_of_one_kind_promote_nothing() -> None:
    loop = Loop(make_task(quick(), horizon_days=20)).run(positives_first(4000))
    assert loop.actions == []
    assert loop.gate.promotion.tests["b"].verdict == "worse"
    # The same labels in the order of their arrival would have promoted it.
    wager, most = Wager(), 0.0
    for entry in loop.driver.log:
        if entry.prediction is not None and entry.kind in ("labelled", "expired"):
            ours, other = (float(each.score) for each in entry.prediction.scores)  # type: ignore[arg-type]  # binary
            label = float(entry.outcome is not None)
            wager.take((ours - label) ** 2 - (other - label) ** 2)
            most = max(most, wager.positive)
    assert most > 1e6


def outage(n: int) -> list[Event]:
    """No outcome with a time in the week from day 20 on ever comes: for a while nearly all seems negative."""
    found = events(n, lambda number, draw: (0.5, 0.15), rate=0.4, seed=5)
    return [
        replace(each, outcomes=tuple(one for one in each.outcomes if not 20 <= one.ts / DAY < 27))
        for each in found
    ]


def test_a_label_outage_of_a_week_promotes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = quick(least=100, recent=100)
    made = outage(4000)
    # The week decides: what came before is left out.
    late = [each for each in made if each.request.ts >= 14 * DAY]
    loop = Loop(make_task(gate)).run(late)
    (start, end), *more = loop.gate.outages.spans
    assert not more
    assert 19.5 * DAY < start < 20.5 * DAY
    assert 27 * DAY < end < 28 * DAY
    assert loop.actions == []
    assert loop.gate.promotion.tests["b"].unlabelled > 300
    assert not any(each.verdict == "better" for each in loop.gate.decisions())
    monkeypatch.setattr(Outages, "hit", lambda self, asked: False)
    monkeypatch.setattr(Outages, "suspected", False)
    blind = Loop(make_task(gate)).run(late)
    assert blind.actions[0] == ("share", "b.1", 10)


def test_nothing_is_raised_while_an_outage_lasts() -> None:
    made = [
        replace(each, outcomes=tuple(one for one in each.outcomes if one.ts < 12 * DAY))
        for each in events(2000, lambda number, draw: (0.3, 0.45), rate=0.5)
    ]
    loop = Loop(make_task(quick(least=800, recent=300))).run(made)
    assert loop.actions == []
    assert any(each.action == "hold" and "label outage" in each.reason for each in loop.gate.decisions())


def test_requests_without_a_label_count_against_every_verdict() -> None:
    # Only positives are ever labelled, and on them the challenger is better.
    task = make_task(quick(), policy=OnArrival())
    loop = Loop(task).run(events(3000, lambda n, draw: (0.4, 0.9), rate=0.5))
    test = loop.gate.promotion.tests["b"]
    assert test.n == pytest.approx(1500, abs=150)
    assert test.unlabelled == pytest.approx(1500, abs=150)
    assert test.total / test.n == pytest.approx(0.35)
    assert test.verdict == "continue"
    assert loop.actions == []


def test_a_duplicated_feed_changes_nothing() -> None:
    made = list(events(2000, lambda n, draw: BAD))
    once = Loop(make_task(quick())).run(made)
    doubled = [replace(each, outcomes=each.outcomes * 2) for each in made]
    twice = Loop(make_task(quick())).run(chain.from_iterable(zip(doubled, doubled, strict=True)))
    assert twice.driver.join.counters["duplicate_prediction"] > 1900
    assert once.actions == twice.actions != []
    counts = [[each.evidence.n for each in loop.done] for loop in (once, twice)]
    assert counts[0] == counts[1]
    # A log that has each entry twice, half a day apart, counts each request once as well.
    gate = GateFold(once.driver.task)
    for offset, entry in enumerate(twice_in(once.driver.log)):
        gate.apply(offset, entry)
    ours, other = (each.promotion.tests["a"] for each in (gate, once.gate))
    assert (ours.n, ours.unlabelled, ours.total) == (other.n, other.unlabelled, other.total)


# ---------------------------------------------------------------------- changes in time


def early_only(n: int, draw: random.Random) -> tuple[float, float]:
    return (0.1, 0.5) if n < 500 else (0.5, 0.35)


def test_a_challenger_that_was_better_early_and_is_no_more_is_not_promoted() -> None:
    made = list(events(1200, early_only))
    loop = Loop(make_task(quick(least=700))).run(made)
    assert loop.actions == []
    # Its mean over all requests is still higher: the newest ones deny it.
    hasty = Loop(make_task(quick(least=700, recent=100_000))).run(made)
    assert hasty.actions[0] == ("share", "b.1", 10)


def test_the_way_back_is_the_same_test_and_one_step() -> None:
    def turns(n: int, draw: random.Random) -> tuple[float, float]:
        return BAD if n < 1500 else GOOD

    loop = Loop(make_task(quick())).run(events(6000, turns))
    assert loop.actions[:2] == [("share", "b.1", 10), ("promote", "b.1", 100)]
    assert loop.actions[2:] == [("promote", "a.1", 100)]
    assert loop.driver.server.champion.model.name == "a"
    assert loop.done[2].evidence.test == 1


def test_a_step_is_rolled_back_when_the_challenger_turns_out_worse() -> None:
    def turns(n: int, draw: random.Random) -> tuple[float, float]:
        return BAD if n < 800 else (0.5, 0.1)

    loop = Loop(make_task(quick(hold=quick().until))).run(events(5000, turns))
    assert loop.actions == [("share", "b.1", 10), ("rollback", "b.1", 0)]
    assert loop.driver.server.roles.answering == {"a": 1_000_000}
    assert loop.gate.proposal() is None


def revised(entry: Entry) -> Entry:
    """The same thirty days later, by the next revision of the challenger."""
    prediction, progress = entry.prediction, entry.progress
    if prediction is not None:
        scores = tuple(
            replace(each, revision=each.revision + (each.model == "b")) for each in prediction.scores
        )
        prediction = replace(prediction, ts=prediction.ts + 30 * DAY, scores=scores)
    if progress is not None:
        progress = {**progress, "stream_time": progress["stream_time"] + 30 * DAY}
    return replace(entry, prediction=prediction, progress=progress, command=None)


def test_a_new_revision_is_a_new_test_with_less_alpha() -> None:
    loop = Loop(make_task(quick()), obey=False).run(events(1000, lambda n, draw: GOOD))
    first = loop.gate.promotion.tests["b"]
    log = loop.driver.log
    for offset, entry in enumerate(map(revised, log), len(log)):
        loop.gate.apply(offset, entry)
    second = loop.gate.promotion.tests["b"]
    assert (first.number, second.number) == (1, 2)
    assert second.pair == (1, 2)
    assert second.alpha == pytest.approx(first.alpha / 3)


# ---------------------------------------------------------------------- guardrails


def test_a_segment_that_is_harmed_ends_the_test_though_the_whole_gains() -> None:
    def made() -> Any:
        draw = random.Random(2)
        for number in range(4000):
            level = "small" if number % 5 == 0 else "x"
            scores = (0.5, 0.05) if level == "small" else (0.2, 0.5)
            delay = draw.randrange(1, DAY) if draw.random() < 0.5 else None
            yield event(number, number * DAY // 100, scores, delay, level)

    loose, strict = quick(), quick(guardrails=(Guardrail("segment", 0.05, feature="c"),), least=1000)
    assert Loop(make_task(loose)).run(made()).actions != []
    loop = Loop(make_task(strict)).run(made())
    assert loop.actions == []
    last = loop.gate.decisions()[-1]
    assert last.reason == "worse: guardrail segment c"
    assert last.evidence.harms[0].at == "small"


@pytest.mark.parametrize(
    ("guardrail", "scores"),
    [
        (Guardrail("calibration", 0.1), (0.0, 0.95)),
        (Guardrail("missing", 0.05), (0.1, None)),
        (Guardrail("scores", 0.2), (0.1, 0.5)),
    ],
)
def test_a_broken_guardrail_rolls_back(guardrail: Guardrail, scores: tuple[float, float | None]) -> None:
    def turns(n: int, draw: random.Random) -> tuple[float, float | None]:
        return (0.3, 0.45) if n < 900 else scores if draw.random() < 0.5 else (0.3, 0.5)

    gate = quick(guardrails=(guardrail,), steps=(10, 20, 100), hold=quick().until)
    loop = Loop(make_task(gate)).run(events(5000, turns))
    assert loop.actions == [("share", "b.1", 10), ("rollback", "b.1", 0)]
    assert loop.done[1].reason == f"worse: guardrail {guardrail.watch}"


def test_a_signal_holds_the_steps_until_it_is_over() -> None:
    def turns(n: int, draw: random.Random) -> tuple[float, float]:
        return (0.1, 0.5) if n < 1500 else (0.35, 0.5)

    gate = quick(guardrails=(Guardrail("scores", 0.2, "signal"),))
    loop = Loop(make_task(gate)).run(events(4000, turns))
    assert ("hold", "b.1", 0) in loop.said
    assert loop.actions == [("share", "b.1", 10), ("promote", "b.1", 100)]
    assert loop.done[0].evidence.cohorts[1] > 1500 * DAY // 100


def skewed(entry: Entry) -> Entry:
    """A third of what the challenger answered at the first step is answered by the other."""
    prediction = entry.prediction
    if prediction is None or prediction.propensity != 0.5 or prediction.scores[0].model == "a":
        return entry
    if int(prediction.request_id[1:]) % 3:
        return entry
    return replace(entry, prediction=replace(prediction, scores=prediction.scores[::-1]))


def test_a_share_that_is_not_what_was_drawn_stops_the_steps() -> None:
    # The second step comes when requests of the first one have matured.
    loop = Loop(make_task(quick(steps=(50, 60, 100), hold=timedelta(days=15))))
    loop.run(events(4500, lambda n, draw: BAD))
    assert [each.share for each in loop.done] == [50, 60, 100]
    log = loop.driver.log
    second = next(at for at, each in enumerate(log) if each.entry_id.endswith(loop.done[1].id))
    for change, held in ((lambda entry: entry, False), (skewed, True)):
        gate = GateFold(loop.driver.task)
        for offset, entry in enumerate(log[:second]):
            gate.apply(offset, change(entry))
        reasons = [each.reason for each in gate.decisions() if each.action == "hold"]
        assert any("not what was drawn" in each for each in reasons) == held
        assert (gate.proposal() is None) == held


def test_a_third_model_is_not_expected_to_answer_what_two_share() -> None:
    task = make_task(quick(hold=timedelta(days=10)))
    b = task.models[1]
    three = replace(task, models=(*task.models, replace(b, name="d")))
    loop = Loop(three).run(events(3500, lambda n, draw: BAD))
    assert [each[0] for each in loop.actions] == ["share", "promote"]
    shared = [Loop(task).run(events(2500, lambda n, draw: BAD)), loop]
    assert all("not what was drawn" not in each.reason for one in shared for each in one.gate.decisions())
    before = GateFold(three)
    last = next(at for at, each in enumerate(loop.driver.log) if each.entry_id.endswith(loop.done[1].id))
    for offset, entry in enumerate(loop.driver.log[:last]):
        before.apply(offset, entry)
    counted = {name: len(test.ratios) for name, test in before.promotion.tests.items()}
    assert sorted(counted.values()) == [0, 1]


def test_an_open_quality_episode_blocks_until_it_is_over() -> None:
    loop = Loop(make_task(quick()), obey=False)
    block = Command("pause", "", {"block": "quality"}, GATE, "open data quality episode", "block-1")
    end = replace(block, arguments={"block": "quality", "end": "true"}, id="block-2")
    for number, _ in enumerate(loop.driver.run(events(2400, lambda n, draw: BAD))):
        if number == 1500:
            assert loop.gate.proposal() is not None
            loop.driver.command(block)
            assert loop.gate.proposal() is None
            assert [each.action for each in loop.gate.unlogged()] == ["verdict"]
        elif number == 1800:
            assert loop.gate.proposal() is None
            assert loop.gate.decisions()[-1].action == "hold"
            assert "open data quality episode" in loop.gate.decisions()[-1].reason
            loop.driver.command(end)
    assert loop.gate.proposal() is not None
    assert loop.gate.decisions()[-1].action == "share"


def test_a_retired_challenger_is_not_proposed() -> None:
    loop = Loop(make_task(quick()), obey=False).run(events(1200, lambda n, draw: BAD))
    assert loop.gate.proposal() is not None
    loop.driver.command(Command("retire", "b", reason="too slow", id="retire-b"))
    assert loop.gate.proposal() is None
    loop.driver.complete(loop.driver.join.stream_time + 30 * DAY)
    assert loop.gate.proposal() is None


def test_a_longer_wait_counts_labels_that_come_after_the_horizon() -> None:
    late = [
        replace(each, outcomes=tuple(replace(one, ts=each.request.ts + 7 * DAY) for one in each.outcomes))
        for each in events(1500, lambda n, draw: BAD)
    ]
    for wait, labelled in ((None, 0), (timedelta(days=8), 700)):
        task = make_task(quick(wait=wait), policy=OnArrival())
        test = Loop(task).run(late).gate.promotion.tests["b"]
        assert test.n == pytest.approx(labelled, abs=70)
        assert test.n + test.unlabelled > 900


def test_a_proposal_that_the_evidence_no_longer_supports_is_withdrawn() -> None:
    loop = Loop(make_task(quick()), obey=False).run(events(3000, lambda n, draw: BAD if n < 1000 else GOOD))
    assert [each[0] for each in loop.said if each[0] in ("share", "withdraw")] == ["share", "withdraw"]
    assert loop.gate.proposal() is None


@pytest.mark.parametrize(("decide", "approval"), [("propose", True), ("promote", False)])
def test_a_step_needs_an_approval_where_the_gate_says_so(
    decide: Literal["propose", "promote"], approval: bool
) -> None:
    loop = Loop(make_task(quick(decide=decide)), obey=False).run(events(1200, lambda n, draw: BAD))
    proposal = loop.gate.proposal()
    assert proposal is not None
    assert proposal.approval is approval
