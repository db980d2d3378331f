"""Attacks on a real worker's HTTP, without any token: others are answered meanwhile, and the log stays readable."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.embedded.pytest_plugin import Broker
from infra.kafka.connection import Connection
from tests.integration.loops import Loop, Worker, hotel_task, until

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]

LIVE = b"GET /live HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
MALFORMED = {
    "no HTTP": b"hello\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64),
    "a header without a colon": b"GET /live HTTP/1.1\r\nHost: a\r\nsecret-header\r\n\r\n",
    "a header too long": b"GET /live HTTP/1.1\r\nHost: a\r\nX: " + b"s" * 20_000 + b"\r\n\r\n",
    "headers too many": b"GET /live HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 5_000 + b"\r\n",
    "another version": b"GET /live HTTP/9.9\r\nHost: a\r\n\r\n",
    "a line too long": b"GET /" + b"s" * 20_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
    "two lengths": b"POST /tasks HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
    "a length of words": b"POST /tasks HTTP/1.1\r\nHost: a\r\nContent-Length: many\r\n\r\n",
    "chunks of no size": b"POST /tasks/TASK/outcomes HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n"
    b"Content-Type: application/json\r\n\r\nzz\r\nabc\r\n0\r\n\r\n",
    "no host at all": b"GET /live HTTP/1.1\r\n\r\n",
    "an address of brackets": b"GET http://[::1/live HTTP/1.1\r\nHost: a\r\n\r\n",
    "a zero byte": b"GET /live HTTP/1.1\r\nHost: a\r\nX: a\x00b\r\n\r\n",
}


@pytest.fixture(scope="module")
def worker(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    folder: Path = tmp_path_factory.mktemp("attacked")
    file = hotel_task(folder / "task", f"attacked-{uuid.uuid4().hex[:8]}")
    with Loop(
        f"{file}:cancellation_within_30_days", Connection(broker.bootstrap), folder, log_level="INFO"
    ) as loop:
        made = loop.worker()
        made.restart()
        yield made


def test_a_worker_on_every_address_is_reached_over_ipv6_too(
    worker: Worker, broker: Broker, tmp_path: Path
) -> None:
    file = hotel_task(tmp_path / "task", f"ipv6-{uuid.uuid4().hex[:8]}")
    reference = f"{file}:cancellation_within_30_days"
    with Loop(
        reference, Connection(broker.bootstrap), tmp_path, http_host="::", allow_unauthenticated_http=True
    ) as loop:
        made = loop.worker()
        made.restart()
        assert f"HTTP on http://[::]:{made.port}" in made.log
        for address in ("::1", "127.0.0.1"):
            with socket.create_connection((address, made.port), 30) as wire:
                assert b"200 OK" in rest(wire, LIVE)


def connect(worker: Worker, source: str = "127.0.0.1") -> socket.socket:
    return socket.create_connection(("127.0.0.1", worker.port), 30, (source, 0))


def said(worker: Worker, message: bytes, source: str = "127.0.0.1") -> bytes:
    """Send a message, and give all that comes until the worker closes the connection."""
    with connect(worker, source) as wire:
        return rest(wire, message)


def rest(wire: socket.socket, message: bytes = b"") -> bytes:
    found = b""
    with contextlib.suppress(ConnectionError):
        wire.sendall(message)
        while part := wire.recv(65_536):
            found += part
    return found


def call(worker: Worker, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, bytes]:
    reported = {"Host": f"127.0.0.1:{worker.port}", "Content-Type": "application/json"} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in reported.items())]
    lines += [f"Content-Length: {len(body)}", "Connection: close", "", ""]
    answer = said(worker, "\r\n".join(lines).encode() + body)
    head, _, data = answer.partition(b"\r\n\r\n")
    return int(head.split(b" ")[1]), data


class Probe:
    """Asks `/live` again and again, as a liveness probe does, and keeps the longest time that it took."""

    def __init__(self, worker: Worker) -> None:
        self._worker, self._ended = worker, threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.longest_s, self.answers = 0.0, 0

    def _run(self) -> None:
        while not self._ended.is_set():
            started = time.monotonic()
            assert b"200 OK" in said(self._worker, LIVE)
            self.longest_s = max(self.longest_s, time.monotonic() - started)
            self.answers += 1

    def __enter__(self) -> Probe:
        self._thread.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self._ended.set()
        self._thread.join()


def body_with_a_key_twice(size: int) -> bytes:
    keys = [f'"k{number}":1' for number in range(size // 11)]
    return f"{{{','.join([*keys, keys[-1]])}}}".encode()


@pytest.mark.parametrize("size", [212_000, 1_000_000])
def test_a_body_of_many_keys_does_not_stop_the_worker(worker: Worker, size: int) -> None:
    body = body_with_a_key_twice(size)
    assert len(body) > size * 0.9
    with Probe(worker) as probe:
        time.sleep(0.3)
        for path in ("predictions", "outcomes"):
            started = time.monotonic()
            status, answer = call(worker, "POST", f"/tasks/{worker.task}/{path}", body)
            assert (status, json.loads(answer)["reason"]) == (400, "malformed")
            assert time.monotonic() - started < 2.0
    assert probe.answers > 10
    assert probe.longest_s < 0.25


@pytest.mark.parametrize(
    "path", ["/table/", "/router/", "/graph/", "/performance/", "/table/x", "/router/x/y/"]
)
def test_faust_has_no_pages_of_its_own_here(worker: Worker, path: str) -> None:
    status, answer = call(worker, "GET", path)
    assert (status, json.loads(answer)["reason"]) == (404, "unknown_path")


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", "10.0.0.5", ""]
)
def test_a_name_that_is_not_this_machines_reports_no_outcome(worker: Worker, host: str) -> None:
    origin = f"http://{host}"  # of the page, whose own host this is after rebinding
    for method, path in (("POST", f"/tasks/{worker.task}/outcomes"), ("GET", "/metrics")):
        status, answer = call(worker, method, path, b"[]", Host=host, Origin=origin)
        assert (status, json.loads(answer)["reason"]) == (421, "unknown_host")


@pytest.mark.parametrize("origin", ["http://evil.example", "http://127.0.0.1:1", "null", "http://localhost"])
def test_a_page_of_elsewhere_reports_no_outcome(worker: Worker, origin: str) -> None:
    path = f"/tasks/{worker.task}/outcomes"
    status, answer = call(worker, "POST", path, b"[]", Origin=origin)
    assert (status, json.loads(answer)["reason"]) == (403, "foreign_origin")
    status, _ = call(worker, "POST", path, b"[]", Origin=worker.url)
    assert status == 202


def test_malformed_messages_leave_one_line_and_no_trace(worker: Worker) -> None:
    before = len(worker.log)
    for name, message in MALFORMED.items():
        answer = said(worker, message.replace(b"TASK", worker.task.encode()))
        assert answer.startswith((b"HTTP/1.1 400 Bad Request", b"HTTP/1.0 400 Bad Request")), name
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["reason"] == "bad_request", name
    until(lambda: "malformed HTTP message" in worker.log[before:], 5, "the log has the line")
    log = worker.log[before:]
    assert "Traceback" not in log
    assert log.count("\n") <= 2  # the first and the tenth one, say: not one line for each
    assert "secret" not in log
    assert "ssss" not in log


def test_a_head_that_never_ends_is_cut_off(worker: Worker) -> None:
    with connect(worker) as wire, connect(worker) as silent:
        started = time.monotonic()
        wire.sendall(b"GET /live HTTP/1.1\r\nHost: 127.0.0.1\r\n")
        wire.settimeout(0.4)
        answer, number = b"", 0
        while time.monotonic() - started < 20:
            try:
                part = wire.recv(65_536)
                answer += part
                if not part:
                    break
            except TimeoutError:
                number += 1
                wire.sendall(f"X-{number}: still here\r\n".encode())
            except ConnectionError:
                break
        assert 4.5 < time.monotonic() - started < 8
        assert answer.startswith(b"HTTP/1.1 408")
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["reason"] == "slow_head"
        assert rest(silent).startswith(b"HTTP/1.1 408")


def test_a_hundred_idle_live_pages_lock_nobody_out(worker: Worker) -> None:
    page = f"GET /tasks/{worker.task}/live/events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
    with contextlib.ExitStack() as stack:
        for number in range(150):
            source = "127.0.0.1" if number < 110 else f"127.0.0.{2 + number % 5}"
            wire = stack.enter_context(connect(worker, source))
            wire.sendall(page)
        time.sleep(1.0)
        for source in ("127.0.0.9", "127.0.0.1"):
            wire = stack.enter_context(connect(worker, source))
            wire.sendall(page)
            found = b""
            while b"event: whole" not in found:
                part = wire.recv(65_536)
                assert part, found
                found += part
            assert found.startswith(b"HTTP/1.1 200")


def test_idle_connections_lock_nobody_out(worker: Worker) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(400):
            stack.enter_context(connect(worker)).sendall(b"G")
        started = time.monotonic()
        for _ in range(5):
            assert b"200 OK" in said(worker, LIVE)
        assert time.monotonic() - started < 3.0
    assert "Traceback" not in worker.log
