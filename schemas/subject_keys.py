"""The keys of persons: what identifies somebody is stored as a hash under a key of theirs, which can be destroyed.

A *subject* is whom a token is about: the entity of a request or, without one, the value itself. Its key is made of
the task's token key and a random salt. The salts lie on `T.keys`, under a hash of the subject. A topic without
the salt holds tokens that nobody can link to the subject any more, the token key in hand or not (ADR 25).
"""

from __future__ import annotations

import hmac
import threading
from collections.abc import Callable, Iterable
from typing import Final

from schemas.errors import BadRecord

LOOKUP_BYTES: Final = 16
SALT_BYTES: Final = 32
BEGIN: Final = b"\0begin"
"""Key of the record at which a rewriting of the topic begins: what lay before it counts no more at its end."""
END: Final = b"\0end"
"""Key of the record at which it ends."""


class SubjectKeys:
    """The salts of a task's subjects, as `T.keys` has them.

    Parameters
    ----------
    new_salt
        Makes 32 random bytes. None: salts are made of the token key alone, for runs that store nothing:
        nothing made with them can be forgotten.

    Notes
    -----
    Of two workers that meet a subject at the same moment each may make a salt: the later one on the topic is
    used from then on, by all. Safe for use by several threads.
    """

    def __init__(self, token_key: bytes, new_salt: Callable[[], bytes] | None = None) -> None:
        self._token_key, self._new_salt = token_key, new_salt
        self._salts: dict[bytes, bytes] = {}
        self._unwritten: dict[bytes, bytes] = {}
        self._rewriting: dict[bytes, bytes] | None = None
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<SubjectKeys of {len(self._salts)} subjects>"

    def __len__(self) -> int:
        return len(self._salts)

    def lookup(self, subject: str) -> bytes:
        """Give the key under which a subject's salt lies."""
        return hmac.digest(self._token_key, b"subject\0" + subject.encode(), "sha256")[:LOOKUP_BYTES]

    def knows(self, subject: str) -> bool:
        """Whether the subject has a salt."""
        return self.lookup(subject) in self._salts

    def key(self, subject: str) -> bytes:
        """Give a subject's key; makes a salt for one that has none."""
        lookup = self.lookup(subject)
        salt = self._salts.get(lookup)
        if salt is None:
            salt = self._made(lookup)
        return hmac.digest(self._token_key, salt + lookup, "sha256")

    def _made(self, lookup: bytes) -> bytes:
        if self._new_salt is None:
            return b""
        with self._lock:
            if lookup not in self._salts:
                self._salts[lookup] = self._unwritten[lookup] = self._new_salt()
            return self._salts[lookup]

    # ------------------------------------------------------------------ the topic

    def unwritten(self) -> list[tuple[bytes, bytes]]:
        """Give the records of new salts, to be written before or with what was made with them."""
        if not self._unwritten:
            return []
        with self._lock:
            return list(self._unwritten.items())

    def written(self, records: Iterable[tuple[bytes, bytes]]) -> None:
        """Note that records are on the topic."""
        with self._lock:
            for lookup, salt in records:
                if self._unwritten.get(lookup) == salt:
                    del self._unwritten[lookup]

    def read(self, key: bytes | None, value: bytes | None) -> None:
        """Take a record of the topic, in its order.

        Raises
        ------
        BadRecord
            `malformed`, for what is no salt.
        """
        with self._lock:
            if key == BEGIN:
                self._rewriting = {}
            elif key == END:
                if self._rewriting is not None:
                    # What is not written yet is no part of what was rewritten.
                    self._salts = self._rewriting | self._unwritten
                    self._rewriting = None
            elif key is None or value is None or (len(key), len(value)) != (LOOKUP_BYTES, SALT_BYTES):
                raise BadRecord("malformed", "the record is not a subject's salt")
            else:
                self._salts[key] = value
                self._unwritten.pop(key, None)
                if self._rewriting is not None:
                    self._rewriting[key] = value

    def without(self, subject: str) -> dict[bytes, bytes]:
        """Give the salts of all others."""
        gone = self.lookup(subject)
        with self._lock:
            return {lookup: salt for lookup, salt in self._salts.items() if lookup != gone}
