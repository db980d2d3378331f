"""The audit chain: every record of `T.control` in order, each with the hash of the one before.

The chain is a fold of the topic: number and hash follow from the records and their order, whoever wrote them. So
several writers cannot fork it. The owner of the log states in `AuditLink` records how far it has seen the chain.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields, is_dataclass, replace
from typing import Any, Final, NamedTuple

from schemas.applied import Applied
from schemas.audit_link import AuditLink
from schemas.codec.json_form import record_word
from schemas.records import Control

GENESIS: Final = "0" * 64
"""What the first record has in place of the hash of the one before."""
MOST_DIGESTS: Final = 5_000
"""Digests in one link, so that it stays below the limit of a record."""
SIGNED: Final = b"riverloop audit checkpoint\n"
"""Begins what a checkpoint's signature covers: a key that also signs other things signs nothing else like it."""
LINK: Final = record_word(AuditLink.__name__)


def canonical(value: Any) -> bytes:
    r"""Return the canonical JSON of plain data, after RFC 8785.

    Keys are sorted by their UTF-16 code units. Whole numbers are written in full; there are no others here.

    Raises
    ------
    TypeError
        For a number with a fraction, or what JSON does not have.

    Examples
    --------
    >>> canonical({"b": "\u20ac", "a": [1, None]})
    b'{"a":[1,null],"b":"\xe2\x82\xac"}'
    """
    return json.dumps(_sorted(value), ensure_ascii=False, separators=(",", ":")).encode()


def _sorted(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _sorted(value[key]) for key in sorted(value, key=lambda each: each.encode("utf-16-be"))}
    if isinstance(value, list | tuple):
        return [_sorted(each) for each in value]
    if value is None or isinstance(value, bool | int | str):
        return value
    raise TypeError(f"{type(value).__name__} has no place in an audit record")


def form_of(record: Control | Applied | AuditLink | None, data: bytes | None) -> dict[str, Any]:
    """Return what goes into the chain for a record of `T.control`, as plain data.

    Fields that have their default are left out: so a field that is added to a schema later changes no hash.

    Parameters
    ----------
    record
        None where its bytes cannot be read: their SHA-256 stands for it.
    data
        The bytes.
    """
    if record is None:
        return {"record": "unreadable", "sha256": _sha256(data or b"")}
    return {"record": record_word(type(record).__name__)} | _plain(record)


def _plain(record: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for each in fields(record):
        value = getattr(record, each.name)
        default = each.default if each.default_factory is MISSING else each.default_factory()
        if value != default:
            found[each.name] = _plain(value) if is_dataclass(value) else value
    return found


def digest_of(form: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a record's canonical form."""
    return _sha256(canonical(form))


def hash_of(number: int, previous: str, form: Mapping[str, Any]) -> str:
    """Return the hash of a record in the chain."""
    return _sha256(canonical({"number": number, "previous": previous, "record": form}))


class Line(NamedTuple):
    """A record in the chain, as an export has it."""

    number: int
    """From 0."""
    previous: str
    hash: str
    record: Mapping[str, Any]


class AuditChain:
    """The chain up to a position of `T.control`."""

    def __init__(self) -> None:
        self.top = (0, GENESIS)
        """Number of records and hash of the last one; together, because another thread may read them."""
        self.links = 0
        """Links that state what the records give."""
        self.linked: AuditLink | None = None
        """The newest of them."""
        self.false_links = 0
        """Links that state something else."""
        self._pending: list[tuple[str, str, bool]] = []
        """Of the records behind it: digest, hash, and whether it is a link."""

    @property
    def size(self) -> int:
        """Number of records."""
        return self.top[0]

    @property
    def head(self) -> str:
        """Hash of the last of them."""
        return self.top[1]

    @property
    def covered(self) -> int:
        """Number of records that links cover."""
        return self.linked.size if self.linked else 0

    @property
    def to_link(self) -> int:
        """Number of records that a link is missing for; a link alone needs no further one."""
        return 0 if all(is_link for *_, is_link in self._pending) else len(self._pending)

    def take(self, record: Control | Applied | AuditLink | None, data: bytes | None) -> Line:
        """Take the next record of `T.control`."""
        form = form_of(record, data)
        line = Line(self.size, self.head, hash_of(self.size, self.head, form), form)
        is_link = isinstance(record, AuditLink)
        if isinstance(record, AuditLink):
            is_link = self._take_link(record)
        self._pending.append((digest_of(form), line.hash, is_link))
        self.top = (self.size + 1, line.hash)
        return line

    def _take_link(self, link: AuditLink) -> bool:
        count = link.size - self.covered
        if count <= 0 or count > len(self._pending):
            # One from before, which an owner has written again, states nothing new.
            return 0 < link.size <= self.covered
        if self._pending[count - 1][1] != link.head:
            self.false_links += 1
            return False
        self.linked, self.links = link, self.links + 1
        del self._pending[:count]
        return True

    def link(self, ts: int) -> AuditLink | None:
        """Return the next link; None while all is covered.

        Parameters
        ----------
        ts
            Wall clock, ms.
        """
        if not self.to_link:
            return None
        covered = self._pending[:MOST_DIGESTS]
        digests = tuple(digest for digest, *_ in covered)
        return AuditLink(self.covered + len(covered), covered[-1][1], digests, ts)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The chain's head at a time, kept outside of the cluster."""

    task: str
    size: int
    """Records of the chain."""
    head: str
    """Hash of the last of them."""
    ts: int
    """Wall clock of the link that states it, ms."""
    signature: str = ""
    """HMAC-SHA256, hex; empty: unsigned."""
    origin: str = ""
    """Where it comes from, for messages; not part of it."""

    def signed(self, key: bytes) -> Checkpoint:
        """Return it with its signature."""
        return replace(self, signature=self._sign(key))

    def is_signed_by(self, key: bytes) -> bool:
        """Whether it has the key's signature."""
        return hmac.compare_digest(self.signature.encode(), self._sign(key).encode())

    def _sign(self, key: bytes) -> str:
        text = canonical({"head": self.head, "size": self.size, "task": self.task, "ts": self.ts})
        return hmac.new(key, SIGNED + text, hashlib.sha256).hexdigest()

    def dump(self) -> bytes:
        """Return it as one line of JSON."""
        data = asdict(self)
        del data["origin"]
        return canonical(data) + b"\n"

    @classmethod
    def load(cls, data: bytes, origin: str = "") -> Checkpoint:
        """Read what `dump` gave.

        Raises
        ------
        ValueError
            For anything else.
        """
        found = json.loads(data)
        wanted = {"task": str, "size": int, "head": str, "ts": int, "signature": str}
        if not isinstance(found, dict) or {name: type(value) for name, value in found.items()} != wanted:
            raise ValueError(f"{origin} is not a checkpoint of an audit chain")
        return cls(**found, origin=origin)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
