"""Versions and spans of the log, as options of commands name them."""

from __future__ import annotations

from agents.cli.filters import time_of
from agents.settings import Settings
from infra.kafka.connection import Connection
from infra.runtime import runtime_fingerprint
from infra.scoring.requests import Span
from infra.snapshots.store import SnapshotStore
from infra.taskfile import LoadedTask
from infra.trusted import places
from infra.versions import Versions
from schemas.codec import Codec
from schemas.errors import UsageError


def versions_of(loaded: LoadedTask, codec: Codec, connection: Connection, settings: Settings) -> Versions:
    """Return the versions of a task's models (blocks)."""
    store = SnapshotStore(settings.snapshot_uri, settings.snapshot_key.encode() or None)
    return Versions(loaded, codec, connection, store, runtime_fingerprint()[0], places(settings.skip))


def span_of(since: str | None, until: str | None) -> Span:
    """Return a span of the log from two texts: log offsets, or times in UTC.

    Raises
    ------
    UsageError
        One of them is neither, or they are not alike.

    Examples
    --------
    >>> span_of("100", None)
    Span(since=100, until=None, by_time=False)
    >>> span_of("2026-03-01", "2026-03-02T12:00").by_time
    True
    """
    given = [each for each in (since, until) if each is not None]
    by_offset = [each.isascii() and each.isdigit() for each in given]
    if any(by_offset) and not all(by_offset):
        raise UsageError("--since and --until must both be log offsets, or both times")
    if all(by_offset):
        return Span(None if since is None else int(since), None if until is None else int(until))
    cure = "is neither a log offset nor a time; write 9999 or 2026-03-01T12:00"
    return Span(time_of("--since", since, cure), time_of("--until", until, cure), by_time=True)
