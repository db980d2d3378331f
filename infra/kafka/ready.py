"""Waiting for a broker to answer."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from types import MappingProxyType
from typing import Final

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from infra.embedded.ports import listens

PAUSE_S = 0.05
NOTHING: Final[Mapping[str, str]] = MappingProxyType({})


def wait_until_answers(
    bootstrap: str, timeout_s: float, ended: Callable[[], str], properties: Mapping[str, str] = NOTHING
) -> str:
    """Wait for an answer to a metadata request that names a broker.

    Parameters
    ----------
    bootstrap
        ``HOST:PORT`` of the only broker.
    timeout_s
        How long to wait, in seconds.
    ended
        Asked between attempts; a sentence when waiting on is pointless, else empty.
    properties
        What a client needs beside the address.

    Returns
    -------
    str
        Empty when it answered, else why not.
    """
    deadline = time.monotonic() + timeout_s
    with ExitStack() as closing:
        client: AdminClient | None = None
        while time.monotonic() < deadline:
            if reason := ended():
                return reason
            if client is None and listens(bootstrap):
                # No log: refused connections are expected until it answers.
                config: dict[str, str | int] = {
                    "bootstrap.servers": bootstrap,
                    "log_level": 0,
                    "reconnect.backoff.max.ms": 100,
                }
                client = closing.enter_context(AdminClient({**properties, **config}))
            if client is not None:
                try:
                    # A broker that the controller still fences is not in the list.
                    if client.list_topics(timeout=1.0).brokers:
                        return ""
                except KafkaException:
                    pass
            time.sleep(PAUSE_S)
    return f"it did not answer within {timeout_s:.0f} s"
