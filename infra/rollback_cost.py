"""What a rollback costs before it is done: entries to fold, and how long that takes on this machine."""

from __future__ import annotations

import time
from collections.abc import Mapping
from itertools import islice
from typing import Any, Final

from infra.kafka.connection import Connection
from infra.kafka.log import read_all
from infra.kafka.watching import extents
from infra.snapshots.models import stored_manifests
from infra.snapshots.store import SnapshotStore
from schemas.codec import Codec
from schemas.errors import BadRecord
from schemas.records import Command, Manifest
from schemas.topics import TaskTopics
from streams.leave_out import LeaveOut
from streams.model import ModelFold
from streams.revisions import LEFT_OUT
from streams.version import Version

SAMPLE: Final = 1_000
"""Entries that are folded to measure the pace."""
STARTS_S: Final = 3.0
"""A process that prepares the state starts within about this time."""


def cost(
    command: Command, fold: ModelFold, connection: Connection, codec: Codec, store: SnapshotStore
) -> dict[str, Any]:
    """Return what a decided rollback would do (blocks).

    Parameters
    ----------
    command
        As it would be written.
    fold
        Of its model; it is not changed.

    Returns
    -------
    dict
        `version`: the version, or the revision, that would answer; `entries`: how many log offsets are folded
        for it at most; `seconds`: about how long that takes.
    """
    arguments, topics = command.arguments, TaskTopics(codec.task)
    version = arguments.get("version", "")
    if "number" not in arguments:
        return {"version": command.model, "entries": 0, "seconds": 0.0}
    log = extents(connection, [(topics.log, 0)])[topics.log, 0]
    end = Version.parse(version).offset + 1 if version else log.end
    mine = [each for each in stored_manifests(store, codec.task) if _fits(each, fold, arguments)]
    if version and any(each.version == version for each in mine):
        entries = 0
    else:
        entries = end - max([each.next_offset for each in mine if each.next_offset <= end], default=log.first)
    pace_s = _pace(fold, arguments, connection, codec, log.first, log.end) if entries else 0.0
    return {
        "version": version or f"{command.model}.{arguments['number']}",
        "entries": entries,
        "seconds": round(STARTS_S + entries * pace_s, 1),
    }


def _fits(manifest: Manifest, fold: ModelFold, arguments: Mapping[str, str]) -> bool:
    identity = (manifest.kind, manifest.model, manifest.spec, manifest.leave_out)
    return identity == ("model", fold.model.name, fold.spec, arguments.get(LEFT_OUT, ""))


def _pace(
    fold: ModelFold, arguments: Mapping[str, str], connection: Connection, codec: Codec, first: int, end: int
) -> float:
    """Fold some entries; gives the seconds that one offset takes."""
    leave_out = LeaveOut.read(arguments.get(LEFT_OUT, ""))
    fresh = ModelFold(fold.task, fold.model, fold.runtime, leave_out=leave_out)
    fresh.prepare()
    messages = [*islice(read_all(connection, TaskTopics(codec.task).log, 0, first, end), SAMPLE)]
    if not messages:
        return 0.0
    began = time.monotonic()
    for message in messages:
        try:
            entry = codec.decode_entry(message.value())
        except BadRecord:
            continue
        if entry.command is None:
            fresh.apply(message.offset() or 0, entry)
    spent = time.monotonic() - began
    return spent / ((messages[-1].offset() or 0) - first + 1)
