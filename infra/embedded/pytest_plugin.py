"""The pytest fixture `riverloop_broker`: a real Kafka for the tests of those who use riverloop.

Installed with riverloop; costs nothing in a test run that does not use it::

    def test_my_service_produces_requests(riverloop_broker):
        producer = confluent_kafka.Producer({"bootstrap.servers": riverloop_broker.bootstrap})

One broker for the whole run, so a test should use topics of its own. Which broker:

- the embedded one, unless said otherwise; the first run on a machine fetches it (44 MB);
- ``RIVERLOOP_BOOTSTRAP=HOST:PORT`` in the environment: the cluster there, which is left as it is found;
- ``pytest --riverloop-broker=container``: Apache Kafka in Docker, with ``riverloop[containers]``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import pytest

# Nothing of riverloop is imported up here: every pytest run on the machine would pay for it.

OPTION = "--riverloop-broker"


class Broker(Protocol):
    """What the fixture gives, whichever broker it is."""

    @property
    def bootstrap(self) -> str:
        """The address for clients, ``HOST:PORT``."""


@dataclass(frozen=True, slots=True)
class RunningCluster:
    """A cluster that somebody else runs.

    Parameters
    ----------
    bootstrap
        Its address, ``HOST:PORT``.
    """

    bootstrap: str


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the choice of broker."""
    parser.getgroup("riverloop").addoption(
        OPTION,
        choices=("embedded", "container"),
        default="embedded",
        help="Kafka started by the fixture riverloop_broker; RIVERLOOP_BOOTSTRAP selects a running one",
    )


@pytest.fixture(scope="session")
def riverloop_broker(request: pytest.FixtureRequest) -> Iterator[Broker]:
    """Return a running Kafka with its address in ``.bootstrap``; started once for the whole run."""
    if bootstrap := os.environ.get("RIVERLOOP_BOOTSTRAP"):
        yield RunningCluster(bootstrap)
    # The default is for a checkout whose entry points are not installed.
    elif request.config.getoption(OPTION, default="embedded") == "container":
        from infra.embedded.container import ContainerBroker  # noqa: PLC0415

        with ContainerBroker() as container:
            yield container
    else:
        from infra.embedded.broker import EmbeddedBroker  # noqa: PLC0415

        with EmbeddedBroker() as embedded:
            yield embedded
