"""Entries of the training log, decoded once for both who read it in a worker: the follower and the log's owner."""

from __future__ import annotations

import threading
from typing import Any, Final

from schemas.codec import Codec
from schemas.records import Entry

KEPT: Final = 2000
"""So many entries the two may be apart; behind that an entry is decoded twice."""


class Entries:
    """Reads the entries of one log: who comes first decodes and leaves them here, who comes second takes them.

    In a worker that does not own the log nobody comes second: the oldest fall out.
    """

    def __init__(self) -> None:
        self._kept: dict[int, Entry] = {}
        self._lock = threading.Lock()  # a new owner catches up in a thread

    def read(self, codec: Codec, message: Any) -> Entry:
        """Give the entry that a message of the log carries.

        Raises
        ------
        BadRecord
            It carries none.
        """
        offset: int = message.offset()
        kept = self._kept
        with self._lock:
            entry = kept.pop(offset, None)
            if entry is None:
                entry = kept[offset] = codec.decode_entry(message.value())
                if len(kept) > KEPT:
                    del kept[next(iter(kept))]
        return entry
