"""What a look-up in Redis adds to a call over HTTP: `python -m tests.benchmarks.lookups [CALLS]`.

Both tasks are served by one process, without Kafka's acknowledgement, and asked in turn: what else runs on the
machine falls on both alike.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from infra.features.reader import LookupReader
from infra.features.redis_store import RedisFeatures
from infra.kafka.transaction import OutRecord
from infra.kafka.writer import Delivery
from infra.redis_client import Address
from schemas.feature_row import FeatureRow, RowKey
from schemas.records import Position
from streams.lookup import Lookup, Lookups
from tests.unit import http_worker
from tests.unit.http_worker import SENT, make_http_task, serving
from tests.valkey import Valkey

LOOKUP = Lookup("meals", {"customer": "entity_key"}, ("LeadTime",), timeout_ms=1000, required=True)
WARM = 100


class Acknowledged:
    """A writer that acknowledges at once."""

    def send(self, record: OutRecord) -> Delivery:
        delivery: Delivery = asyncio.get_running_loop().create_future()
        delivery.set_result(Position(record.topic, 0, 0))
        return delivery


async def measure(calls: int, url: str) -> dict[str, list[float]]:
    """Return by task how long each call took (ms)."""
    plain = make_http_task("plain")
    made = http_worker.make_task
    http_worker.make_task = lambda name: replace(made(name), lookup=(LOOKUP,))
    looked = make_http_task("looked")
    store, counts = RedisFeatures(Address(url), 1.0), looked.statistics.counts
    rows = [
        FeatureRow(RowKey.of("meals", {"customer": f"c-{n}"}), 1, {"LeadTime": n % 50}) for n in range(1000)
    ]
    store.write(rows, {"meals": ("LeadTime",)})
    task = looked.context.task
    reader = LookupReader("looked", Lookups(task.lookup, task.features), store, counts)
    looked.server.additions.append(Lookups.check)
    tasks = {"plain": plain, "looked": replace(looked, lookups=reader)}
    took: dict[str, list[float]] = {name: [] for name in tasks}
    async with serving(tasks, Acknowledged()) as client:
        for number in range(calls + WARM):
            for name in tasks:
                features = dict(SENT["features"])
                if name == "looked":
                    del features["LeadTime"]
                names = {
                    "request_id": f"r-{number}",
                    "entity_key": f"c-{number % 1000}",
                    "features": features,
                }
                began = time.perf_counter()
                reply = await client._client.post(f"/tasks/{name}/predictions", json=SENT | names)
                await reply.read()
                spent = (time.perf_counter() - began) * 1000
                assert reply.status == 200, await reply.text()
                if number >= WARM:
                    took[name].append(spent)
    assert counts["lookups"] == calls + WARM
    assert counts["lookups_late"] == counts["lookups_missing"] == 0
    reader.close()
    return took


def main(calls: int) -> None:
    """Print a table."""
    with tempfile.TemporaryDirectory() as folder, Valkey(Path(folder)) as server:
        took = asyncio.run(measure(calls, server.url))
    print(f"{'':8} {'p50':>7} {'p90':>7} {'p99':>7}  ms of {calls:,} calls each")
    for name, each in took.items():
        cut = statistics.quantiles(each, n=100)
        print(f"{name:8} {cut[49]:7.2f} {cut[89]:7.2f} {cut[98]:7.2f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2_000)
