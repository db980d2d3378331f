"""A join's state as a restart finds it: in the changelog, or on this machine and in the changelog's tail."""

from __future__ import annotations

import json
import logging
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from infra.hooks import reached
from infra.kafka.admin import topic_id
from infra.kafka.connection import Connection
from infra.kafka.log import read_all
from infra.kafka.offsets import end_offsets
from infra.store.lock import FolderLock
from infra.store.rocks import RocksMemory, RocksStore
from infra.trusted import unreadable_state
from schemas.codec import Codec
from schemas.errors import BadRecord, BrokerError, StoreError, Unreadable, UsageError
from schemas.state import RESOLVED, JoinPosition, JoinRecord, StateRecord, type_of
from streams.join.changelog import Change, fill
from streams.join.join_rules import JoinRules
from streams.join.pending import StateStore
from streams.native.table import TableStore
from streams.native.turn import store_in_memory

LAYOUT: Final = 2
"""Of the keys in the folder; one that was made with another is made anew."""
TRUSTED_MS: Final = 12 * 3600 * 1000
"""The changelog keeps a deletion for 24 hours: what was noted longer ago may have missed some."""

log = logging.getLogger(__name__)


class JoinStores:
    """The stores of a task's joins on this machine.

    Parameters
    ----------
    folder
        Of this worker's slot and this task, each partition has its own in it; None keeps all in memory.
    cache_mb
        Memory of all stores in the folder together, in MiB.

    Notes
    -----
    A partition's folder is used again if it is known to hold a prefix of the changelog, and then only the tail is
    read. With the state it keeps, in the same atomic writes, the position of the last batch; and from time to time
    it is noted up to which offset of which topic everything in the changelog is in it. Reading again from there
    is right, since the last record of a key counts. The folder is made anew when

    - it cannot be opened or read, or was found damaged before;
    - it was made for another topic (by id), other times of the task, or another layout;
    - the note is older than 12 hours, or points beyond the changelog's end;
    - the changelog does not go on to the folder's position: it tells of a batch that the changelog has lost.

    A partition that goes to another worker leaves its folder behind: it may come back. At the next start after
    12 hours it is deleted.
    """

    def __init__(
        self,
        connection: Connection,
        topic: str,
        codec: Codec,
        rules: JoinRules,
        folder: Path | None = None,
        cache_mb: int = 64,
    ) -> None:
        self._connection, self._topic, self._codec, self.rules = connection, topic, codec, rules
        self._folder = folder
        self._memory = RocksMemory.of(cache_mb) if folder else None
        self._topic_id = ""
        names = ("JoinRecord", "JoinPosition")
        self._made_for = (
            f"{LAYOUT} {rules.horizon_ms} {rules.revision_horizon_ms} {rules.early_horizon_ms} "
            + (" ".join(codec.fingerprints[name] for name in names))
        )
        """What the bytes in a folder depend on."""
        if folder:
            _sweep(folder)

    def restored(self, partition: int) -> StateStore | TableStore:
        """Give a partition's state as it is now; blocks.

        Waits until no transaction is open on its changelog: an earlier owner's last batch is then committed or
        aborted.

        Raises
        ------
        BrokerError
            The changelog cannot be read.
        Unreadable
            The last record of a key is none of ours.
        StoreError
            The folder cannot be written.
        UsageError
            Another process has it open.
        """
        place = (self._topic, partition)
        end = end_offsets(self._connection, [place], committed=False)[place]
        if self._folder is None:
            memory = store_in_memory(self._codec, self.rules)
            fill(memory, self.rules, self._changes(partition, None, end))
            return memory
        self._topic_id = self._topic_id or topic_id(self._connection, self._topic)
        folder = self._folder / str(partition)
        store = self._reused(folder, partition, end) if folder.exists() else None
        if store is None:
            store = RocksStore(folder, self._codec, self._memory, anew=True)
            try:
                count = fill(store, self.rules, self._changes(partition, None, end))
            except BaseException:
                store.close()
                raise
            log.info("%s[%d]: %s made from %d records of the changelog", *place, folder, count)
        self.note(store, end)
        return store

    @property
    def on_disk(self) -> bool:
        """Whether the stores lie on disk."""
        return self._folder is not None

    def note(self, store: StateStore | TableStore, end: int) -> None:
        """Note that a store holds all of its changelog up to an offset; nothing for one in memory.

        To be called while no batch is at work.
        """
        if isinstance(store, RocksStore):
            noted_state = {
                "topic_id": self._topic_id,
                "made_for": self._made_for,
                "end": end,
                "at_ms": time.time_ns() // 1_000_000,
                "progress": _progress(store.position()),
            }
            store.note(json.dumps(noted_state).encode())

    # ------------------------------------------------------------------ inside

    def _reused(self, folder: Path, partition: int, end: int) -> RocksStore | None:
        """Open what lies there and read the tail; None, with a warning, if it is not to be used."""
        store: RocksStore | None = None
        try:
            store = RocksStore(folder, self._codec, self._memory)
            noted_state = json.loads(store.noted() or b"{}")
            self._check(noted_state, end)
            stored = _progress(store.position())
            read: list[JoinPosition] = []
            count = fill(store, self.rules, self._changes(partition, noted_state["end"], end, read))
            reached = _progress(read[-1]) if read else noted_state["progress"]
            if any(there < here for there, here in zip(reached, stored, strict=True)):
                raise StoreError(f"it is at {stored} of its inputs, the changelog only at {reached}")
        except (StoreError, BrokerError, ValueError) as error:
            if store is not None:
                store.close()
            log.warning("%s[%d]: %s is made anew: %s", self._topic, partition, folder, error)
            return None
        except BaseException:
            if store is not None:
                store.close()
            raise
        tail = (self._topic, partition, folder, count, noted_state["end"], end)
        log.info("%s[%d]: %s used again, %d records read from offset %d to %d", *tail)
        return store

    def _check(self, noted_state: dict[str, object], end: int) -> None:
        """Raise StoreError if a note does not stand for a prefix of the changelog."""
        if not noted_state:
            raise StoreError("it was not filled to its end")
        if noted_state["topic_id"] != self._topic_id:
            raise StoreError(f"it was made for the topic with the id {noted_state['topic_id']}")
        if noted_state["made_for"] != self._made_for:
            raise StoreError("it was made for other times of the task, or another layout")
        at_ms, noted = noted_state["at_ms"], noted_state["end"]
        assert isinstance(at_ms, int)
        assert isinstance(noted, int)
        age_ms = time.time_ns() // 1_000_000 - at_ms
        if not -TRUSTED_MS < age_ms < TRUSTED_MS:
            raise StoreError(
                f"it is {age_ms // 3_600_000} hours old, the changelog may have forgotten deletions"
            )
        if noted > end:
            raise StoreError(f"it goes up to offset {noted}, the changelog only to {end}")

    def _changes(
        self, partition: int, start: int | None, end: int, positions: list[JoinPosition] | None = None
    ) -> Iterator[Change]:
        """Read the changelog; `positions` gets the newest position.

        The last record of a key counts: one that cannot be read does no harm if another follows.
        """
        bad: dict[bytes, Unreadable] = {}
        for message in read_all(self._connection, self._topic, partition, start, end):
            reached("in-restore")
            key, value = bytes(message.key() or b""), message.value()
            bad.pop(key, None)
            if value is None:
                bad.pop(RESOLVED + key, None)  # it has forgotten the resolution, too
                with suppress(UnicodeDecodeError):  # no request has such a key
                    if not key.startswith(RESOLVED):  # what it resolved is forgotten by a record of its own
                        yield key.decode(), None
                continue
            try:
                state = self._read(key, value)
                name = key.removeprefix(RESOLVED).decode()
            except (BadRecord, UnicodeDecodeError) as error:
                why = error if isinstance(error, BadRecord) else BadRecord("malformed", "its key is no text")
                bad[key] = unreadable_state(message, why)
                continue
            if isinstance(state, JoinRecord):
                bad.pop(RESOLVED + key, None)  # it contains the resolution
            if isinstance(state, JoinPosition):
                if positions is not None:
                    positions[:] = [state]
                yield state
            else:
                yield name, state
        for first in bad.values():
            raise first

    def _read(self, key: bytes, value: bytes) -> StateRecord:
        state = self._codec.decode_state(value)
        if type(state) is not type_of(key):
            raise BadRecord("wrong_record", f"a {type(state).__name__} lies under the key {key!r:.100}")
        if isinstance(state, JoinRecord):
            for each in state.early:
                if each.outcome.request_id.encode() != key:
                    raise BadRecord("wrong_record", "it holds the outcome of another request")
        return state


def _progress(position: JoinPosition | None) -> list[int]:
    return [position.predictions, position.outcomes] if position else [0, 0]


def _sweep(folder: Path) -> None:
    """Delete what nobody may use again."""
    for each in folder.glob("*[0-9]"):
        newest = max((file.stat().st_mtime for file in each.glob("*")), default=each.stat().st_mtime)
        if time.time() - newest < TRUSTED_MS / 1000:
            continue
        with suppress(UsageError):  # it is in use
            lock = FolderLock(each, wait_s=0)
            shutil.rmtree(each, ignore_errors=True)
            lock.release()
