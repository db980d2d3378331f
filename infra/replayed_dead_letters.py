"""Dead letters, replayed once each, with a trace.

A replay is one Kafka transaction: the original bytes on their source topic, each with a header that names its
dead letter, and an audit on `T.control` that names them all. What an audit names is not replayed again. Two
replays at the same time have the same transactional id, so that the later one ends the earlier one before it
reads the audits.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from infra.deadletters import (
    NOTHING,
    DeadLetterPosition,
    DeadLetters,
    Found,
    Wanted,
    original_size,
    shown_place,
)
from infra.kafka.aborted import ProducerFenced
from infra.kafka.transaction import OutRecord, TransactionRunner
from schemas.codec.checks import make_command
from schemas.errors import BadRecord, BrokerError, TransactionAborted, UsageError
from schemas.records import Command, Control, Position
from streams.positions import plain

REPLAYED: Final = "riverloop.replayed-from"
"""Header of a replayed record: the place of its dead letter."""
AT_ONCE: Final = 200
AT_ONCE_BYTES: Final = 4 * 1024 * 1024


@dataclass(slots=True)
class Replayed:
    """What a replay did."""

    count: int = 0
    by_topic: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    """By the sentence that says why."""


def replay_dead_letters(
    box: DeadLetters,
    wanted: Wanted,
    *,
    author: str,
    why: str,
    at: int,
    limit: int | None = None,
    mended: Mapping[DeadLetterPosition, bytes] = NOTHING,
) -> Replayed:
    """Write the dead letters' records to their source topics again, each once for all time (blocks).

    Parameters
    ----------
    at
        Wall clock, ms.
    limit
        Maximum number of records.
    mended
        Corrected bytes to take in place of a dead letter's own.

    Raises
    ------
    UsageError
        For an author or a reason that is too long for the audit.
    BrokerError
        When a transaction's end is not known, or another replay has begun. Running it again is safe.
    """
    try:
        make_command("replay", "", author=author, reason=why)
    except BadRecord as bad:
        raise UsageError(f"the audit's {bad.message}") from bad
    done = Replayed()
    batches = _batches(box.sendable(wanted, done.skipped, mended), limit)
    asyncio.run(_replay(box, batches, done, author, why, at))
    return done


async def _replay(
    box: DeadLetters, batches: Iterator[list[Found]], done: Replayed, author: str, why: str, at: int
) -> None:
    mark, task = box.mark(), box.topics.task
    runner = TransactionRunner(box.connection, f"riverloop.{task}.dead-letters")
    try:
        # First of all: this ends whoever else replays, and decides on what a dead one left open.
        await runner.start()
        for batch in batches:
            places = " ".join(shown_place(each.place) for each in batch)
            command = Command("replay", "", {"topic_id": mark, "dead_letters": places}, author, why)
            audit = box.codec.encode(Control("audit", command, at))
            records = [_record(box, each) for each in batch]
            records.append(OutRecord(box.topics.control, task.encode(), audit, 0))
            await runner.commit(records, {}, b"")
            done.count += len(batch)
            done.by_topic.update(record.topic for record in records[:-1])
    except ProducerFenced as error:
        raise BrokerError(
            f"{done.count:,} were replayed, then another replay of task {task} began and ended this one"
        ) from error
    except TransactionAborted as error:
        raise BrokerError(
            f"{done.count:,} were replayed, then it is not known whether Kafka took the next ones: "
            f"{box.connection.hide(str(error))}; run it again, nothing is replayed twice"
        ) from error
    finally:
        await runner.close()


def _record(box: DeadLetters, found: Found) -> OutRecord:
    dead_letter, source = found.dead_letter, found.dead_letter.source
    assert source is not None
    # Where it lay: the join forwards what belongs elsewhere. All three topics have as many partitions.
    partition = source.partition if 0 <= source.partition < box.partitions else None
    at = Position(box.topics.dead_letters, *found.place)
    return OutRecord(
        plain(source.topic), dead_letter.key, dead_letter.value, partition, [(REPLAYED, str(at).encode())]
    )


def _batches(dead_letters: Iterable[Found], limit: int | None) -> Iterator[list[Found]]:
    batch: list[Found] = []
    size, left = 0, limit
    for each in dead_letters:
        if left == 0:
            break
        left = None if left is None else left - 1
        if batch and (len(batch) == AT_ONCE or size + original_size(each.dead_letter) > AT_ONCE_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(each)
        size += original_size(each.dead_letter)
    if batch:
        yield batch
