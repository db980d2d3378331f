"""The commands of a task as its log has them: where `T.control` was made again, the log has the last word."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from infra.kafka.connection import Connection
from infra.kafka.log import read_all
from schemas.codec import Codec
from schemas.errors import BadRecord
from schemas.formats import AVRO_MARK
from schemas.records import Control
from schemas.topics import TaskTopics


def log_commands(connection: Connection, codec: Codec, topics: TaskTopics) -> Iterator[tuple[int, Control]]:
    """Give the commands of the log with their offsets, each as the audit that `T.control` had of it (blocks).

    Reads the whole log. Commands are written as JSON, so what is Avro is passed over.

    Raises
    ------
    BrokerError
        It cannot be read.
    """
    for message in read_all(connection, topics.log):
        value = message.value() or b""
        if value.startswith(AVRO_MARK):
            continue
        try:
            entry = codec.decode_entry(value)
        except BadRecord:
            continue  # no command of ours; the reader of the log says so
        if entry.command is not None:
            yield message.offset() or 0, Control("audit", entry.command, entry.ts, entry.entry_id)


def lacks_revisions(audits: Iterable[Control]) -> bool:
    """Whether no revision is among the audits: then nothing of the log can be read or answered by them."""
    return not any(each.entry_id and "revision" in each.command.arguments for each in audits)
