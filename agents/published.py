"""Up to where the owner of a topic has published: its group says so, or else what it has published."""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import Final

from confluent_kafka import Message

from agents.loop import TaskLoop
from agents.resume import is_ours
from infra.kafka.newest import newest
from infra.kafka.offsets import stamped_offsets
from infra.kafka.watching import extents
from schemas.errors import BadRecord
from streams.positions import age

ALL: Final = "all"
log = logging.getLogger(__name__)


def published_to(
    loop: TaskLoop, topic: str, group: str, monitors: Collection[bytes]
) -> tuple[int | None, str]:
    """Give the offset up to which all is published, None when nothing is, and the last owner's note (blocks).

    The group's offset says so, where one of our transactions committed it for the topic as it is now. If somebody
    has moved it, or it has expired, the newest metric or alert says it, and the note is lost.

    Parameters
    ----------
    topic
        What is folded.
    group
        The owners' group.
    monitors
        The keys of what they publish.

    Raises
    ------
    BrokerError
        The cluster does not answer.
    """
    place = (topic, 0)
    committed = stamped_offsets(loop.context.connection, group, [place]).get(place)
    if is_ours(loop, place, committed):
        assert committed is not None
        return committed.offset, committed.note
    if age(loop.current.known.name(topic)) > 1:
        return None, ""  # what is published tells offsets of the topic from before
    end = extents(loop.context.connection, [place])[place].end
    codec, alerts = loop.context.codec, loop.context.topics.alerts

    def told(message: Message) -> tuple[str, int] | None:
        if message.key() not in monitors:
            return None
        try:
            decode = codec.decode_alert if message.topic() == alerts else codec.decode_metric
            return ALL, decode(message.value()).log_offset + 1
        except BadRecord:
            return None

    places = [(loop.context.topics.metrics, 0), (alerts, 0)]
    found = min(newest(loop.context.connection, places, [ALL], told).get(ALL, 0), end)
    if committed is not None or found:
        log.warning(
            "%s: the offset of group %s for %s %s; publishing continues at %d, after the last published record",
            *(loop.context.task.name, group, topic),
            f"is {committed.offset}, which no worker wrote" if committed else "is gone",
            found,
        )
    return found or None, ""
