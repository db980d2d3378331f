"""What a worker reports on `T.control`: which commands it has applied."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from schemas.immutable import record


@record(frozen=True, slots=True)
class Applied:
    """A worker has applied a command, or has become ready."""

    slot: str
    log_offset: int
    """The last entry that it has applied."""
    ts: int
    """Wall clock."""
    commands: Mapping[str, int] = field(default_factory=dict)
    """Log offsets by entry id of commands that it has applied; the newest ones when it has become ready."""
