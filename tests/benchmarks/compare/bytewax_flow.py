"""Contender: Bytewax, with its own Kafka connectors and its own join."""

from __future__ import annotations

from typing import Any, Final

from tests.benchmarks.compare.job import PREDICTION, Job, written
from tests.benchmarks.compare.run_config import RunConfig

BATCH: Final = 1000


def main(given: RunConfig) -> None:
    """Run until ended."""
    import bytewax.operators as op
    from bytewax.connectors.kafka import KafkaSink, KafkaSinkMessage, KafkaSource
    from bytewax.dataflow import Dataflow
    from bytewax.testing import run_main

    job = Job()
    flow: Any = Dataflow("bench")

    def source(name: str, topic: str) -> Any:
        config = {"fetch.queue.backoff.ms": "5"}
        return op.input(
            name, flow, KafkaSource([given.bootstrap], [topic], batch_size=BATCH, add_config=config)
        )

    def request(message: Any) -> tuple[str, dict[str, Any]]:
        found = job.request(message.value)
        return found["request_id"], found

    def outcome(message: Any) -> tuple[str, bool]:
        found = job.outcome(message.value)
        return found["request_id"], found["value"]

    def write(item: tuple[str, dict[str, Any]]) -> Any:
        return KafkaSinkMessage(item[0].encode(), written(PREDICTION, item[1]))

    def learn(item: tuple[str, tuple[dict[str, Any], bool]]) -> Any:
        return KafkaSinkMessage(item[0].encode(), job.example(*item[1]))

    def sink(topic: str) -> Any:
        return KafkaSink([given.bootstrap], topic, add_config={"linger.ms": "5"})

    scored = op.map("predict", source("requests", given.requests), request)
    truth = op.map("truth", source("outcomes", given.outcomes), outcome)
    op.output("predictions", op.map("write", scored, write), sink(given.predictions))
    joined = op.join("join", scored, truth)
    op.output("examples", op.map("learn", joined, learn), sink(given.examples))
    run_main(flow)
