"""Where a worker goes on in the partitions that it takes up: the loop's own state has the last word."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace

from agents.join_partition import JoinPartition
from agents.loop import TaskLoop
from infra.inbound import FORWARDED, Message
from infra.kafka.buffers import Partition
from infra.kafka.log import NEWER_SNAPSHOT
from infra.kafka.newest import newest
from infra.kafka.offsets import Committed, stamped_offsets
from infra.kafka.watching import extents
from schemas.errors import BadRecord, RecordsGone
from schemas.records import Position
from schemas.state import JoinPosition
from streams.positions import Place, wrong_place
from streams.verify import position_of

log = logging.getLogger(__name__)


def starts(
    loop: TaskLoop, partitions: Collection[Partition], joins: Mapping[int, JoinPartition]
) -> dict[Partition, int]:
    """Give where to go on in partitions of requests, predictions and outcomes (blocks).

    Where the joins have state, it says so. For the others the group does, as far as one of our transactions
    committed its offset, for this topic. If somebody has moved it, or it has expired, the answers say it: each
    prediction, dead letter and forwarded outcome names the record that it is about. A partition that is missing
    in what is given begins at its oldest record.

    Raises
    ------
    RecordsGone
        What is to be read next is not there; says what to do.
    BrokerError
        The cluster does not answer.
    """
    topics = loop.context.topics
    found: dict[Partition, int] = {}
    others: list[Place] = []
    for partition in partitions:
        topic, number = partition
        at = joins.get(number) if topic in {topics.predictions, topics.outcomes} else None
        if at is not None and at.restored:
            found[partition] = at.predictions if topic == topics.predictions else at.outcomes
        elif topic in {topics.requests, topics.predictions, topics.outcomes}:
            others.append((topic, number))
    committed = stamped_offsets(loop.context.connection, loop.context.settings.group, others)
    unsure = [place for place in others if not is_ours(loop, place, committed.get(place))]
    found |= {Partition(*place): committed[place].offset for place in others if place not in unsure}
    named = _named(loop, unsure)
    for place in unsure:
        if (offset := named.get(place)) is not None:
            found[Partition(*place)] = offset
            told = committed.get(place)
            log.warning(
                "%s: the offset of group %s for %s[%d] %s; reading continues at %d, behind the last "
                "processed record",
                *(loop.context.task.name, loop.context.settings.group, *place),
                f"is {told.offset}, which no worker wrote" if told else "is gone",
                offset,
            )
        elif place in committed:
            found[Partition(*place)] = _begin(loop, place, committed[place].offset)
    return settled(loop, found)


def _begin(loop: TaskLoop, place: Place, offset: int) -> int:
    """Give where to begin in a partition of which nothing is worked off, and whose offset no worker wrote (blocks).

    Somebody may choose where a new task begins. Once a task has begun, its state has the last word.
    """
    topics = loop.context.topics
    state = [
        *_all(loop, topics.predictions),
        *_all(loop, topics.dead_letters),
        *_all(loop, topics.join_state),
    ]
    if not any(extent.end for extent in extents(loop.context.connection, state).values()):
        return offset
    first = extents(loop.context.connection, [place])[place].first
    log.warning(
        "%s: the offset of group %s for %s[%d] is %d, which no worker wrote; reading continues at %d: nothing of "
        "the partition has been processed",
        *(loop.context.task.name, loop.context.settings.group, *place, offset, first),
    )
    return first


def join_start(loop: TaskLoop, partition: int, position: JoinPosition | None) -> JoinPosition | None:
    """Give where a join goes on by its state (blocks); None when nothing was taken yet.

    Raises
    ------
    RecordsGone
        The state is not that of what was read; says what to do.
    BrokerError
        The cluster does not answer.
    """
    topics = loop.context.topics
    changelog = (topics.join_state, partition)
    # Compaction leaves a partition's beginning where it is: what begins later has lost state.
    settled(loop, {Partition(*changelog): 0})
    if position is not None:
        # A topic that was made again counts its offsets anew.
        predictions = (
            0 if _is_new(loop, topics.predictions, position.predictions_id) else position.predictions
        )
        outcomes = 0 if _is_new(loop, topics.outcomes, position.outcomes_id) else position.outcomes
        return replace(position, predictions=predictions, outcomes=outcomes)
    inputs = [(topics.predictions, partition), (topics.outcomes, partition)]
    committed = {
        place: each.offset
        for place, each in stamped_offsets(
            loop.context.connection, loop.context.settings.group, inputs
        ).items()
        if is_ours(loop, place, each)
    }
    if not committed:
        return None
    if changelog in loop.current.known.accepted:
        predictions, outcomes = (committed.get(place, 0) for place in inputs)
        return JoinPosition(None, predictions, outcomes)
    group = loop.context.settings.group
    read = ", ".join(f"{topic} to offset {offset}" for (topic, _), offset in committed.items())
    raise RecordsGone(
        f"{topics.join_state}[{partition}] is empty, although the group {group} has read {read}: the "
        f"state of the join is gone. Restore {topics.join_state} from a copy of it; or, to continue without the "
        f"requests that waited, stop the workers of the task and say: riverloop topics accept TASK "
        f"{topics.join_state}"
    )


def _is_new(loop: TaskLoop, topic: str, known: str) -> bool:
    return known not in {"", loop.current.stamps.get(topic, known)}


def start_of(loop: TaskLoop, topic: str, offset: int) -> int:
    """Give where a fold of a topic goes on, by what a person has accepted (blocks).

    Raises
    ------
    RecordsGone
        What is to be folded next is not there; says what to do.
    """
    place = (topic, 0)
    there = extents(loop.context.connection, [place])[place]
    offset = loop.current.known.settled(place, offset, there)
    if why := wrong_place(place, offset, there):
        raise RecordsGone(f"{why}. {NEWER_SNAPSHOT}" if offset < there.first else why)
    return offset


def settled(loop: TaskLoop, places: Mapping[Partition, int]) -> dict[Partition, int]:
    """Check that partitions hold what is to be read next, by what a person has accepted (blocks).

    Raises
    ------
    RecordsGone
        One does not.
    """
    there = extents(loop.context.connection, places)
    found = {
        partition: loop.current.known.settled(partition, offset, there[partition])
        for partition, offset in places.items()
    }
    wrong = [wrong_place(partition, offset, there[partition]) for partition, offset in sorted(found.items())]
    if any(wrong):
        raise RecordsGone(". ".join(filter(None, wrong)))
    return found


def is_ours(loop: TaskLoop, place: Place, committed: Committed | None) -> bool:
    """Whether one of our transactions committed an offset, for the topic as it is now."""
    return committed is not None and committed.stamp == loop.current.stamps.get(place[0], "") != ""


def _named(loop: TaskLoop, unsure: Collection[Place]) -> dict[Place, int]:
    """Give behind which record of partitions everything is worked off, as the answers say (blocks)."""
    topics = loop.context.topics
    found: dict[Place, int] = {}
    there = extents(loop.context.connection, unsure)
    requests = {place for place in unsure if place[0] == topics.requests and there[place].end}
    if requests:
        found |= newest(
            loop.context.connection,
            [*_all(loop, topics.predictions), *_all(loop, topics.dead_letters)],
            requests,
            lambda message: _source(loop, message),
        )
    further = {
        place
        for place in unsure
        if place[0] == topics.outcomes and place[1] >= loop.context.partitions and there[place].end
    }
    if further:
        places = [(topics.outcomes, number) for number in range(loop.context.partitions)]
        found |= newest(
            loop.context.connection,
            [*places, *_all(loop, topics.dead_letters)],
            further,
            lambda message: _source(loop, message),
        )
    return {place: offset + 1 for place, offset in found.items()}


def _all(loop: TaskLoop, topic: str) -> Iterator[Place]:
    return ((topic, number) for number in range(loop.current.count_of(topic)))


def _source(loop: TaskLoop, message: Message) -> tuple[Place, int] | None:
    """Give the place of the record that a message answers, forwards or refuses."""
    topics, codec, value = loop.context.topics, loop.context.codec, message.value()
    at: Position | None = None
    try:
        if message.topic() == topics.predictions:
            at = codec.decode_prediction(value).source
        elif message.topic() == topics.dead_letters:
            at = codec.decode_dead_letter(value).source
        else:
            header = dict(message.headers() or ()).get(FORWARDED) or b""
            at = position_of(header.decode(errors="replace"))
    except BadRecord:
        return None
    if at is None:
        return None
    for topic in (topics.requests, topics.outcomes):
        if at.topic == loop.current.names.get(topic, topic):
            return (topic, at.partition), at.offset
    return None
