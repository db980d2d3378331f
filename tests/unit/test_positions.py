"""What a task does about its topics, without a cluster: names, rejections, what was accepted."""

from __future__ import annotations

import pytest

from schemas.records import Command, Position
from schemas.topics import TaskTopics, topics
from streams.positions import (
    ACCEPTED,
    KNOWN,
    KnownTopics,
    OffsetRange,
    TopicSeen,
    age,
    plain,
    rejections,
    wrong_place,
)
from streams.verify import position_of

NAMES = TaskTopics("t")
EVERY = {spec.name: spec.cleanup for spec in topics("t", 2, aggregates=True)}
LASTING = {NAMES.log, NAMES.join_state, NAMES.keys, NAMES.aggregates}


def seen() -> dict[str, TopicSeen]:
    return {
        spec.name: TopicSeen(f"id {spec.name}", spec.partitions, spec.cleanup)
        for spec in topics("t", 2, aggregates=True)
    }


def known() -> KnownTopics:
    made = KnownTopics()
    made.learn(Command(KNOWN, "", made.news(seen(), 2)))
    return made


def rejected(cluster: dict[str, TopicSeen], reported: KnownTopics) -> dict[str, str]:
    return dict(rejections(NAMES, reported, cluster, EVERY))


def test_topics_as_they_were_are_no_news() -> None:
    assert rejected(seen(), known()) == {}
    assert known().news(seen(), 2) == {}
    assert rejected(seen(), KnownTopics()) == {}


@pytest.mark.parametrize("name", EVERY)
def test_a_topic_that_is_gone_is_rejected_and_the_sentence_has_the_command(name: str) -> None:
    there = seen()
    del there[name]
    why = rejected(there, known())
    assert [*why] == [name]
    assert "riverloop topics create TASK --partitions 2" in why[name]
    assert ("riverloop topics accept" in why[name]) == (name in LASTING)


@pytest.mark.parametrize("name", EVERY)
def test_a_topic_that_was_made_again_is_rejected_where_it_held_what_was_learned(name: str) -> None:
    there, reported = seen(), known()
    there[name] = there[name]._replace(topic_id="another")
    assert ([*rejected(there, reported)] == [name]) == (name in LASTING)
    reported.learn(Command(KNOWN, "", reported.news(there, 2)))
    assert rejected(there, reported) == {}
    assert (reported.name(name), plain(reported.name(name)), age(reported.name(name))) == (
        f"{name}~2",
        name,
        2,
    )
    place = Position(reported.name(name), 1, 5)
    assert position_of(str(place)) == place


@pytest.mark.parametrize("name", EVERY)
def test_only_the_topic_whose_partitions_are_the_joins_must_not_grow(name: str) -> None:
    there = seen()
    there[name] = there[name]._replace(partitions=7)
    assert [*rejected(there, known())] == ([name] if name == NAMES.predictions else [])


@pytest.mark.parametrize("name", [NAMES.predictions, NAMES.outcomes, NAMES.join_state])
def test_fewer_partitions_than_the_joins_have_are_rejected(name: str) -> None:
    there = seen()
    there[name] = there[name]._replace(partitions=1)
    assert f"kafka-topics --alter --topic {name} --partitions 2" in rejected(there, known())[name]


@pytest.mark.parametrize("name", EVERY)
def test_another_cleanup_policy_is_rejected(name: str) -> None:
    there = seen()
    there[name] = there[name]._replace(cleanup="compact,delete")
    assert f"--add-config cleanup.policy={EVERY[name]}" in rejected(there, known())[name]


def test_the_number_of_partitions_is_kept_whatever_becomes_of_the_topics() -> None:
    reported = known()
    reported.learn(Command(KNOWN, "", {NAMES.outcomes: "x", "partitions": "9"}))
    assert reported.partitions == 2


def test_the_audits_of_two_workers_count_once() -> None:
    reported = known()
    for _ in range(2):
        reported.learn(Command(KNOWN, "", {NAMES.outcomes: "x"}))
    assert reported.name(NAMES.outcomes) == f"{NAMES.outcomes}~2"


def test_audits_on_a_control_topic_that_was_made_again_name_the_newest_topic_in_whatever_order() -> None:
    one, other = known(), known()
    there = seen()
    there[NAMES.outcomes] = there[NAMES.outcomes]._replace(topic_id="x")
    # The one worker sees only that outcomes are others; its audit already lies on the new control topic.
    first = (KNOWN, one.news(there, 2))
    there[NAMES.control] = there[NAMES.control]._replace(topic_id="y")
    second = [*other.audits(), (KNOWN, other.news(there, 2))]
    for audits in ([first, *second], [*second, first]):
        again = KnownTopics()
        for name, arguments in audits:
            again.learn(Command(name, "", arguments))  # type: ignore[arg-type]  # one of the two
        assert again.current(NAMES.outcomes) == "x"
        assert again.name(NAMES.outcomes) == f"{NAMES.outcomes}~2"
        assert again.news(there, 2) == {}


def test_what_is_known_can_be_reported_again_from_the_beginning() -> None:
    reported = known()
    reported.learn(Command(KNOWN, "", {NAMES.outcomes: "x"}))
    reported.learn(Command(ACCEPTED, "", {"topic": NAMES.log, "topic_id": "y", "0": "3 9"}))
    again = KnownTopics()
    for name, arguments in reported.audits():
        again.learn(Command(name, "", arguments))  # type: ignore[arg-type]  # one of the two
    assert again == reported


@pytest.mark.parametrize(("offset", "expected"), [(10, 20), (25, 25), (60, 50), (50, 50)])
def test_what_was_accepted_of_a_partition_is_where_one_goes_on(offset: int, expected: int) -> None:
    reported = known()
    place, extent = (NAMES.requests, 1), OffsetRange(20, 50)
    topic_id = reported.current(NAMES.requests)
    assert reported.settled(place, offset, extent) == offset
    reported.learn(Command(ACCEPTED, "", {"topic": place[0], "topic_id": topic_id, "1": "20 50"}))
    assert reported.settled(place, offset, extent) == expected
    # It was accepted of that topic, and up to that offset: what is deleted later must be accepted anew.
    assert reported.settled((NAMES.requests, 0), offset, extent) == offset
    assert wrong_place(place, reported.settled(place, 10, OffsetRange(30, 50)), OffsetRange(30, 50))
    reported.learn(Command(KNOWN, "", {place[0]: "another"}))
    assert reported.settled(place, offset, extent) == offset


def test_a_place_is_wrong_before_the_first_and_behind_the_last_record() -> None:
    place, extent = (NAMES.requests, 1), OffsetRange(20, 50)
    assert "begins at offset 20, but must be read from 19" in wrong_place(place, 19, extent)
    assert "ends at offset 50, but was read to 51" in wrong_place(place, 51, extent)
    assert (wrong_place(place, 20, extent), wrong_place(place, 50, extent)) == ("", "")
