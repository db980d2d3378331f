"""Whether a cluster acknowledges: what counts against it, for how long, and what clears it."""

from __future__ import annotations

from infra.kafka.acknowledging import FORGET_S, LATE_S, Acknowledging


def test_an_answer_clears_what_was_not_answered() -> None:
    cluster = Acknowledging()
    cluster.silent("no answer")
    assert cluster.problems(0.0) == ["no answer"]
    cluster.answered()
    assert cluster.problems(0.0) == []


def test_a_write_that_is_late_counts_until_it_ends() -> None:
    cluster = Acknowledging()
    cluster.began("join", 0.0)
    assert cluster.problems(LATE_S) == []
    assert len(cluster.problems(LATE_S + 1)) == 1
    cluster.ended("join")
    assert cluster.problems(LATE_S + 1) == []


def test_a_failed_write_counts_while_it_is_repeated_and_until_any_write_is_acknowledged() -> None:
    cluster = Acknowledging()
    cluster.began("join", 0.0)
    cluster.failed("join", 5.0, "timed out")
    cluster.began("join", 6.0)
    assert any("timed out" in each for each in cluster.problems(5.0 + 2 * FORGET_S))
    cluster.acknowledged("HTTP")
    assert not any("timed out" in each for each in cluster.problems(7.0))


def test_a_failed_write_that_nobody_repeats_is_forgotten() -> None:
    cluster = Acknowledging()
    cluster.failed("HTTP", 0.0, "timed out")
    assert cluster.problems(FORGET_S - 1)
    assert cluster.problems(FORGET_S) == []
