"""An index of a task's records by request: where its request, predictions, outcomes, entries and dead letters lie.

It is a cache in a SQLite file that may be deleted at any time: what is missing is read from the topics again.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final, NamedTuple

from confluent_kafka import Message

from infra.audit.topic_reader import TopicReader, TopicState
from infra.kafka.offsets import Place
from schemas.codec import Codec
from schemas.codec.wire import rest_of_long
from schemas.errors import BadRecord, StoreError
from schemas.formats import HEADER_BYTES
from schemas.topics import TaskTopics
from streams import native
from streams.native.records import plan_of

CHUNK: Final = 20_000
"""Records that are indexed in one transaction."""
CACHE_KIB: Final = 128 * 1024
BUSY_S: Final = 30.0
NAMES_S: Final = 30.0
"""How long what the cluster says of the topics is taken for valid."""
TABLES: Final = """
CREATE TABLE IF NOT EXISTS topics (number INTEGER PRIMARY KEY, name TEXT UNIQUE, topic_id TEXT);
CREATE TABLE IF NOT EXISTS positions (topic INT, p INT, next INT, PRIMARY KEY (topic, p)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS places (h INT, topic INT, p INT, o INT, PRIMARY KEY (h, topic, p, o)) WITHOUT ROWID;
"""
Found = tuple[str, int, int]
"""Topic, partition and offset of a record."""


class IndexProgress(NamedTuple):
    """How far an index is."""

    done: int
    total: int

    @property
    def complete(self) -> bool:
        """Whether all is indexed that was written when the update began."""
        return self.done >= self.total


class RequestIndex:
    """The index of one task; used by one thread at a time, but by several processes.

    Parameters
    ----------
    path
        The file; its folder is made.
    reader, codec
        What reads the topics.
    pause
        Seconds to rest after each second of indexing, so that a worker goes on serving.
    """

    def __init__(self, path: Path, reader: TopicReader, codec: Codec, pause: float = 0.0) -> None:
        self._reader, self._codec, self._pause = reader, codec, pause
        self.topics = topics = TaskTopics(codec.task)
        self._names = (
            *(topics.requests, topics.predictions, topics.outcomes, topics.dead_letters),
            *(topics.log, topics.alerts),
        )
        self._id_of: Mapping[str, Callable[[Message], str | None]] = {
            topics.log: _entry_ids(codec),
            topics.alerts: self._alert_id,
        }
        self._states: dict[str, TopicState] = {}
        self._described = 0.0
        self.progress = IndexProgress(0, 0)
        self.stopping = False
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            self._db = sqlite3.connect(path, isolation_level=None, timeout=BUSY_S, check_same_thread=False)
            for pragma in ("journal_mode=WAL", "synchronous=NORMAL", f"cache_size=-{CACHE_KIB}"):
                self._db.execute(f"PRAGMA {pragma}")
            self._db.executescript(TABLES)
        except sqlite3.Error as error:
            raise StoreError(f"{path} is not a usable index ({error}); delete it") from error
        self._path = path

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    # ------------------------------------------------------------------ updating

    def update(self, advance: Callable[[int], None] = lambda done: None) -> bool:
        """Index what was written since the last call (blocks); gives whether all of it is.

        Parameters
        ----------
        advance
            Called with the number of offsets that are done.

        Raises
        ------
        BrokerError
            The cluster does not answer.
        """
        numbers, ends = self._begin()
        done = 0
        while not self.stopping:
            started = time.monotonic()
            with self._transaction():
                left = self._left(numbers, ends)
                self.progress = IndexProgress(done, done + sum(end - start for start, end in left.values()))
                if not left:
                    return True
                done += self._chunk(numbers, left)
            advance(done)
            time.sleep(self._pause * (time.monotonic() - started))
        return False

    def _begin(self) -> tuple[dict[str, int], dict[Place, int]]:
        """Return the numbers of the topics in the file, and up to where their partitions are to be read."""
        if time.monotonic() > self._described + NAMES_S or not self._states:
            self._states = self._reader.topics(self._names)
            self._described = time.monotonic()
        with self._transaction():
            numbers = {name: self._number(name, state.topic_id) for name, state in self._states.items()}
        places = [(name, p) for name, state in self._states.items() for p in range(state.partitions)]
        return numbers, self._reader.ends(places)

    def _number(self, name: str, topic_id: str) -> int:
        row = self._db.execute("SELECT number, topic_id FROM topics WHERE name = ?", (name,)).fetchone()
        if row is not None and row[1] == topic_id:
            return int(row[0])
        if row is not None:  # the topic was recreated: its offsets mean other records
            for table in ("places", "positions", "topics"):
                column = "number" if table == "topics" else "topic"
                self._db.execute(f"DELETE FROM {table} WHERE {column} = ?", (row[0],))  # noqa: S608  our own names
        inserted = self._db.execute("INSERT INTO topics (name, topic_id) VALUES (?, ?)", (name, topic_id))
        return int(inserted.lastrowid or 0)

    def _left(self, numbers: Mapping[str, int], ends: Mapping[Place, int]) -> dict[Place, tuple[int, int]]:
        names = {number: name for name, number in numbers.items()}
        at = {(names[t], p): o for t, p, o in self._db.execute("SELECT * FROM positions") if t in names}
        return {place: (at.get(place, 0), end) for place, end in ends.items() if at.get(place, 0) < end}

    def _chunk(self, numbers: Mapping[str, int], left: Mapping[Place, tuple[int, int]]) -> int:
        """Index some records, of few partitions at once; gives how many offsets are done."""
        ranges, room = dict[Place, tuple[int, int]](), CHUNK
        for place, (start, end) in left.items():
            if room > 0:
                ranges[place] = (start, min(end, start + room))
                room -= ranges[place][1] - start
        rows = []
        for message in self._reader.read(ranges):
            topic = message.topic() or ""
            found = self._id_of.get(topic, _key)(message)
            if found is not None:
                rows.append((place_of(found), numbers[topic], message.partition(), message.offset()))
        rows.sort()
        self._db.executemany("INSERT OR IGNORE INTO places VALUES (?, ?, ?, ?)", rows)
        ends = [(numbers[topic], p, end) for (topic, p), (_, end) in ranges.items()]
        self._db.executemany("INSERT OR REPLACE INTO positions VALUES (?, ?, ?)", ends)
        return sum(end - start for start, end in ranges.values())

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            raise StoreError(f"the index {self._path} cannot be used ({error}); delete it") from error

    # ------------------------------------------------------------------ reading

    def find(self, request_id: str) -> list[Found]:
        """Return where records of a request may lie; their own ids have the last word."""
        rows = self._db.execute(
            "SELECT t.name, p, o FROM places JOIN topics t ON t.number = topic WHERE h = ? ORDER BY 1, 2, 3",
            (place_of(request_id),),
        )
        return [(str(name), int(p), int(o)) for name, p, o in rows]

    def _alert_id(self, message: Message) -> str | None:
        try:
            return self._codec.decode_alert(message.value()).request_id or None
        except BadRecord:
            return None


def place_of(request_id: str) -> int:
    """Return the number under which a request's records are kept.

    Examples
    --------
    >>> place_of("r-1")
    9050449706252741902
    """
    digest = blake2b(request_id.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, signed=True)


def _key(message: Message) -> str | None:
    key: Any = message.key()
    try:
        return key.decode() if isinstance(key, bytes) else None
    except UnicodeDecodeError:
        return None


def _entry_ids(codec: Codec) -> Callable[[Message], str | None]:
    """Return what reads the request of an entry: only that where the native core is built."""

    def decoded(message: Message) -> str | None:
        try:
            prediction = codec.decode_entry(message.value()).prediction
        except BadRecord:
            return None
        return None if prediction is None else prediction.request_id

    module, schema = native.record_module(), codec.schemas["Entry"]
    if module is None:
        return decoded
    # Header and place of the prediction in today's schema: whatever is written otherwise is decoded.
    scanner = module.Records(plan_of(schema))
    number = [each["name"] for each in schema["fields"]].index("prediction")
    mark = bytes.fromhex(codec.fingerprints["Entry"])

    def scanned(message: Message) -> str | None:
        data: Any = message.value()
        if not isinstance(data, bytes) or data[2:HEADER_BYTES] != mark:
            return decoded(message)
        spans = scanner.fields(data, HEADER_BYTES)
        if spans is None:
            return decoded(message)
        at = spans[number][0]
        if data[at] == 0:
            return None
        size, start = data[at + 1], at + 2
        if size > 127:
            size, start = rest_of_long(data, start, size)
        return data[start : start + (size >> 1)].decode()

    return scanned
