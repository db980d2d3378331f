"""The settings that each family of Kafka clients needs, from its source or documentation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from schemas.topics import PARTITIONER


@dataclass(frozen=True, slots=True)
class Client:
    """A family of clients.

    Parameters
    ----------
    family
        Language and name.
    partitioner
        Setting that partitions keyed records as Java's producer does.
    isolation
        Setting with which a consumer returns committed records only.
    source
        Files of the client's repository that define both.
    """

    family: str
    partitioner: str
    isolation: str
    source: str


CLIENTS: Final = (
    Client(
        "Java, Kafka Streams (kafka-clients)",
        "default",
        "`isolation.level=read_committed`",
        "`BuiltInPartitioner.java`, `ConsumerConfig.java`",
    ),
    Client(
        "librdkafka: Python (confluent-kafka), Go (confluent-kafka-go), .NET, C, Rust (rdkafka), "
        "Node (node-rdkafka)",
        f"`partitioner={PARTITIONER}`; not the default",
        "default: `isolation.level=read_committed`",
        "`CONFIGURATION.md`",
    ),
    Client(
        "Python (kafka-python)",
        "default",
        '`isolation_level="read_committed"` (since April 2025), and so do all older releases',
        "`kafka/partitioner/default.py`, pull request 2582",
    ),
    Client(
        "Python (aiokafka)",
        "default",
        '`isolation_level="read_committed"`',
        "`aiokafka/partitioner.py`, `aiokafka/consumer/consumer.py`",
    ),
    Client(
        "Go (franz-go)",
        "default",
        "`kgo.FetchIsolationLevel(kgo.ReadCommitted())`",
        "`pkg/kgo/config.go`, `pkg/kgo/partitioner.go`",
    ),
    Client(
        "Go (Sarama)",
        "`Producer.Partitioner = NewCustomPartitioner(WithAbsFirst(), WithCustomHashFunction(murmur2))`; its own "
        "partitioners use FNV-1a",
        "`Consumer.IsolationLevel = sarama.ReadCommitted`",
        "`partitioner.go`, `config.go`",
    ),
    Client(
        "Go (kafka-go)",
        "`Balancer: kafka.Murmur2Balancer{}`; not the default",
        "`IsolationLevel: kafka.ReadCommitted`",
        "`balancer.go`, `writer.go`, `reader.go`",
    ),
    Client(
        "Node (KafkaJS)",
        "default since version 2; before, `Partitioners.JavaCompatiblePartitioner`",
        "default",
        "`src/producer/partitioners/`, `src/index.js`, release notes of 2.0.0",
    ),
)


def rows() -> list[Sequence[str]]:
    """Return the table of the families, head first."""
    head = ("client", "partitioner", "isolation", "source")
    return [head, *((each.family, each.partitioner, each.isolation, each.source) for each in CLIENTS)]
