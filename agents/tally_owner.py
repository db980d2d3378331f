"""The owner of the tallies: adds them up, and says what is not as it was with the requests."""

from __future__ import annotations

from typing import Final

from agents.loop import TaskLoop
from agents.owner import Owned, Owner
from infra.kafka.admin import topic_id
from infra.snapshots.store import SnapshotStore
from schemas.tally import Tally
from streams.monitors import tally_monitors

SNAPSHOT_EVERY: Final = 1_000
"""Tallies between two snapshots: so many are read again, at most, by a new owner."""


def tally_owner(loop: TaskLoop, store: SnapshotStore) -> Owner[Tally]:
    """Make the owner of a task's tallies.

    Parameters
    ----------
    loop
        The task's.
    store
        Where snapshots lie.
    """
    topic = loop.topics.quality
    owned = Owned(
        "quality",
        topic,
        lambda: topic_id(loop.connection, topic),
        lambda: tally_monitors(loop.task),
        lambda message: loop.codec.decode_tally(message.value()),
        lambda tally: tally.ts if tally.requests else None,  # a refusal knows no event time
        SNAPSHOT_EVERY,
        lossy=True,  # what is counted must not stop what is served
        unreadable="tallies_unreadable",
    )
    return Owner(loop, store, owned)
