"""Questions for the ends of partitions: clients come and go, brokers hang and come back, and the process stays."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import pytest

from infra.embedded.broker import EmbeddedBroker
from infra.embedded.pytest_plugin import Broker
from infra.kafka.admin import create_topics
from infra.kafka.buffers import Partition
from infra.kafka.connection import Connection
from infra.kafka.offsets import end_offsets
from infra.kafka.stable import StableOffsets
from schemas.errors import BrokerError
from schemas.topics import topics

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(180)]
CLIENTS = 100
TIMEOUT_S = 2.0
"""Shorter than a broker hangs in these tests."""


def test_clients_that_are_closed_take_nobody_with_them(broker: Broker, task_name: str) -> None:
    """In a process of its own: librdkafka aborts the one in which it is ended by its own thread."""
    create_topics(Connection(broker.bootstrap), topics(task_name, 4))
    with asking(broker.bootstrap, task_name, each_its_own=True) as process:
        answered(process, CLIENTS)


def test_brokers_that_hang_or_are_killed_do_not_end_who_asks(task_name: str) -> None:
    with EmbeddedBroker() as broker, ExitStack() as stack:
        create_topics(Connection(broker.bootstrap), topics(task_name, 4))
        processes = [
            stack.enter_context(asking(broker.bootstrap, task_name, each_its_own))
            for each_its_own in (True, True, True, False)
        ]
        for _ in range(3):
            for process in processes:
                answered(process, 20)
            os.kill(broker.pid, signal.SIGSTOP)
            time.sleep(3.0)
            os.kill(broker.pid, signal.SIGCONT)
        broker.kill()
        broker.start()
        for process in processes:
            answered(process, 20)


@contextmanager
def asking(bootstrap: str, task: str, each_its_own: bool) -> Iterator[subprocess.Popen[str]]:
    """Ask in a process of its own until the end of the block, which it has to survive."""
    command = [sys.executable, __file__, bootstrap, task, str(each_its_own)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
            assert process.poll() is None
        finally:
            process.kill()
        assert process.stderr is not None
        assert "Assert" not in process.stderr.read()


def answered(process: subprocess.Popen[str], count: int) -> None:
    """Wait for a number of whole answers."""
    assert process.stdout is not None
    left = count
    while left:
        line = process.stdout.readline()
        assert line, "the process has ended"
        left -= line == "4\n"


async def _ask(bootstrap: str, task: str, each_its_own: str) -> None:
    connection = Connection(bootstrap)
    stable = StableOffsets(connection, TIMEOUT_S)
    places = [Partition(f"{task}.requests", number) for number in range(4)]
    while True:
        answer: asyncio.Future[dict[Partition, int]] = asyncio.get_running_loop().create_future()
        stable.ask(places, answer.set_result)
        print(len(await answer), flush=True)
        if each_its_own == "True":
            stable.close()
            with suppress(BrokerError):
                end_offsets(connection, places)


if __name__ == "__main__":
    asyncio.run(_ask(*sys.argv[1:]))
