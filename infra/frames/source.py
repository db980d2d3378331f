"""The rows of a task's records on a cluster: committed ones, in the order of their offsets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Set
from typing import Any, Final

from infra.inbound import FORWARDED, SERVED, Message, header
from infra.kafka.admin import partition_count, topic_id
from infra.kafka.connection import Connection
from infra.kafka.log import read_all
from infra.kafka.offsets import end_offsets, first_offsets
from infra.past import PastSchemas
from infra.subjects import Subjects
from infra.taskfile import LoadedTask
from infra.trusted import TrustedEntry
from infra.versions import read_entry
from schemas.codec import Codec
from schemas.errors import BadRecord, UsageError
from schemas.records import Control, Outcome
from schemas.subject_keys import SubjectKeys
from schemas.topics import TaskTopics
from streams.positions import OffsetRange, Place
from streams.rows import Row, Rows, What

TOPICS: Final[Mapping[What, Callable[[TaskTopics], str]]] = {
    "log": lambda names: names.log,
    "predictions": lambda names: names.predictions,
    "outcomes": lambda names: names.outcomes,
    "metrics": lambda names: names.metrics,
    "alerts": lambda names: names.alerts,
    "decisions": lambda names: names.control,
}


class KnownKeys(SubjectKeys):
    """The keys that lie on `T.keys`, and no others.

    A person who was forgotten has no key. One that was made of the token key alone would give a token by which the
    token key finds the person again.
    """

    def __init__(self, token_key: bytes) -> None:
        super().__init__(token_key)
        self.missed = False
        """Whether a key was asked for that is not there, since this was last set to False."""

    def key(self, subject: str) -> bytes:
        """Return a subject's key, or a useless one."""
        if not self.knows(subject):
            self.missed = True
            return b""
        return super().key(subject)


class TaskRows:
    """The rows of one kind of a task's records.

    Parameters
    ----------
    loaded
        The task.
    connection
        The cluster.
    what
        Which records.
    token_key
        Makes tokens of what other services have written; without it, these personal data are left out.
    skip
        Records of the training log that are no entries and are skipped.

    Raises
    ------
    UsageError
        The topic does not exist.
    BrokerError
        The cluster does not answer.
    """

    def __init__(
        self,
        loaded: LoadedTask,
        connection: Connection,
        what: What,
        token_key: bytes = b"",
        skip: Set[TrustedEntry] = frozenset(),
    ) -> None:
        task, names = loaded.task, TaskTopics(loaded.task.name)
        self._connection, self.what, self._skip = connection, what, skip
        self.topic = TOPICS[what](names)
        self.partitions = partition_count(connection, self.topic)
        if not self.partitions:
            raise UsageError(
                f"topic {self.topic} does not exist on {connection.bootstrap}; run: riverloop topics create"
            )
        self._keys = KnownKeys(token_key)
        self.codec = Codec(task.name, task.kind, task.features, self._keys)
        tokens = self._keys if token_key and task.features.tokenised else None
        Subjects(tokens, connection, names.keys).load()
        PastSchemas(self.codec, connection, names).learn_all()
        self.rows = Rows(what, task.kind, task.features, [each.name for each in task.models])
        self.passed_over = 0
        """Records that are none of these: services wrote them, and they are dead letters of the workers."""
        self._record: Callable[[Message], Any] = {
            "log": lambda message: read_entry(self.codec, message, self._skip),
            "predictions": self._prediction,
            "outcomes": lambda message: self.codec.decode_outcome(message.value()),
            "metrics": lambda message: self.codec.decode_metric(message.value()),
            "alerts": lambda message: self.codec.decode_alert(message.value()),
            "decisions": lambda message: self.codec.decode_audit(message.value()),
        }[what]

    def topic_id(self) -> str:
        """Return the id that the topic got when it was made."""
        return topic_id(self._connection, self.topic)

    def extents(self) -> dict[Place, OffsetRange]:
        """Return where each partition begins, and up to where all transactions have ended."""
        places = [(self.topic, number) for number in range(self.partitions)]
        # First the ends: what is deleted meanwhile does not make a range that ends before it begins.
        ends, firsts = end_offsets(self._connection, places), first_offsets(self._connection, places)
        return {place: OffsetRange(firsts[place], max(firsts[place], ends[place])) for place in places}

    def read(self, place: Place, start: int, end: int) -> Iterator[tuple[Message, Row | None]]:
        """Read a range of a partition; gives each record and its row, None for one that has none.

        Raises
        ------
        RecordsGone
            The range begins with records that were deleted meanwhile.
        Unreadable
            What lies on the training log is no entry.
        """
        if start < end:
            for message in read_all(self._connection, *place, start, end):
                yield message, self.row(message)

    def row(self, message: Message) -> Row | None:
        """Return the row of a record; None where there is none to give."""
        self._keys.missed = False
        try:
            record = self._record(message)
        except BadRecord:
            self.passed_over += 1
            return None
        wanted = {"outcomes": Outcome, "decisions": Control}.get(self.what, object)
        if record is None or not isinstance(record, wanted):
            return None  # a punctuation, or what workers say of their progress
        row = self.rows.row(record)
        if self._keys.missed:
            row = self.rows.without_tokens(row)
        if self.what == "outcomes":
            row["forwarded"] = header(message, FORWARDED) is not None
        place = {"partition": message.partition(), "offset": message.offset()}
        return row | place | {"written": message.timestamp()[1]}

    def _prediction(self, message: Message) -> Any:
        prediction = self.codec.decode_prediction(message.value())
        if header(message, SERVED) is None:  # of another service: as the join stores it
            return self.codec.protection.served(prediction)
        return prediction
