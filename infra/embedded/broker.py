"""A real Apache Kafka as a child process: one node, KRaft, Java from a wheel, jars from the user's cache.

It lives on 127.0.0.1, without encryption or accounts unless configured otherwise: for the demo, for tests and for
trying things out.
"""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import signal
import tempfile
from pathlib import Path

from infra.embedded.broker_config import (
    PLAIN,
    Listener,
    earlier_ports,
    format_storage,
    java_command,
    write_config,
)
from infra.embedded.child import Child, Server
from infra.embedded.jars import Report, class_path
from infra.embedded.ports import are_free, free_pair
from infra.kafka.ready import wait_until_answers
from schemas.errors import BrokerError

START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 10.0
PORT_ATTEMPTS = 3

log = logging.getLogger(__name__)


class EmbeddedBroker(Server):
    """One Apache Kafka 4.1 broker, child of this process, gone when this process is gone.

    Parameters
    ----------
    data_dir
        Kept on `stop`, and found again with its topics and its port by the next broker given the same one.
        Without it a temporary directory, removed on `stop`.
    heap
        Java's largest heap, as ``-Xmx`` takes it.
    report
        Called with a sentence when the first start has to fetch Kafka.
    listener
        TLS and accounts, for those who test against them; without both unless said.

    Examples
    --------
    ::

        with EmbeddedBroker() as broker:
            producer = confluent_kafka.Producer({"bootstrap.servers": broker.bootstrap})
    """

    def __init__(
        self,
        data_dir: Path | None = None,
        heap: str = "512m",
        report: Report = log.info,
        listener: Listener = PLAIN,
    ) -> None:
        self._listener = listener
        self._given = data_dir is not None
        self._directory = data_dir.absolute() if data_dir else None
        self._heap = heap
        self._report = report
        self._ports: tuple[int, int] | None = None
        self._child: Child | None = None
        # Once clients may know the address, it stays.
        self._answered = False

    def __repr__(self) -> str:
        state = f"on {self.bootstrap}, pid {self.pid}" if self.running else "not running"
        return f"<EmbeddedBroker {state}, {self._directory or 'temporary directory'}>"

    @property
    def bootstrap(self) -> str:
        """The address for clients, ``127.0.0.1:PORT``; the same for every start of this object."""
        if self._ports is None:
            raise BrokerError("the embedded broker has no address before its first start()")
        return f"127.0.0.1:{self._ports[0]}"

    @property
    def log_file(self) -> Path:
        """The broker's own log, Java's standard output and error included."""
        if self._directory is None:
            raise BrokerError("the embedded broker has no log before its first start()")
        return self._directory / "broker.log"

    @property
    def pid(self) -> int:
        """Java's process id."""
        if self._child is None or not self.running:
            raise BrokerError("the embedded broker is not running")
        return self._child.pid

    @property
    def running(self) -> bool:
        """Whether Java runs; it may have died by itself, `log_tail` then says why."""
        return self._child is not None and self._child.poll() is None

    def start(self) -> None:
        """Start, and return when the broker answers a metadata request.

        Raises
        ------
        BrokerError
            Kafka cannot be fetched, or Java ended, or there was no answer in time; with the log's last lines.
        """
        if self.running:
            raise BrokerError(f"the embedded broker already runs on {self.bootstrap}")
        jars = class_path(self._report)
        fresh = self._directory is None
        if self._directory is None:
            self._directory = Path(tempfile.mkdtemp(prefix="riverloop-kafka-"))
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BrokerError(f"the broker's data directory cannot be made: {error}") from error
        _reject_if_in_use(self._directory)
        for attempt in range(1, PORT_ATTEMPTS + 1):
            try:
                self._ports = self._choose_ports(attempt)
                self._launch(jars)
                self._wait_until_ready()
                return
            except BrokerError:
                port_taken = "Address already in use" in self.log_tail(200)
                self._end(signal.SIGKILL)
                if not port_taken or attempt == PORT_ATTEMPTS:
                    # A broker that was up before has data that the next attempt may still find.
                    if fresh:
                        self._remove_temporary(keep_log=True)
                    raise
            except BaseException:
                # Such as Ctrl-C while waiting.
                self.stop()
                raise

    def stop(self) -> None:
        """Stop in good order, within seconds; the temporary directory is removed, a given one kept."""
        self._end(signal.SIGTERM)
        self._remove_temporary()

    def kill(self) -> None:
        """SIGKILL, as a crash would; `start` then runs again on the same data and the same port."""
        self._end(signal.SIGKILL)

    def log_tail(self, lines: int = 15) -> str:
        """Return the last lines of the broker's log, empty when there is none."""
        if self._directory is None or not self.log_file.exists():
            return ""
        with self.log_file.open("rb") as file:
            file.seek(max(0, self.log_file.stat().st_size - 200 * lines))
            return "\n".join(file.read().decode("utf-8", "replace").splitlines()[-lines:])

    def _choose_ports(self, attempt: int) -> tuple[int, int]:
        assert self._directory is not None
        earlier = self._ports or earlier_ports(self._directory)
        if earlier and are_free(earlier):
            # Only the first attempt insists: somebody may hold the port in a way that a bind does not show.
            return earlier if attempt == 1 or self._answered else free_pair()
        if earlier and self._answered:
            raise BrokerError(
                f"port {earlier[0]} or {earlier[1]} was taken by another process while the embedded broker "
                "was down. Free it and start again."
            )
        return free_pair()

    def _launch(self, jars: tuple[Path, ...]) -> None:
        assert self._directory is not None
        assert self._ports is not None
        server, logging_config = write_config(self._directory, *self._ports, self._listener)
        java = java_command(self._directory, jars, self._heap, logging_config)
        environment = _environment()
        if not (self._directory / "data" / "meta.properties").exists():
            status = format_storage(java, server, self.log_file, environment)
            if status:
                raise BrokerError(
                    self._with_log(f"its storage could not be formatted (exit status {status})")
                )
        self._child = Child(
            [*java, "kafka.Kafka", str(server)],
            self.log_file,
            None if self._given else self._directory,
            environment,
        )
        if not self._child.pid:
            raise BrokerError(self._with_log("Java could not be run"))

    def _wait_until_ready(self) -> None:
        child = self._child
        assert child is not None

        def ended() -> str:
            status = child.poll()
            return "" if status is None else f"Java ended with status {status} before it answered"

        if reason := wait_until_answers(self.bootstrap, START_TIMEOUT_S, ended, self._listener.client):
            raise BrokerError(self._with_log(reason))
        self._answered = True

    def _with_log(self, what: str) -> str:
        return (
            f"the embedded broker did not start: {what}. Its log is {self.log_file}; the last lines:\n"
            f"{self.log_tail()}"
        )

    def _end(self, how: signal.Signals) -> None:
        child, self._child = self._child, None
        if child is not None and not child.end(how, STOP_TIMEOUT_S):
            log.warning("the embedded broker did not stop within %.0f s; it was killed", STOP_TIMEOUT_S)

    def _remove_temporary(self, *, keep_log: bool = False) -> None:
        if self._given or self._directory is None:
            return
        if keep_log:
            # The error names the log: it must still be there to be read.
            for part in ("data", "tmp"):
                shutil.rmtree(self._directory / part, ignore_errors=True)
        else:
            shutil.rmtree(self._directory, ignore_errors=True)
        self._directory = None


def _environment() -> dict[str, str]:
    """Return our environment without what would change Java's options behind our back."""
    foreign = ("JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS", "CLASSPATH")
    return {name: value for name, value in os.environ.items() if name not in foreign}


def _reject_if_in_use(directory: Path) -> None:
    """Kafka locks its data itself; asking first keeps us from overwriting a running broker's files."""
    lock = directory / "data" / ".lock"
    if lock.exists():
        with lock.open("r+") as file:
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise BrokerError(
                    f"another broker runs on {directory}. Stop it, or choose another directory."
                ) from error
