"""`riverloop spans`: from the caller's span to what was learned, by a reader beside the loop."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from infra.embedded.pytest_plugin import Broker
from infra.inbound import TRACEPARENT
from infra.kafka.connection import Connection
from infra.kafka.log import read_all
from infra.kafka.offsets import committed_offsets
from schemas.records import Outcome, Request
from schemas.topics import PARTITIONER
from streams.tracing import SERVER
from tests.integration.loops import Loop, Worker, command, hotel_task, until

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]
TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


class Collected:
    """What a collector got; answers each call with the next of `statuses`, then with 200."""

    def __init__(self) -> None:
        self.statuses: list[int] = []
        self.calls = 0
        self.spans: list[dict[str, Any]] = []
        self.authorizations: set[str] = set()
        self.url = ""

    def of(self, request_id: str) -> dict[str, dict[str, Any]]:
        """Give the spans of a request by name."""
        wanted = {"key": "riverloop.request_id", "value": {"stringValue": request_id}}
        return {span["name"]: span for span in self.spans if wanted in span["attributes"]}


@contextmanager
def collecting() -> Iterator[Collected]:
    """Run a collector on a free port of 127.0.0.1."""
    found = Collected()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            found.calls += 1
            status = found.statuses.pop(0) if found.statuses else 200
            if status == 200 and self.path == "/v1/traces":
                found.authorizations.add(self.headers.get("authorization", ""))
                for resource in body["resourceSpans"]:
                    found.spans += [span for scope in resource["scopeSpans"] for span in scope["spans"]]
            self.send_response(status)
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def reading(loop: Loop, collected: Collected, log: Path, share: str = "1") -> Iterator[None]:
    """Run the command beside the loop; SIGTERM ends it with exit code 0."""
    options = ["--endpoint", collected.url, "--share", share, "--group", loop.task.name]
    words, environment, folder = command("spans", loop.loaded.reference, *options)
    environment |= {"RIVERLOOP_BOOTSTRAP": loop.connection.bootstrap}
    environment |= {"OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer of-this-test"}
    with log.open("ab") as output:
        process = subprocess.Popen(words, env=environment, cwd=folder, stdout=output, stderr=output)
        try:
            yield
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0, log.read_text()
        finally:
            process.kill()
            process.wait()


class Services:
    """Sends requests and outcomes to a loop, over its topics and over HTTP."""

    def __init__(self, loop: Loop, worker: Worker) -> None:
        self._loop, self._worker = loop, worker
        self._producer = Producer(loop.connection.config(partitioner=PARTITIONER))
        self._probes = 0

    def send(self, topic: str, record: Request | Outcome, parent: str = "") -> None:
        """Send a record, with a header `traceparent` where there is one."""
        headers: list[tuple[str, str | bytes | None]] = [("traceparent", parent.encode())] if parent else []
        value = self._loop.codec.encode(record)
        self._producer.produce(topic, value, record.request_id.encode(), headers=headers)
        assert self._producer.flush(10) == 0

    def call(self, request: Request, parent: str = "", name: str = "") -> None:
        """Ask over HTTP, under a new id if it is given none, with a header `traceparent` where there is one."""
        self._probes += 1
        name = name or f"probe-{self._probes}"
        body = {"request_id": name, "ts": request.ts, "features": dict(request.features)}
        url = f"{self._worker.url}/tasks/{self._loop.task.name}/predictions"
        kind = {"Content-Type": "application/json"} | ({"traceparent": parent} if parent else {})
        urllib.request.urlopen(
            urllib.request.Request(url, json.dumps(body).encode(), kind), timeout=10
        ).close()


@pytest.fixture
def loop(broker: Broker, tmp_path: Path, task_name: str) -> Iterator[Loop]:
    reference = f"{hotel_task(tmp_path, task_name)}:cancellation"
    with Loop(reference, Connection(broker.bootstrap), tmp_path, partitions=2) as made:
        made.started(1)
        yield made


def begun(services: Services, loop: Loop, found: Collected) -> None:
    """Wait until the reader reads: it begins with what is written after its start."""
    request = loop.events(1)[0].request

    def sent() -> bool:
        services.call(request)
        return bool(found.spans)

    until(sent, 60, "the reader sends spans")


def test_a_request_is_traced_from_its_caller_to_what_was_learned(loop: Loop, tmp_path: Path) -> None:
    services, log = Services(loop, loop.workers[0]), tmp_path / "spans.log"
    asked, other = loop.events(2)
    with collecting() as found:
        found.statuses = [503]  # once: it is sent again
        with reading(loop, found, log):
            begun(services, loop, found)
            services.send(loop.topics.requests, asked.request, f"00-{TRACE}-{CALLER}-01")
            services.send(loop.topics.requests, other.request, "00-not-valid-01")
            until(lambda: found.of(asked.request.request_id) and found.of(other.request.request_id), 30)
            services.send(loop.topics.outcomes, asked.outcomes[0])
            until(lambda: len(found.of(asked.request.request_id)) == 3, 30, "its outcome is learned")
    spans = found.of(asked.request.request_id)
    predicted, waited, learned = (spans[f"riverloop.{name}"] for name in ("prediction", "outcome", "learned"))
    assert {span["traceId"] for span in spans.values()} == {TRACE}
    parents = [span["parentSpanId"] for span in (predicted, waited, learned)]
    assert parents == [CALLER, predicted["spanId"], waited["spanId"]]
    for span in spans.values():
        assert int(span["startTimeUnixNano"]) <= int(span["endTimeUnixNano"])
    assert learned["startTimeUnixNano"] == waited["endTimeUnixNano"]
    (entry,) = (offset for offset, each in loop.entries() if each.kind == "labelled")
    assert {"key": "riverloop.log_offset", "value": {"intValue": str(entry)}} in learned["attributes"]
    own = found.of(other.request.request_id)["riverloop.prediction"]
    assert own["traceId"] != TRACE
    assert "parentSpanId" not in own
    assert found.authorizations == {"Bearer of-this-test"}
    assert "the collector answered 503" in log.read_text()
    assert "Traceback" not in log.read_text()


def test_a_call_over_http_goes_on_with_the_trace_of_its_caller(loop: Loop, tmp_path: Path) -> None:
    services, log = Services(loop, loop.workers[0]), tmp_path / "spans.log"
    (asked,) = loop.events(1)
    name = asked.request.request_id
    with collecting() as found, reading(loop, found, log):
        begun(services, loop, found)
        services.call(asked.request, f"00-{TRACE}-{CALLER}-01", name)
        services.call(asked.request, "00-not-valid-01", "invalid")
        until(lambda: found.of(name) and found.of("invalid"), 30)
        services.send(loop.topics.outcomes, asked.outcomes[0])
        until(lambda: len(found.of(name)) == 3, 30, "its outcome is learned")
    spans = found.of(name)
    predicted = spans["riverloop.prediction"]
    assert {span["traceId"] for span in spans.values()} == {TRACE}
    assert (predicted["parentSpanId"], predicted["kind"]) == (CALLER, SERVER)
    # From the call to the topic, which waits for its batch.
    assert int(predicted["startTimeUnixNano"]) < int(predicted["endTimeUnixNano"])
    own = found.of("invalid")["riverloop.prediction"]
    assert own["traceId"] != TRACE
    assert "parentSpanId" not in own
    carried = {}
    for number in range(loop.partitions):
        for message in read_all(loop.connection, loop.topics.predictions, number):
            carried[(message.key() or b"").decode()] = {header[0] for header in message.headers() or ()}
    assert TRACEPARENT in carried[name]
    assert TRACEPARENT not in carried["invalid"] | carried["probe-1"]


def test_the_reader_goes_on_where_it_has_ended_and_finds_callers_again(loop: Loop, tmp_path: Path) -> None:
    services, log = Services(loop, loop.workers[0]), tmp_path / "spans.log"
    asked, other = loop.events(2)
    with collecting() as found:
        with reading(loop, found, log):
            begun(services, loop, found)
        services.send(loop.topics.requests, asked.request, f"00-{TRACE}-{CALLER}-01")
        with reading(loop, found, log):
            until(lambda: found.of(asked.request.request_id), 30, "nothing in between is left out")
        services.send(loop.topics.outcomes, asked.outcomes[0])
        with reading(loop, found, log):
            until(lambda: len(found.of(asked.request.request_id)) == 3, 30, "its outcome is learned")
        assert found.of(asked.request.request_id)["riverloop.learned"]["traceId"] == TRACE
        ids = [span["spanId"] for span in found.spans]
        assert len(ids) == len(set(ids)), "nothing is sent twice"
        services.send(loop.topics.requests, other.request)
        with reading(loop, found, log, share="0"):
            until(lambda: offset_reached(loop), 30, "it has read all")
        assert [span["spanId"] for span in found.spans] == ids, "of no request"


def offset_reached(loop: Loop) -> bool:
    """Whether the reader has committed all predictions."""
    places = [(loop.topics.predictions, number) for number in range(loop.partitions)]
    group = f"{loop.task.name}.spans.{loop.task.name}"
    committed = committed_offsets(loop.connection, group, places)
    last = {
        place: max((message.offset() or 0 for message in read_all(loop.connection, *place)), default=-1) + 1
        for place in places
    }
    return all(committed.get(place, 0) >= end for place, end in last.items())
