"""What each family of Kafka clients has to be set to, from its own source or documentation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from schemas.topics import PARTITIONER

UNCOMMITTED: Final = "the default returns aborted records, too"


@dataclass(frozen=True, slots=True)
class Client:
    """A family of clients.

    Parameters
    ----------
    family
        Language and name.
    partitioner
        What places a keyed record as Java's producer does.
    isolation
        What makes a consumer return committed records only.
    source
        Where both are said: project, and file or page.
    """

    family: str
    partitioner: str
    isolation: str
    source: str


CLIENTS: Final = (
    Client(
        "Java, Kafka Streams (kafka-clients)",
        "the default: `partitioner.class` unset",
        f"`isolation.level=read_committed`; {UNCOMMITTED}",
        "apache/kafka: `BuiltInPartitioner.java`, `ConsumerConfig.java`",
    ),
    Client(
        "librdkafka: Python (confluent-kafka), Go (confluent-kafka-go), .NET, C, Rust (rdkafka), "
        "Node (node-rdkafka)",
        f"`partitioner={PARTITIONER}`; the default, `consistent_random`, hashes with CRC32",
        "`isolation.level=read_committed`, which is the default",
        "confluentinc/librdkafka: `CONFIGURATION.md`",
    ),
    Client(
        "Python (kafka-python)",
        "the default",
        f'`isolation_level="read_committed"`, in releases since April 2025; {UNCOMMITTED}, and so do all older '
        "releases",
        "dpkp/kafka-python: `kafka/partitioner/default.py`, pull request 2582",
    ),
    Client(
        "Python (aiokafka)",
        "the default",
        f'`isolation_level="read_committed"`; {UNCOMMITTED}',
        "aio-libs/aiokafka: `aiokafka/partitioner.py`, `aiokafka/consumer/consumer.py`",
    ),
    Client(
        "Go (franz-go)",
        "the default, which hashes keys as Java does",
        f"`kgo.FetchIsolationLevel(kgo.ReadCommitted())`; {UNCOMMITTED}",
        "twmb/franz-go: `pkg/kgo/config.go`, `pkg/kgo/partitioner.go`",
    ),
    Client(
        "Go (Sarama)",
        "`Producer.Partitioner` with Java's murmur2, by `NewCustomPartitioner(WithAbsFirst(), "
        "WithCustomHashFunction(…))`; all that it brings hash with FNV-1a, `NewReferenceHashPartitioner` too",
        f"`Consumer.IsolationLevel = sarama.ReadCommitted`; {UNCOMMITTED}",
        "IBM/sarama: `partitioner.go`, `config.go`",
    ),
    Client(
        "Go (kafka-go)",
        "`Balancer: kafka.Murmur2Balancer{}`; the default is round robin and ignores keys",
        f"`IsolationLevel: kafka.ReadCommitted`; {UNCOMMITTED}",
        "segmentio/kafka-go: `balancer.go`, `writer.go`, `reader.go`",
    ),
    Client(
        "Node (KafkaJS)",
        "from version 2 on the default; in version 1 `Partitioners.JavaCompatiblePartitioner`",
        "the default: `readUncommitted` unset",
        "tulios/kafkajs: `src/producer/partitioners/`, `src/index.js`, release notes of 2.0.0",
    ),
)


def rows() -> list[Sequence[str]]:
    """Return the table of the families, its head first."""
    head = ("client", "partitioner, with the key set", "isolation", "source")
    return [head, *((each.family, each.partitioner, each.isolation, each.source) for each in CLIENTS)]
