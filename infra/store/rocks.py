"""The join's state on disk, in RocksDB: it may outgrow memory."""

from __future__ import annotations

import shutil
import struct
from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import starmap
from pathlib import Path
from typing import Any, Final, NamedTuple

from rocksdict import (
    BlockBasedIndexType,
    BlockBasedOptions,
    Cache,
    DbClosedError,
    DBCompressionType,
    DBRecoveryMode,
    Options,
    Rdict,
    ReadOptions,
    WriteBatch,
    WriteBufferManager,
)

from infra.store.lock import FolderLock
from schemas.codec import Codec
from schemas.errors import StoreError
from schemas.state import JoinPosition, JoinRecord
from streams.join.pending import Changes, Due

STATE: Final = b"s"
"""Key: then the request id in UTF-8. Value: what is held, as on the changelog."""
DUE: Final = b"d"
"""Key: then `_PLACE` and the request id; its bytes sort as `Due` does. The value is empty."""
WAITING: Final = b"m:waiting"
EARLY: Final = b"m:early"
POSITION: Final = b"m:position"
NOTE: Final = b"m:note"
_PLACE: Final = struct.Struct(">QQ")
_SIGN: Final = 1 << 63
"""Added to what may be negative, so that unsigned bytes sort as the numbers do."""
_COUNT: Final = struct.Struct(">QQ")
"""A cohort, and how many of its requests wait."""
DAMAGED: Final = "DAMAGED"
"""A file of this name in the folder says that its content must not be used again."""
MOST_READ: Final = 4096
MOST_READ_BYTES: Final = 16 << 20
"""States that a batch has asked for are kept up to these bounds."""
FIRST_CHUNK, LARGEST_CHUNK = 8, 512


class RocksMemory(NamedTuple):
    """What the stores of a task share, so that memory does not grow with their number."""

    cache: Any
    """Blocks read, indices and filters, and the write buffers too."""
    buffers: Any

    @classmethod
    def of(cls, cache_mb: int) -> RocksMemory:
        """Bound the memory of all stores together, in MiB; half of it is for writing."""
        cache = Cache(cache_mb << 20)
        size = max(cache_mb, 2) << 19
        return cls(cache, WriteBufferManager.new_write_buffer_manager_with_cache(size, False, cache))


class RocksStore:
    """A `streams.join.pending.StateStore` in a folder.

    A batch is one atomic write: states, due index, waiting requests and position. It survives the
    death of the process at any moment; after a crash of the machine the newest batches may be missing, never
    parts of them.

    Parameters
    ----------
    folder
        Its own; made when it is not there.
    codec
        Writes and reads what is held; a prediction must be held as bytes.
    memory
        Shared with other stores; by default 64 MiB of its own.
    anew
        Whether to begin with nothing, whatever lies there.

    Raises
    ------
    UsageError
        Another process has the folder open.
    StoreError
        Here and in every method: what is in the folder cannot be used. It is marked, so that nobody opens it
        again as if nothing had happened.
    """

    def __init__(
        self, folder: Path, codec: Codec, memory: RocksMemory | None = None, *, anew: bool = False
    ) -> None:
        self.folder = folder
        self._codec = codec
        self._read: dict[str, JoinRecord | None] = {}
        """What the batch at work has asked for: several rows of the join's table look at the same id."""
        self._read_bytes = 0
        self._front = DUE
        """No entry of the due index lies before it: what was deleted there is not scanned again."""
        self._lock = FolderLock(folder)
        self._db: Any = None
        try:
            if anew:
                shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True, exist_ok=True)
            if (folder / DAMAGED).exists():
                raise ValueError("it was damaged before")
            self._db = Rdict(str(folder), _options(memory or RocksMemory.of(64)))
            waiting, position = self._db.get(WAITING), self._db.get(POSITION)
            self._waiting: Mapping[int, int] = dict(_COUNT.iter_unpack(waiting or b""))
            self._early_bytes = int.from_bytes(self._db.get(EARLY) or b"", "big")
            self._position = self._decode(position, JoinPosition) if position else None
        except Exception as error:
            failed = self._failed(error)
            self.close()
            raise failed from error

    def __repr__(self) -> str:
        return f"<RocksStore {self.folder}>"

    def get(self, request_id: str) -> JoinRecord | None:
        """See `StateStore.get`."""
        read = self._read
        if request_id in read:
            return read[request_id]
        try:
            data = self._db.get(STATE + request_id.encode())
            state = None if data is None else self._decode(data, JoinRecord)
        except Exception as error:
            raise self._failed(error) from error
        size = 0 if data is None else len(data)
        if len(read) >= MOST_READ or self._read_bytes + size > MOST_READ_BYTES:
            read.clear()
            self._read_bytes = 0
        read[request_id] = state
        self._read_bytes += size
        return state

    def due(self) -> Iterator[Due]:
        """See `StateStore.due`."""
        # In chunks, so that no iterator stays open: it would keep deleted files, and the folder from closing.
        chunk, after = FIRST_CHUNK, self._front
        while True:
            keys = self._due_keys(after, chunk)
            if after == self._front:
                self._front = keys[0] if keys else after
            for key in keys:
                time, offset = _PLACE.unpack_from(key, 1)
                yield time - _SIGN, offset - 1, key[17:].decode()
            if len(keys) < chunk:
                return
            chunk, after = min(chunk * 2, LARGEST_CHUNK), keys[-1] + b"\0"

    def _due_keys(self, start: bytes, most: int) -> list[bytes]:
        keys: list[bytes] = []
        try:
            found = self._db.iter()
            found.seek(start)
            while len(keys) < most and found.valid():
                key = found.key()
                if not key.startswith(DUE):
                    break
                keys.append(key)
                found.next()
            found.status()
        except Exception as error:
            raise self._failed(error) from error
        return keys

    def apply(self, changes: Changes) -> None:
        """See `StateStore.apply`."""
        batch = WriteBatch(raw_mode=True)
        encode = self._codec.encode
        for request_id, state in changes.states.items():
            key = STATE + request_id.encode()
            if state is None:
                batch.delete(key)
            else:
                batch.put(key, encode(state))
        for due in changes.dropped:
            batch.delete(_due_key(due))
        front = self._front
        for due in changes.added:
            key = _due_key(due)
            batch.put(key, b"")
            front = min(front, key)
        batch.put(WAITING, b"".join(starmap(_COUNT.pack, changes.waiting.items())))
        batch.put(EARLY, changes.early_bytes.to_bytes(8, "big"))
        if changes.position is not None:
            batch.put(POSITION, encode(changes.position))
        try:
            self._db.write(batch)
        except Exception as error:
            raise self._failed(error) from error
        self._front, self._waiting, self._early_bytes = front, changes.waiting, changes.early_bytes
        self._position = changes.position or self._position
        self._read.clear()
        self._read_bytes = 0

    def items(self) -> Iterator[tuple[str, JoinRecord]]:
        """See `StateStore.items`."""
        try:
            options = ReadOptions()
            options.set_readahead_size(2 << 20)
            found = self._db.iter(options)
            found.seek(STATE)
            while found.valid() and found.key().startswith(STATE):
                yield found.key()[1:].decode(), self._decode(found.value(), JoinRecord)
                found.next()
            found.status()
        except Exception as error:
            raise self._failed(error) from error

    def waiting(self) -> Mapping[int, int]:
        """See `StateStore.waiting`."""
        return self._waiting

    def early_bytes(self) -> int:
        """See `StateStore.early_bytes`."""
        return self._early_bytes

    def position(self) -> JoinPosition | None:
        """See `StateStore.position`."""
        return self._position

    def close(self) -> None:
        """See `StateStore.close`."""
        if self._db is not None:
            self._db.close()
        self._lock.release()

    # ------------------------------------------------------------------ a note beside the state

    def note(self, value: bytes) -> None:
        """Keep a note of whoever opened the store; the one before is replaced."""
        try:
            self._db.put(NOTE, value)
        except Exception as error:
            raise self._failed(error) from error

    def noted(self) -> bytes | None:
        """Give the note; None when there is none."""
        try:
            found: bytes | None = self._db.get(NOTE)
        except Exception as error:
            raise self._failed(error) from error
        return found

    # ------------------------------------------------------------------ inside

    def _decode(self, data: bytes, wanted: type[Any]) -> Any:
        found = self._codec.decode_state(data)
        if not isinstance(found, wanted):
            raise TypeError(f"{type(found).__name__} found instead of {wanted.__name__}")
        return found

    def _failed(self, error: Exception) -> StoreError:
        # rocksdict raises nothing more particular than Exception.
        if not isinstance(error, DbClosedError) and self.folder.is_dir():
            with suppress(OSError):  # the disk may be full, or gone
                (self.folder / DAMAGED).write_text(f"{error}\n")
        return StoreError(f"the join's state in {self.folder} cannot be used: {error}")


def _due_key(due: Due) -> bytes:
    time, offset, request_id = due
    return DUE + _PLACE.pack(time + _SIGN, offset + 1) + request_id.encode()


def _options(memory: RocksMemory) -> Options:
    blocks = BlockBasedOptions()
    blocks.set_block_cache(memory.cache)
    # A new request is looked up and not found: the filter answers that without reading.
    blocks.set_bloom_filter(10, False)
    blocks.set_cache_index_and_filter_blocks(True)
    # In small pieces: the cache is divided into parts, and the whole index of a large file would fit into none.
    blocks.set_index_type(BlockBasedIndexType.two_level_index_search())
    blocks.set_partition_filters(True)
    blocks.set_metadata_block_size(4096)
    blocks.set_pin_top_level_index_and_filter(True)
    blocks.set_pin_l0_filter_and_index_blocks_in_cache(True)
    blocks.set_format_version(5)
    options = Options(raw_mode=True)
    options.create_if_missing(True)
    options.set_block_based_table_factory(blocks)
    options.set_compression_type(DBCompressionType.lz4())
    options.set_write_buffer_manager(memory.buffers)
    options.set_write_buffer_size(16 << 20)
    options.set_max_write_buffer_number(3)
    options.set_max_background_jobs(2)
    options.set_max_open_files(256)
    options.set_wal_recovery_mode(DBRecoveryMode.point_in_time())
    options.set_keep_log_file_num(2)
    options.set_max_log_file_size(1 << 20)
    return options
