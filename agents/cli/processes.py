"""Worker processes that belong to a command, and end with it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from agents.declared import environment_name
from infra.embedded.child import Server
from infra.embedded.ports import free_pair
from infra.kafka.connection import Connection
from infra.taskfile import load_task
from schemas.errors import BrokerError

READY_S = 180.0


class WorkerProcess(Server):
    """A `riverloop worker` as a child process, reached over HTTP.

    Parameters
    ----------
    folder
        For its log, its slot and the snapshots.
    number
        Its number among the workers.
    """

    def __init__(
        self, reference: str, connection: Connection, folder: Path, number: int, *, lockstep: bool = False
    ) -> None:
        self.reference = reference
        self.task = load_task(reference).task.name
        self.port = free_pair()[0]
        self.url = f"http://127.0.0.1:{self.port}"
        self.log_file = folder / f"worker-{number}.log"
        settings = {
            "bootstrap": connection.bootstrap,
            # By the environment, not the command line: other users of the machine can read that.
            "kafka_properties": "\n".join(f"{key}={value}" for key, value in connection.properties.items()),
            "http_port": str(self.port),
            "data": str(folder),
            "slot": f"demo-{number}",
            "lockstep": str(lockstep).lower(),
        }
        self._environment = os.environ | {environment_name(key): value for key, value in settings.items()}
        self._command = [sys.executable, "-m", "agents.cli.main", "worker", reference, "--with-parent"]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the process."""
        self._process = self._launch()

    def _launch(self) -> subprocess.Popen[bytes]:
        with self.log_file.open("ab") as log:
            return subprocess.Popen(  # noqa: S603  our own command
                self._command,
                env=self._environment,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd=Path(__file__).resolve().parents[2],
                # Ctrl-C is for the command, which then stops it in order; its standard input ends in any case.
                start_new_session=True,
            )

    def stop(self, timeout_s: float = 20.0) -> None:
        """Stop it gracefully, or else at once."""
        process = self._process
        if process is None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
        self._close()

    def kill(self) -> None:
        """Kill it as a crash would (SIGKILL)."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._close()

    def _close(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
        self._process = None

    # ------------------------------------------------------------------ over HTTP

    def get(self, path: str, timeout_s: float = 60.0) -> Any:
        """Ask it something.

        Raises
        ------
        BrokerError
            When the process has ended; the message ends with the last lines of its log.
        OSError
            When it does not answer.
        """
        if self._process is not None and self._process.poll() is not None:
            lines = self.log_file.read_text(errors="replace").splitlines()
            if lines and lines[-1].startswith("Error: "):
                raise BrokerError(f"the worker ended: {lines[-1].removeprefix('Error: ')}")
            tail = "\n".join(lines[-15:])
            raise BrokerError(
                f"the worker ended with exit code {self._process.returncode}; the end of {self.log_file}:\n{tail}"
            )
        with urllib.request.urlopen(self.url + path, timeout=timeout_s) as answer:  # noqa: S310  loopback
            return json.loads(answer.read())

    @property
    def pid(self) -> int:
        """Its process id; 0 while it does not run."""
        return self._process.pid if self._process else 0

    def wait_ready(self, timeout_s: float = READY_S) -> None:
        """Wait until it serves.

        Raises
        ------
        BrokerError
            When it has ended, or is not ready in time.
        """
        until = time.monotonic() + timeout_s
        while time.monotonic() < until:
            try:
                self.get("/ready", 5.0)
            except (OSError, urllib.error.HTTPError):
                time.sleep(0.1)
            else:
                return
        raise BrokerError(f"the worker is not ready after {timeout_s:.0f} s; see {self.log_file}")

    def wait_complete(self, offset: int) -> None:
        """Wait until it has applied everything up to the punctuation at an offset of `T.outcomes`."""
        self.get(f"/tasks/{self.task}/versions?complete={offset}&wait_s=60", 90.0)

    def status(self) -> dict[str, Any]:
        """Return its status."""
        found: dict[str, Any] = self.get(f"/tasks/{self.task}/status")
        return found
