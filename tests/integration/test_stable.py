"""Questions for the ends of partitions: clients come and go, and the process stays."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest

from infra.embedded.pytest_plugin import Broker
from infra.kafka.admin import create_topics
from infra.kafka.buffers import Partition
from infra.kafka.connection import Connection
from infra.kafka.stable import StableOffsets
from schemas.topics import topics

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(120)]
CLIENTS = 200


def test_a_client_that_is_given_up_takes_nobody_with_it(broker: Broker, task_name: str) -> None:
    """In a process of its own: librdkafka aborts the one in which it is ended by its own thread."""
    create_topics(Connection(broker.bootstrap), topics(task_name, 4))
    reported = subprocess.run(
        [sys.executable, __file__, broker.bootstrap, task_name],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert reported.stderr == ""
    assert reported.returncode == 0
    assert reported.stdout.split() == [str(n) for n in range(CLIENTS)]


async def _ask(bootstrap: str, task: str) -> None:
    """Say of each answer that it comes from a leader of before, as after a restart of the cluster."""
    stable = StableOffsets(Connection(bootstrap))
    places = [Partition(f"{task}.requests", number) for number in range(4)]
    for n in range(CLIENTS):
        answered: asyncio.Future[dict[Partition, int]] = asyncio.get_running_loop().create_future()
        stable.ask(places, answered.set_result)
        stable.stale = True
        assert await answered == dict.fromkeys(places, 0)
        print(n, flush=True)


if __name__ == "__main__":
    asyncio.run(_ask(*sys.argv[1:]))
