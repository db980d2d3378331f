"""Topics that tests delete."""

from __future__ import annotations

import time
from collections.abc import Iterable

from confluent_kafka import KafkaError, KafkaException

from infra.kafka.admin import TIMEOUT_S, client_of, code_of, partition_count
from infra.kafka.connection import Connection
from schemas.errors import BrokerError


def delete_topics(connection: Connection, names: Iterable[str]) -> None:
    """Delete topics with all their records, and wait until they are gone; unknown names are skipped."""
    wanted = list(names)
    with client_of(connection) as admin:
        futures = (
            admin.delete_topics(wanted, operation_timeout=TIMEOUT_S, request_timeout=TIMEOUT_S)
            if wanted
            else {}
        )
        for future in futures.values():
            try:
                future.result()
            except KafkaException as error:
                if code_of(error) != KafkaError.UNKNOWN_TOPIC_OR_PART:
                    raise
    deadline = time.monotonic() + TIMEOUT_S
    for name in wanted:
        while partition_count(connection, name):
            if time.monotonic() > deadline:
                raise BrokerError(f"after {TIMEOUT_S:.0f} s topic {name} is still on {connection.bootstrap}")
            time.sleep(0.05)
