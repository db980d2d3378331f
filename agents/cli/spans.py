"""`riverloop spans`: spans of requests for an OpenTelemetry collector."""

from __future__ import annotations

import logging
import os
import signal
import threading
from contextlib import closing

import click

from agents.cli.cluster import cluster_options, connect, reading_codec
from agents.settings import from_environment
from infra.spans import Collector, SpanReader, follow
from infra.taskfile import load_task
from schemas.errors import UsageError

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
HEADERS = "OTEL_EXPORTER_OTLP_HEADERS"


@click.command(epilog="Example: riverloop spans task.py --endpoint http://127.0.0.1:4318 --share 0.01")
@click.argument("task")
@click.option("--endpoint", metavar="URL", help=f"Collector that takes OTLP over HTTP. [{ENDPOINT}]")
@click.option(
    "--share",
    type=click.FloatRange(0, 1),
    default=0.01,
    show_default=True,
    help="Share of the requests, chosen by their id.",
)
@click.option("--service", default="riverloop", show_default=True, help="service.name of the spans.")
@click.option("--group", help="The workers' consumer group. [RIVERLOOP_GROUP]")
@cluster_options
def spans(
    task: str,
    endpoint: str | None,
    share: float,
    service: str,
    group: str | None,
    bootstrap: str | None,
    properties: tuple[str, ...],
) -> None:
    """Send spans of TASK to an OpenTelemetry collector, until stopped.

    A request has the spans riverloop.prediction, riverloop.outcome and riverloop.learned, below the span of its
    header traceparent. They are made from the topics, not by workers. OTEL_EXPORTER_OTLP_HEADERS has headers
    for the collector, such as a token.
    """
    url = endpoint or os.environ.get(ENDPOINT, "")
    if not url.startswith(("http://", "https://")):
        raise UsageError(f"--endpoint {url!r} must be a URL that begins with http:// or https://")
    loaded = load_task(task)
    connection = connect(bootstrap, properties)
    name = group or from_environment("group") or "riverloop"
    logging.getLogger("infra.spans").setLevel(logging.INFO)
    ending = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ending.set())
    signal.signal(signal.SIGINT, lambda *_: ending.set())
    codec = reading_codec(loaded, connection, serving=False)
    collector = Collector(url, _headers(os.environ.get(HEADERS, "")), service, ending.wait)
    with closing(SpanReader(connection, codec, share, f"{name}.spans.{loaded.task.name}")) as reader:
        follow(reader, collector, ending.is_set)
    click.echo(f"sent {collector.sent} spans, dropped {collector.dropped}")


def _headers(text: str) -> dict[str, str]:
    found = {}
    for part in filter(None, (each.strip() for each in text.split(","))):
        name, equals, value = part.partition("=")
        if not equals:
            raise UsageError(f"{HEADERS} must be NAME=VALUE, separated by commas")
        found[name.strip()] = value.strip()
    return found
