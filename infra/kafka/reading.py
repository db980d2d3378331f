"""How committed records are read: in a group, or outside any."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from infra.kafka.connection import Connection

FETCH_WAIT_MS: Final = 100
"""A broker answers a fetch at once when there is something, else after so long: an end of a partition is known as
late, and a reader with nothing to read costs as many requests (ADR 22)."""
REBALANCE_MS: Final = 10_000
"""A rebalance waits at most so long for a member that is not heard of (ADR 28)."""
TUNABLE: Final = frozenset({"max.poll.interval.ms", "session.timeout.ms", "heartbeat.interval.ms"})
"""Of a group's member: a connection's own values replace ours, since they depend on the network and the task."""
COMMITTED: Final[Mapping[str, Any]] = MappingProxyType(
    {
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        # A reader that silently went on elsewhere would leave a hole. Who reads says where to begin.
        "auto.offset.reset": "error",
        "isolation.level": "read_committed",
        # Without the events for partition ends nobody knows whether a partition is caught up: positions never
        # reach the last stable offset, since commit markers lie between.
        "enable.partition.eof": True,
        "fetch.wait.max.ms": FETCH_WAIT_MS,
        # The default of 1000 ms holds consumption at a tenth: each time the queue has been full.
        "fetch.queue.backoff.ms": 5,
    }
)
"""What all who read the loop's own progress have in common."""


def consumer_config(connection: Connection, group_id: str, properties: Mapping[str, Any]) -> dict[str, Any]:
    """Return the configuration of a group's consumer."""
    config: dict[str, Any] = {**COMMITTED, "group.id": group_id, "queued.min.messages": 20000}
    # A rebalance waits so long for members that are not heard of. A broker that was killed has been seen to forget
    # (4.1) that members of before have sessions that expire: nobody consumed for the default of five minutes. A
    # callback of a rebalance may last longer, as a restoration does, as long as no other rebalance begins. Whoever
    # restores for longer, and often, sets it higher (ADR 28).
    config["max.poll.interval.ms"] = REBALANCE_MS
    # Partitions that are added are shared out within seconds; the default is five minutes.
    config["topic.metadata.refresh.interval.ms"] = 5_000
    if properties.get("group.protocol", "classic") == "classic":
        config |= {
            "partition.assignment.strategy": "range",
            "session.timeout.ms": 6000,
            "heartbeat.interval.ms": 500,
        }
    config |= {name: value for name, value in connection.properties.items() if name in TUNABLE}
    return connection.config(**{**config, **properties})
