"""Records of topics that only riverloop writes: one that cannot be read is no dead letter, it is for a person."""

from __future__ import annotations

import re
from typing import Final

from infra.inbound import Message
from schemas.errors import RiverloopError, Unreadable, UsageError

TrustedEntry = tuple[str, int]
"""Topic of a training log, and offset."""
_PLACE: Final = re.compile(r"(\S+\.log)@(\d{1,18})\Z")


def unreadable_entry(message: Message, why: RiverloopError) -> Unreadable:
    """Make the error for a record of a training log."""
    place = f"{message.topic()}@{message.offset()}"
    return Unreadable(
        f"{_said(message, why)} Later entries were not folded. If a newer riverloop wrote it, start that "
        "version. Otherwise revoke the permission of other programs to write this topic, then start every "
        f"worker with RIVERLOOP_SKIP={place}, which skips this record. If it is a damaged entry, "
        "restore the topic from a copy instead"
    )


def unreadable_state(message: Message, why: RiverloopError) -> Unreadable:
    """Make the error for a record of a join's changelog."""
    topic, partition, key = message.topic(), message.partition(), bytes(message.key() or b"")
    if key.startswith(
        b"\0"
    ):  # without it a resolved request would wait again, or the join would have no position
        mend = f"restore the topic from a copy: a tombstone for the key {key!r:.250} would change the state"
    else:
        mend = (
            f"either write a tombstone, that is the key {key!r:.250} without a value, to partition {partition} of "
            f"{topic} (which deletes that request from the join), or restore the topic from a copy"
        )
    return Unreadable(
        f"{_said(message, why)} The state of this partition's join cannot be restored. If a newer riverloop "
        "wrote it, start that version. Otherwise revoke the permission of other programs to write this "
        f"topic; then {mend}"
    )


def _said(message: Message, why: RiverloopError) -> str:
    where = f"{message.topic()}[{message.partition()}]@{message.offset()}"
    return f"{where} cannot be read, although only riverloop writes this topic: {why}."


def places(text: str) -> frozenset[TrustedEntry]:
    """Parse the records of training logs to skip.

    Raises
    ------
    UsageError
        For anything else.

    Examples
    --------
    >>> sorted(places("hotel.log@17, hotel.log@18")), sorted(places(""))
    ([('hotel.log', 17), ('hotel.log', 18)], [])
    """
    found = set()
    for each in text.replace(",", " ").split():
        match = _PLACE.match(each)
        if match is None:
            raise UsageError(
                f"skip: {each[:60]!r} is not a record of a training log; write TASK.log@OFFSET, for "
                "example hotel.log@17"
            )
        found.add((match[1], int(match[2])))
    return frozenset(found)
