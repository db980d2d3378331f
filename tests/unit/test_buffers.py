from __future__ import annotations

from confluent_kafka import Message

from infra.kafka.buffers import NEVER, Partition, PartitionBuffer

PLACE = Partition("t", 0)


def messages(*offsets: int) -> list[Message]:
    return [Message(topic="t", partition=0, offset=offset, value=b"") for offset in offsets]


def test_a_partition_is_named_by_topic_and_number() -> None:
    assert str(Partition("task.log", 3)) == "task.log[3]"


def test_a_buffer_is_caught_up_only_through_a_question_asked_before_its_end_was_reached() -> None:
    buffer = PartitionBuffer(PLACE)
    buffer.answer(5.0, 4)
    assert buffer.known_through == NEVER
    buffer.extend(messages(0, 1), None, 6.0)
    assert buffer.known_through == NEVER
    buffer.reach(4)  # behind the marker that no record tells of
    assert buffer.known_through == 5.0
    buffer.answer(7.0, 4)
    assert buffer.known_through == 7.0
    buffer.answer(8.0, 9)
    assert buffer.known_through == 7.0


def test_a_seek_forgets_what_was_known() -> None:
    buffer = PartitionBuffer(PLACE)
    buffer.extend(messages(0, 1), None, 6.0)
    buffer.answer(7.0, 2)
    buffer.drop()
    assert (list(buffer.queue), buffer.read_to, buffer.known_through) == ([], -1, NEVER)
    buffer.answer(8.0, 2)
    assert buffer.known_through == NEVER


def test_records_on_their_way_count_as_buffered() -> None:
    buffer = PartitionBuffer(PLACE)
    buffer.handed = 3
    assert buffer.size == 3
    buffer.extend(messages(0, 1, 2), None, 1.0)
    assert buffer.size == 3
    buffer.queue.popleft()
    assert buffer.size == 2
    buffer.drop()
    assert buffer.size == 0
