"""Where a worker goes on in the partitions that it takes up: the loop's own state has the last word."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from infra.inbound import FORWARDED, Message
from infra.kafka.buffers import Partition
from infra.kafka.log import NEWER_SNAPSHOT
from infra.kafka.newest import newest
from infra.kafka.offsets import Committed, stamped_offsets
from infra.kafka.watching import extents
from infra.task.context import TaskContext
from infra.task.join_partition import JoinPartition
from infra.task.topic_watch import CurrentTopics
from schemas.errors import BadRecord, RecordsGone
from schemas.records import Position
from schemas.state import JoinPosition
from streams.positions import Place, age, wrong_place
from streams.verify import position_of

ALL: Final = "all"
log = logging.getLogger(__name__)


class Resume:
    """Finds where a task goes on in its topics: its own state decides, then the group's offsets, then its output.

    All methods block.
    """

    def __init__(self, context: TaskContext, current: CurrentTopics) -> None:
        self._context, self._current = context, current

    def starts(
        self,
        partitions: Collection[Partition],
        joins: Mapping[int, JoinPartition],
        counted: Mapping[int, int] = MappingProxyType({}),
    ) -> dict[Partition, int]:
        """Return where to go on in partitions of requests, predictions and outcomes (blocks).

        Where the joins have state, it says so. For the others the group does, as far as one of our transactions
        committed its offset, for this topic. If somebody has moved it, or it has expired, the answers say it: each
        prediction, dead letter and forwarded outcome names the record that it is about. A partition that is missing
        in what is given begins at its oldest record.

        Parameters
        ----------
        counted
            By partition of requests: the next offset by its aggregates. The group may be further, where the task
            had no aggregates meanwhile.

        Raises
        ------
        RecordsGone
            What is to be read next is not there; says what to do.
        BrokerError
            The cluster does not answer.
        """
        topics = self._context.topics
        found: dict[Partition, int] = {}
        others: list[Place] = []
        for partition in partitions:
            topic, number = partition
            at = joins.get(number) if topic in {topics.predictions, topics.outcomes} else None
            if at is not None and at.restored:
                found[partition] = at.predictions if topic == topics.predictions else at.outcomes
            elif topic in {topics.requests, topics.predictions, topics.outcomes}:
                others.append((topic, number))
        committed = stamped_offsets(self._context.connection, self._context.group, others)
        unsure = [place for place in others if not self.is_ours(place, committed.get(place))]
        found |= {Partition(*place): committed[place].offset for place in others if place not in unsure}
        named = self._named(unsure)
        for place in unsure:
            if (offset := named.get(place)) is not None:
                found[Partition(*place)] = offset
                unknown = committed.get(place)
                log.warning(
                    "%s: the offset of group %s for %s[%d] %s; reading continues at %d, behind the last "
                    "processed record",
                    *(self._context.task.name, self._context.group, *place),
                    f"is {unknown.offset}, which no worker wrote" if unknown else "is gone",
                    offset,
                )
            elif place in committed:
                found[Partition(*place)] = self._begin(place, committed[place].offset)
        for number, offset in counted.items():
            if (place := Partition(topics.requests, number)) in partitions:
                found[place] = max(found.get(place, 0), offset)
        return self.settled(found)

    def _begin(self, place: Place, offset: int) -> int:
        """Return where to begin in a partition of which nothing is processed, and whose offset no worker wrote.

        Somebody may choose where a new task begins. Once a task has begun, its state has the last word.
        """
        topics = self._context.topics
        state = [
            *self._all(topics.predictions),
            *self._all(topics.dead_letters),
            *self._all(topics.join_state),
        ]
        if not any(extent.end for extent in extents(self._context.connection, state).values()):
            return offset
        first = extents(self._context.connection, [place])[place].first
        log.warning(
            "%s: the offset of group %s for %s[%d] is %d, which no worker wrote; reading continues at %d: nothing "
            "of the partition has been processed",
            *(self._context.task.name, self._context.group, *place, offset, first),
        )
        return first

    def join_start(self, partition: int, position: JoinPosition | None) -> JoinPosition | None:
        """Return where a join goes on by its state (blocks); None when nothing was taken yet.

        Raises
        ------
        RecordsGone
            The state is not that of what was read; says what to do.
        BrokerError
            The cluster does not answer.
        """
        topics = self._context.topics
        changelog = (topics.join_state, partition)
        # Compaction leaves a partition's beginning where it is: what begins later has lost state.
        self.settled({Partition(*changelog): 0})
        if position is not None:
            # A topic that was made again counts its offsets anew.
            predictions = (
                0 if self._is_new(topics.predictions, position.predictions_id) else position.predictions
            )
            outcomes = 0 if self._is_new(topics.outcomes, position.outcomes_id) else position.outcomes
            return replace(position, predictions=predictions, outcomes=outcomes)
        inputs = [(topics.predictions, partition), (topics.outcomes, partition)]
        committed = {
            place: each.offset
            for place, each in stamped_offsets(self._context.connection, self._context.group, inputs).items()
            if self.is_ours(place, each)
        }
        if not committed:
            return None
        if changelog in self._current.known.accepted:
            predictions, outcomes = (committed.get(place, 0) for place in inputs)
            return JoinPosition(None, predictions, outcomes)
        group = self._context.group
        read = ", ".join(f"{topic} to offset {offset}" for (topic, _), offset in committed.items())
        raise RecordsGone(
            f"{topics.join_state}[{partition}] is empty, although the group {group} has read {read}: the "
            f"state of the join is gone. Restore {topics.join_state} from a copy of it; or, to continue without "
            f"the requests that waited, stop the workers of the task and say: riverloop topics accept TASK "
            f"{topics.join_state}"
        )

    def _is_new(self, topic: str, known: str) -> bool:
        return known not in {"", self._current.stamps.get(topic, known)}

    def start_of(self, topic: str, offset: int) -> int:
        """Return where a fold of a topic goes on, by what a person has accepted (blocks).

        Raises
        ------
        RecordsGone
            What is to be folded next is not there; says what to do.
        """
        place = (topic, 0)
        there = extents(self._context.connection, [place])[place]
        offset = self._current.known.settled(place, offset, there)
        if why := wrong_place(place, offset, there):
            raise RecordsGone(f"{why}. {NEWER_SNAPSHOT}" if offset < there.first else why)
        return offset

    def settled(self, places: Mapping[Partition, int]) -> dict[Partition, int]:
        """Check that partitions hold what is to be read next, by what a person has accepted (blocks).

        Raises
        ------
        RecordsGone
            One does not.
        """
        there = extents(self._context.connection, places)
        found = {
            partition: self._current.known.settled(partition, offset, there[partition])
            for partition, offset in places.items()
        }
        wrong = [
            wrong_place(partition, offset, there[partition]) for partition, offset in sorted(found.items())
        ]
        if any(wrong):
            raise RecordsGone(". ".join(filter(None, wrong)))
        return found

    def is_ours(self, place: Place, committed: Committed | None) -> bool:
        """Whether one of our transactions committed an offset, for the topic as it is now."""
        return committed is not None and committed.stamp == self._current.stamps.get(place[0], "") != ""

    def _named(self, unsure: Collection[Place]) -> dict[Place, int]:
        """Return the offsets up to which partitions are processed, as the answers say."""
        topics = self._context.topics
        found: dict[Place, int] = {}
        there = extents(self._context.connection, unsure)
        requests = {place for place in unsure if place[0] == topics.requests and there[place].end}
        if requests:
            found |= newest(
                self._context.connection,
                [*self._all(topics.predictions), *self._all(topics.dead_letters)],
                requests,
                self._source,
            )
        further = {
            place
            for place in unsure
            if place[0] == topics.outcomes and place[1] >= self._context.partitions and there[place].end
        }
        if further:
            places = [(topics.outcomes, number) for number in range(self._context.partitions)]
            found |= newest(
                self._context.connection,
                [*places, *self._all(topics.dead_letters)],
                further,
                self._source,
            )
        return {place: offset + 1 for place, offset in found.items()}

    def _all(self, topic: str) -> Iterator[Place]:
        return ((topic, number) for number in range(self._current.count_of(topic)))

    def _source(self, message: Message) -> tuple[Place, int] | None:
        """Return the place of the record that a message answers, forwards or rejects."""
        topics, codec, value = self._context.topics, self._context.codec, message.value()
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
            if at.topic == self._current.names.get(topic, topic):
                return (topic, at.partition), at.offset
        return None

    def published(self, topic: str, group: str, monitors: Collection[bytes]) -> tuple[int | None, str]:
        """Return the offset up to which all is published, None when nothing is, and the last owner's note.

        The group's offset says so, where a transaction of ours committed it for the topic as it is now. If somebody
        has moved it, or it has expired, the newest metric or alert says it, and the note is lost.

        Parameters
        ----------
        monitors
            The keys of what they publish.

        Raises
        ------
        BrokerError
            The cluster does not answer.
        """
        place = (topic, 0)
        committed = stamped_offsets(self._context.connection, group, [place]).get(place)
        if self.is_ours(place, committed):
            assert committed is not None
            return committed.offset, committed.note
        if age(self._current.known.name(topic)) > 1:
            return None, ""  # what is published tells offsets of the topic from before
        end = extents(self._context.connection, [place])[place].end
        codec, alerts = self._context.codec, self._context.topics.alerts

        def position(message: Message) -> tuple[str, int] | None:
            if message.key() not in monitors:
                return None
            try:
                decode = codec.decode_alert if message.topic() == alerts else codec.decode_metric
                return ALL, decode(message.value()).log_offset + 1
            except BadRecord:
                return None

        places = [(self._context.topics.metrics, 0), (alerts, 0)]
        found = min(newest(self._context.connection, places, [ALL], position).get(ALL, 0), end)
        if committed is not None or found:
            log.warning(
                "%s: the offset of group %s for %s %s; publishing continues at %d, after the last published record",
                *(self._context.task.name, group, topic),
                f"is {committed.offset}, which no worker wrote" if committed else "is gone",
                found,
            )
        return found or None, ""
