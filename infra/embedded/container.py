"""Apache Kafka in a Docker container, for those who prefer it to the embedded broker.

The same version and the same settings. Needs ``pip install "riverloop[containers]"`` and a Docker engine.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from infra.embedded.broker_config import settings
from infra.embedded.child import Server
from infra.embedded.jars import KAFKA_VERSION
from infra.embedded.ports import free_pair
from infra.kafka.ready import wait_until_answers
from schemas.errors import BrokerError

if TYPE_CHECKING:
    from testcontainers.core.container import DockerContainer

START_TIMEOUT_S = 120.0
INSIDE = 9092


class ContainerBroker(Server):
    """One Apache Kafka in a container; used as `infra.embedded.broker.EmbeddedBroker` is.

    Parameters
    ----------
    image
        An image that takes Kafka's settings as ``KAFKA_…`` variables, as Apache's own does.
    """

    def __init__(self, image: str = f"apache/kafka:{KAFKA_VERSION}") -> None:
        self._image = image
        self._container: DockerContainer | None = None
        self._bootstrap = ""

    @property
    def bootstrap(self) -> str:
        """The address for clients, ``HOST:PORT``."""
        if not self._bootstrap:
            raise BrokerError("the broker in a container has no address before its start()")
        return self._bootstrap

    def start(self) -> None:
        """Start, and return when the broker answers a metadata request.

        Raises
        ------
        BrokerError
            testcontainers is not installed, no Docker engine answers, or the broker does not.
        """
        try:
            errors = import_module("docker.errors")
            from testcontainers.core.container import DockerContainer  # noqa: PLC0415
        except ImportError as error:
            raise BrokerError(
                'a broker in a container needs testcontainers: pip install "riverloop[containers]"'
            ) from error
        # The broker returns this address to clients, so the outer port is chosen before the start.
        port, _ = free_pair()
        try:
            container = DockerContainer(self._image).with_bind_ports(INSIDE, port)
            host = container.get_container_host_ip()
            for name, value in {**settings(), **_layout(host, port)}.items():
                container.with_env(f"KAFKA_{name.upper().replace('.', '_')}", value)
            container.start()
        except errors.DockerException as error:
            raise BrokerError(
                f"no Docker engine could start {self._image}: {error}. Start Docker (`docker info` must "
                "answer), or use the embedded broker."
            ) from error
        self._container = container
        self._bootstrap = f"{host}:{port}"
        if reason := wait_until_answers(self._bootstrap, START_TIMEOUT_S, lambda: ""):
            out, err = container.get_logs()
            self.stop()
            last = "\n".join((out + err).decode("utf-8", "replace").splitlines()[-15:])
            raise BrokerError(f"Kafka in {self._image} did not start: {reason}. Its last lines:\n{last}")

    def stop(self) -> None:
        """Stop and remove the container with its data."""
        if self._container is not None:
            self._container.stop()
            self._container = None


def _layout(host: str, port: int) -> dict[str, str]:
    return {
        "node.id": "1",
        "process.roles": "broker,controller",
        "controller.quorum.voters": "1@localhost:9093",
        "listeners": f"PLAINTEXT://:{INSIDE},CONTROLLER://:9093",
        "advertised.listeners": f"PLAINTEXT://{host}:{port}",
        "controller.listener.names": "CONTROLLER",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
    }
