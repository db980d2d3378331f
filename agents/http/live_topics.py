"""What a task's topics say to its live page: from where on they are read, and the folds of their records."""

from __future__ import annotations

from typing import Final

from confluent_kafka import Message

from infra.task.context import TaskContext
from infra.web.board import Board
from infra.web.dead_letters import DeadLetterSummary
from infra.web.decisions import Decisions
from streams.serve import Server

NEWEST: Final = {
    "metrics": 60_000,
    "alerts": 2_000,
    "snapshots": 5_000,
    "control": 20_000,
    "dead_letters": 1_000,
}
"""Records of each topic that are read at the start, for dead letters over all partitions."""


def newest_of(context: TaskContext) -> dict[tuple[str, int], int]:
    """Return how many offsets before their ends the page begins to read, by topic and partition."""
    topics = context.topics
    newest_each = max(1, NEWEST["dead_letters"] // context.partitions)
    newest = {(topics.dead_letters, number): newest_each for number in range(context.partitions)}
    for name in ("metrics", "alerts", "snapshots", "control"):
        newest[getattr(topics, name), 0] = NEWEST[name]
    return newest


class LiveTopics:
    """The folds of a task's topics for its page.

    Parameters
    ----------
    server
        Knows which model answered at which offset of the log.
    open_
        Whether the content of dead letters may be shown.
    """

    def __init__(self, context: TaskContext, server: Server, *, open_: bool) -> None:
        self._context, self._server = context, server
        self.board = Board(context.task, self._served_at)
        self.dead_letters = DeadLetterSummary(context.codec, open_=open_)
        self.decisions = Decisions(context.task.name)

    def _served_at(self, model: str, offset: int) -> bool | None:
        return self._server.roles.served_at(model, offset)

    def take(self, message: Message, at: int) -> None:
        """Take a record that was published at a time, ms.

        Raises
        ------
        BadRecord
            It is not one of ours.
        """
        topics, codec, value = self._context.topics, self._context.codec, message.value()
        topic = message.topic()
        if topic == topics.metrics:
            self.board.metric(codec.decode_metric(value), at)
        elif topic == topics.alerts:
            self.board.alert(codec.decode_alert(value), at)
        elif topic == topics.control:
            self.decisions.take(message.offset() or 0, codec.decode_from_control(value))
        elif topic == topics.dead_letters:
            letter = codec.decode_dead_letter(value)
            self.dead_letters.add(f"{message.partition()}@{message.offset()}", letter)
        else:
            version = (message.key() or b"").decode(errors="replace")
            self.board.snapshots.take(version, None if value is None else codec.decode_manifest(value))
