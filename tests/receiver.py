"""A receiver of webhooks in the test's process, which checks what the specification asks a receiver to check."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = b"0123456789abcdef0123456789abcdef"
SECRET = f"whsec_{base64.b64encode(KEY).decode()}"


@dataclass
class Received:
    """One call."""

    id: str
    body: dict[str, Any]
    valid: bool
    """Whether one of its signatures is that of our key."""
    signatures: int
    path: str


@dataclass
class Receiver:
    """Answers each call as `answer` says: with a status, and headers."""

    url: str = ""
    answer: Callable[[Received], tuple[int, dict[str, str]]] = lambda received: (204, {})
    calls: list[Received] = field(default_factory=list)

    @property
    def ids(self) -> list[str]:
        """Ids in the order in which they came."""
        return [each.id for each in self.calls]


@contextmanager
def receiving() -> Iterator[Receiver]:
    """Run a receiver on a free port of 127.0.0.1."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            event_id, timestamp, signatures = (
                self.headers.get(f"webhook-{name}", "") for name in ("id", "timestamp", "signature")
            )
            signed = b".".join([event_id.encode(), timestamp.encode(), body])
            wanted = base64.b64encode(hmac.new(KEY, signed, hashlib.sha256).digest()).decode()
            given = signatures.split()
            valid = f"v1,{wanted}" in given
            received = Received(event_id, json.loads(body), valid, len(given), self.path)
            receiver.calls.append(received)
            status, headers = receiver.answer(received)
            self.send_response(status)
            for name, value in {"content-length": "0", **headers}.items():
                self.send_header(name, value)
            self.end_headers()

        do_GET = do_POST  # noqa: N815  named by http.server

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    receiver.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
