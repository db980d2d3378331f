"""Why a transaction was aborted, where another process is the cause."""

from __future__ import annotations

from typing import Final

from confluent_kafka import KafkaError

from schemas.errors import TransactionAborted

# The broker no longer counts this consumer among the group's members, or not in that generation.
LOST: Final = {
    KafkaError.ILLEGAL_GENERATION,
    KafkaError.UNKNOWN_MEMBER_ID,
    KafkaError.FENCED_INSTANCE_ID,
    KafkaError.REBALANCE_IN_PROGRESS,
    KafkaError.STALE_MEMBER_EPOCH,
    KafkaError.FENCED_MEMBER_EPOCH,
}
# Somebody else has initialised this transactional id.
FENCED: Final = {
    KafkaError._FENCED,
    KafkaError.INVALID_PRODUCER_EPOCH,
    KafkaError.PRODUCER_FENCED,
    KafkaError.INVALID_PRODUCER_ID_MAPPING,
}


class GenerationLost(TransactionAborted):
    """Aborted because the group has gone on without this consumer: it rejoins before anything else."""


class ProducerFenced(TransactionAborted):
    """Aborted because another process took over this transactional id."""
