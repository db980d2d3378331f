"""The settings that each family of Kafka clients needs, from its source or documentation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import Final

from schemas.topics import PARTITIONER


@dataclass(frozen=True, slots=True)
class Client:
    """A family of clients.

    Parameters
    ----------
    family
        Language and name.
    default
        Its default partitioner of keyed records.
    partitioner
        Setting that partitions keyed records as Java's producer does.
    isolation
        Setting with which a consumer returns committed records only.
    source
        Files of the client's repository that define both.
    """

    family: str
    default: str
    partitioner: str
    isolation: str
    source: str


CLIENTS: Final = (
    Client(
        "Java, Kafka Streams (kafka-clients)",
        "murmur2",
        "default",
        "`isolation.level=read_committed`",
        "`BuiltInPartitioner.java`, `ConsumerConfig.java`",
    ),
    Client(
        "librdkafka: Python (confluent-kafka), Go (confluent-kafka-go), .NET, C, Rust (rdkafka), "
        "Node (node-rdkafka)",
        "CRC-32",
        f"`partitioner={PARTITIONER}`",
        "default: `isolation.level=read_committed`",
        "`CONFIGURATION.md`",
    ),
    Client(
        "Python (kafka-python)",
        "murmur2",
        "default",
        '`isolation_level="read_committed"` (since April 2025), and so do all older releases',
        "`kafka/partitioner/default.py`, pull request 2582",
    ),
    Client(
        "Python (aiokafka)",
        "murmur2",
        "default",
        '`isolation_level="read_committed"`',
        "`aiokafka/partitioner.py`, `aiokafka/consumer/consumer.py`",
    ),
    Client(
        "Go (franz-go)",
        "murmur2",
        "default",
        "`kgo.FetchIsolationLevel(kgo.ReadCommitted())`",
        "`pkg/kgo/config.go`, `pkg/kgo/partitioner.go`",
    ),
    Client(
        "Go (Sarama)",
        "FNV-1a",
        "`Producer.Partitioner = sarama.NewMurmur2Partitioner`",
        "`Consumer.IsolationLevel = sarama.ReadCommitted`",
        "`partitioner.go`, `config.go`",
    ),
    Client(
        "Go (kafka-go)",
        "round robin",
        "`Balancer: kafka.Murmur2Balancer{}`",
        "`IsolationLevel: kafka.ReadCommitted`",
        "`balancer.go`, `writer.go`, `reader.go`",
    ),
    Client(
        "Node (@platformatic/kafka)",
        "murmur2, all 32 bits",
        "`partitioner: compatibilityPartitioner`",
        "default",
        "`src/clients/producer/partitioners.ts`, `src/clients/consumer/options.ts`",
    ),
    Client(
        "Node (KafkaJS, without releases since 2023)",
        "murmur2",
        "default since version 2; before, `Partitioners.JavaCompatiblePartitioner`",
        "default",
        "`src/producer/partitioners/`, `src/index.js`, release notes of 2.0.0",
    ),
)


def rows() -> list[Sequence[str]]:
    """Return the table of the families, head first."""
    head = ("client", "its default", "partitioner", "isolation", "source")
    return [head, *(astuple(each) for each in CLIENTS)]
