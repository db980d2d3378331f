"""What HTTP costs without riverloop: a handler that writes the body to Kafka, and answers when it lies there.

`python -m tests.benchmarks.compare.bare_http HOST:PORT TOPIC` prints its address.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from aiohttp import web
from confluent_kafka import Producer


async def serve(bootstrap: str, topic: str) -> None:
    """Serve for ever on a free port."""
    loop = asyncio.get_running_loop()
    producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True})

    def poll() -> None:
        while True:
            producer.poll(0.1)

    threading.Thread(target=poll, daemon=True).start()

    async def predict(request: web.Request) -> web.Response:
        written: asyncio.Future[Any] = loop.create_future()

        def delivered(error: Any, _: Any) -> None:
            loop.call_soon_threadsafe(written.set_result, error)

        producer.produce(topic, await request.read(), on_delivery=delivered)
        return web.json_response({"written": await written is None})

    app = web.Application()
    app.router.add_post("/", predict)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print("http://{}:{}/".format(*runner.addresses[0]), flush=True)
    await asyncio.Event().wait()


@contextmanager
def bare_handler(bootstrap: str, topic: str) -> Iterator[str]:
    """Give the address of such a handler in a process of its own, for the block."""
    command = [sys.executable, "-m", "tests.benchmarks.compare.bare_http", bootstrap, topic]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.kill()


if __name__ == "__main__":
    asyncio.run(serve(*sys.argv[1:]))
