"""An echo member as a process of its own, to be killed: `python -m tests.integration.echo_child JSON`.

Stops when its standard input ends. With `stop_at` it stops itself (SIGSTOP) at that crash point, once, as a
machine does that hangs.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
from collections.abc import Mapping
from typing import Any

from infra.kafka.channel import Channel
from infra.kafka.connection import Connection
from tests.faults.injection import InjectedFaults
from tests.integration.echo import EchoMember


class Hangs(InjectedFaults):
    """Stops the process instead of killing it."""

    def __init__(self, environment: Mapping[str, str], stop_at: str) -> None:
        super().__init__(environment)
        self.stop_at = stop_at
        self.passes = 0

    def reached(self, point: str) -> None:
        self.passes += point == self.stop_at
        if self.passes == 3 and point == self.stop_at:
            self.passes += 1
            os.kill(os.getpid(), signal.SIGSTOP)
        super().reached(point)


async def main(settings: dict[str, Any]) -> None:
    """Run until standard input ends."""
    channels = [
        Channel(name=name, topics=tuple(topics), max_batch=settings["max_batch"])
        for name, topics in settings["channels"].items()
    ]
    member = EchoMember(
        Connection(settings["bootstrap"]),
        settings["group_id"],
        settings["name"],
        channels,
        settings["output"],
        hooks=Hangs(os.environ, settings.get("stop_at", "")),
        timeout_ms=settings.get("timeout_ms", 10_000),
    )
    await member.start()
    await asyncio.to_thread(sys.stdin.read)
    await member.stop()


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    asyncio.run(main(json.loads(sys.argv[1])))
