"""Entries of the training log, decoded once for both who read it in a worker: the follower and the log's owner."""

from __future__ import annotations

import threading
from collections.abc import Set
from typing import Any, Final

from infra.trusted import Place, unreadable_entry
from schemas.codec import Codec
from schemas.errors import BadRecord
from schemas.records import Entry

KEPT: Final = 2000
"""So many entries the two may be apart; behind that an entry is decoded twice."""


class Entries:
    """Reads the entries of one log: who comes first decodes and leaves them here, who comes second takes them.

    In a worker that does not own the log nobody comes second: the oldest fall out.

    Parameters
    ----------
    pass_over
        Records that a person has looked at: where they cannot be read, they are no entries.
    """

    def __init__(self, pass_over: Set[Place] = frozenset()) -> None:
        self._pass_over = pass_over
        self._kept: dict[int, Entry] = {}
        self._lock = threading.Lock()  # a new owner catches up in a thread

    def read(self, codec: Codec, message: Any) -> Entry | None:
        """Give the entry that a message of the log carries; None for one to pass over.

        Raises
        ------
        Unreadable
            It carries none.
        """
        offset: int = message.offset()
        kept = self._kept
        with self._lock:
            entry = kept.pop(offset, None)
            if entry is None:
                try:
                    entry = kept[offset] = codec.decode_entry(message.value())
                except BadRecord as bad:
                    if (message.topic(), offset) in self._pass_over:
                        return None
                    raise unreadable_entry(message, bad) from bad
                if len(kept) > KEPT:
                    del kept[next(iter(kept))]
        return entry
