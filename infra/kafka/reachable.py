"""Whether a cluster answers, and if not, why in a sentence: TLS, login, or nobody there."""

from __future__ import annotations

import re
import time
from typing import Final

from confluent_kafka import KafkaError, KafkaException, Producer

from infra.kafka.connection import Connection
from schemas.errors import BrokerError, UsageError

TIMEOUT_S: Final = 10.0
ADDRESS: Final = re.compile(
    r"((PLAINTEXT|SSL|SASL_PLAINTEXT|SASL_SSL)://)?(\[[0-9A-Fa-f:.]+\]|[^\s:/,\[\]]+)(:[0-9]{1,5})?",
    re.IGNORECASE,
)
_TLS: Final = {KafkaError._SSL}
_LOGIN: Final = {KafkaError._AUTHENTICATION, KafkaError.SASL_AUTHENTICATION_FAILED}


def check_reachable(connection: Connection, timeout_s: float = TIMEOUT_S) -> None:
    """Ask the cluster for its metadata.

    Raises
    ------
    UsageError
        When the address is none, or librdkafka rejects a property.
    BrokerError
        When the cluster refuses TLS or login, as soon as that is known; when it does not answer in time.
    """
    for address in connection.bootstrap.split(","):
        if not ADDRESS.fullmatch(address.strip()):
            raise UsageError(
                "the Kafka cluster's address must be HOST:PORT, or several with commas, not "
                f"{address.strip()[:100]!r}"
            )
    rejections: list[KafkaError] = []
    try:
        client = Producer(connection.config(error_cb=rejections.append, log_level=0))
    except KafkaException as error:
        # Without the cause: its text may hold what was hidden.
        text = connection.hide(error.args[0].str())
        raise UsageError(f"librdkafka rejects a Kafka property: {text}") from None
    until = time.monotonic() + timeout_s
    while True:
        try:
            client.list_topics(timeout=min(1.0, timeout_s))
            return
        except KafkaException as error:
            client.poll(0)
            errors = [*rejections, error.args[0]]
            known = next((each for each in errors if each.code() in _TLS | _LOGIN), None)
            if known is not None or time.monotonic() > until:
                raise BrokerError(_why(connection, known or errors[0])) from None


def _why(connection: Connection, error: KafkaError) -> str:
    text, at = connection.hide(error.str()), connection.bootstrap
    if error.code() in _LOGIN:
        check = "check sasl.mechanism, sasl.username and sasl.password"
        return f"the Kafka cluster at {at} rejects the login; {check}: {text}"
    if error.code() in _TLS:
        return (
            f"TLS with the Kafka cluster at {at} fails; check security.protocol and ssl.ca.location: {text}"
        )
    return f"no Kafka cluster answers at {at}: {text}"
