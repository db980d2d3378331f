"""The client for services without a broker: what it imports, what it repeats, which addresses it takes."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import chain, repeat
from pathlib import Path

import pytest

from infra.client.http import HttpClient
from schemas.errors import CallFailed, UsageError

ROOT = Path(__file__).parents[2]
ANSWER = {"request_id": "r-1", "ts": 5, "score": 0.5, "label": False, "version": "lr.1@7"}
NOT_READY = {"reason": "not_ready", "detail": "the models are not ready"}


@contextmanager
def answering(*statuses: int, retry_after: str = "0") -> Iterator[tuple[str, list[dict[str, object]]]]:
    """A server that answers with these statuses, the last one for ever; gives its address and what it was sent."""
    ahead = chain(statuses, repeat(statuses[-1]))
    sent: list[dict[str, object]] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            sent.append({"path": self.path, "token": self.headers["Authorization"], **json.loads(body)})
            status = next(ahead)
            data = json.dumps(ANSWER if status == 200 else NOT_READY).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            if status == 503:
                self.send_header("Retry-After", retry_after)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", sent
        finally:
            server.shutdown()
            thread.join()


def test_a_call_is_repeated_while_a_worker_is_not_ready() -> None:
    with answering(503, 503, 200) as (url, sent), HttpClient(url, "orders", token="t") as client:
        assert client.score("r-1", {"x": 1}).version == "lr.1@7"
        assert [each["request_id"] for each in sent] == ["r-1"] * 3
        assert sent[0]["path"] == "/tasks/orders/predictions"
        assert sent[0]["token"] == "Bearer t"


def test_what_the_worker_rejects_is_not_repeated() -> None:
    with answering(422) as (url, sent), HttpClient(url, "orders") as client:
        with pytest.raises(CallFailed, match="the models are not ready") as failed:
            client.report("r-1", True, ts=5)
        assert (failed.value.status, failed.value.reason) == (422, "not_ready")
        assert len(sent) == 1


def test_no_try_starts_after_the_time_for_all_of_them() -> None:
    with answering(503, retry_after="60") as (url, sent), HttpClient(url, "orders") as client:
        with pytest.raises(CallFailed, match="not_ready"):
            client.score("r-1", {})
        assert len(sent) == 1


def test_nobody_there_is_an_error_with_the_address() -> None:
    with answering(200) as (url, _):
        pass
    with HttpClient(url, "orders", retry_s=0.3) as client, pytest.raises(CallFailed) as failed:
        client.score("r-1", {})
    assert (failed.value.status, failed.value.reason) == (0, "unreachable")
    assert url.removeprefix("http://") in str(failed.value)


@pytest.mark.parametrize("url", ["127.0.0.1:8080", "ftp://host:1", "http://", "http://host:PORT"])
def test_an_address_must_be_one(url: str) -> None:
    with pytest.raises(UsageError, match="http://HOST:PORT"):
        HttpClient(url, "orders")


@pytest.mark.parametrize(
    ("module", "without"),
    [("infra.client.http", "fastavro confluent_kafka aiohttp"), ("infra.client.kafka", "aiohttp")],
)
def test_a_service_imports_no_models_and_no_worker(module: str, without: str) -> None:
    foreign = f"river faust mode numpy click rich streams agents {without}".split()
    code = f"import sys, {module}; print(*set({foreign!r}) & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.split() == []
