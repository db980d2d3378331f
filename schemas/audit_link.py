"""What the owner of a log states on `T.control` about the audit chain."""

from __future__ import annotations

from schemas.immutable import record


@record(frozen=True, slots=True)
class AuditLink:
    """What the log's owner states about the audit chain: it covers the records of `T.control` up to a number.

    The chain itself follows from the records and their order (`streams.audit`), so that no two writers can fork it.
    """

    size: int
    """Records that it covers, from the first one on."""
    head: str
    """Hash of the last of them, hex."""
    digests: tuple[str, ...]
    """SHA-256 of the canonical form of the newest records that it covers, oldest first: those that the link
    before does not cover."""
    ts: int
    """Wall clock."""
