"""What a model does not learn is published once, alike after any restart and by whichever owner."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.alert import Alert
from streams.learning_alerts import alerts_of
from streams.learning_steps import KEPT, RATE_OVER
from streams.model import ModelFold
from tests.properties.test_user_code import BAD, GOOD, TASK, knowledge, played, restarted

TROUBLES = ("learn", "half", "nan", "policy")


def alerts(fold: ModelFold) -> list[Alert]:
    return list(alerts_of(fold, 1))


def open_after(steps: Sequence[Alert]) -> set[str]:
    found: set[str] = set()
    for each in steps:
        assert (each.state == "opened") == (each.episode not in found)
        (found.discard if each.state == "closed" else found.add)(each.episode)
    return found


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.sampled_from(("", "", *TROUBLES)), min_size=1, max_size=40),
    st.sampled_from((0, 2, 10)),
    st.sets(st.integers(0, 60), max_size=4),
)
def test_each_entry_skipped_is_one_alert_that_names_it(
    troubles: list[str], most: int, cuts: set[int]
) -> None:
    task = replace(TASK, max_skipped=most)
    driver = played(task, troubles)
    good, bad = driver.models
    assert alerts(good) == []
    passed = [each for each in alerts(bad) if each.signal == "skipped"]
    assert [(each.log_offset, each.request_id, each.exception) for each in passed] == [
        tuple(each) for each in bad.learner.newest
    ]
    stopped = [each for each in alerts(bad) if each.signal == "stopped"]
    assert len(stopped) == (bad.learner.stopped is not None)
    assert open_after(alerts(bad)) == ({passed[0].episode} if passed else set())

    # Restarts anywhere, and an owner that publishes at each of them what it has not published before. A worker
    # puts off what takes long.
    fold, published, reported_to = ModelFold(task, BAD), list[Alert](), 0
    for offset, entry in enumerate(driver.log):
        if offset in cuts:
            published += list(alerts_of(fold, 1, reported_to))
            fold, reported_to = restarted(fold), fold.next_offset
        fold.learner.puts_off = True
        fold.apply(offset, entry)
        if fold.learner.is_behind:
            fold.learner.catch_up()
    assert published + list(alerts_of(fold, 1, reported_to)) == alerts(bad)
    assert knowledge(fold) == knowledge(bad)


def test_an_episode_gets_worse_with_the_rate_and_ends_after_a_thousand_learned_entries() -> None:
    troubles = ["learn" if n % 20 == 3 and n < 140 else "" for n in range(140 + RATE_OVER + 50)]
    found = alerts(played(TASK, troubles).models[1])
    assert [each.state for each in found] == ["opened", *["updated"] * 6, "closed"]
    assert [each.severity for each in found] == [*["info"] * 5, *["warning"] * 3]
    assert [each.alarms for each in found] == [1, 2, 3, 4, 5, 6, 7, 7]
    assert [each.evidence.value for each in found] == [1, 2, 3, 4, 5, 6, 7, 0]
    assert found[-1].request_id == found[-1].exception == ""
    again = alerts(played(TASK, [*troubles, "learn", ""]).models[1])
    assert again[:-1] == found
    assert (again[-1].state, again[-1].alarms) == ("opened", 1)
    assert again[-1].episode != found[0].episode


def test_a_model_that_has_stopped_says_so_and_the_served_one_is_the_worse() -> None:
    for models, severity in (((GOOD, BAD), "warning"), ((BAD, GOOD), "critical")):
        task = replace(TASK, models=models, max_skipped=1)
        (bad,) = (fold for fold in played(task, ["", "learn", "learn", ""]).models if fold.model is BAD)
        first, second, last = alerts(bad)
        assert (first.state, second.state, last.state) == ("opened", "updated", "updated")
        assert (last.signal, last.severity, last.log_offset) == ("stopped", severity, second.log_offset)
        assert bad.learner.stopped is not None
        assert bad.learner.stopped.why in last.text
        assert f"request {second.request_id}: OverflowError in " in second.text


def test_a_state_holds_more_alerts_than_an_owner_lags() -> None:
    task = replace(TASK, max_skipped=999)
    bad = played(task, ["learn"] * (KEPT + 5)).models[1]
    found = alerts(bad)
    assert len(found) == KEPT
    assert [each.alarms for each in found] == list(range(6, KEPT + 6))
    assert alerts(restarted(bad)) == found
