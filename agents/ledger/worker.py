"""A worker process of the ledger: with settings and faults of its own, and a life that can be interrupted."""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from agents.cli.processes import WorkerProcess
from agents.declared import environment_name
from infra.kafka.connection import Connection
from schemas.errors import BrokerError

SETTLED_S: Final = 5.0


class LedgerWorker(WorkerProcess):
    """A worker whose process can be started with faults, stopped in mid-air, and continued.

    Parameters
    ----------
    reference
        The task.
    connection
        The cluster.
    folder
        For its log, its slot and the snapshots.
    number
        Its number; its slot is named after it, and stays the same however often it is started.
    settings
        Of the worker, by name as in `agents.settings.Settings`.
    """

    def __init__(
        self, reference: str, connection: Connection, folder: Path, number: int, **settings: Any
    ) -> None:
        super().__init__(reference, connection, folder, number)
        self.number = number
        self.settings: dict[str, str] = {key: str(value) for key, value in settings.items()}
        """A fault may change them; they hold from the next start on."""
        self.slot = f"ledger-{number}"
        self.failures: list[str] = []
        """Deaths that nobody asked for, and stops that were not in order."""
        self._doomed = False
        """Whether this start has a crash point."""
        self._base = self._environment | {"RIVERLOOP_SLOT": self.slot}

    def __repr__(self) -> str:
        state = f"pid {self.pid}" if self.running else "not running"
        return f"LedgerWorker({self.number}, {state})"

    def start(self, **environment: str) -> None:
        """Start the process.

        Parameters
        ----------
        environment
            For this start only, by name without the prefix: `crash_point="after-commit:3"`, `abort_rate="0.1"`.
        """
        self.look()
        self._doomed = "crash_point" in environment
        told = self.settings | environment
        self._environment = self._base | {environment_name(key): value for key, value in told.items()}
        super().start()

    def look(self) -> None:
        """Take down when the process has ended by itself; a death at a crash point was asked for."""
        if self._process is None or (code := self._process.poll()) is None:
            return
        if not (self._doomed and code == -signal.SIGKILL):
            self.failures.append(
                f"worker {self.number} ended by itself with {code}; see {self.log_file.name}"
            )
        self._close()

    def stop(self, timeout_s: float = 20.0) -> None:
        """Stop it in order (SIGTERM); anything but exit code 0 in time is a failure."""
        self.look()
        process = self._process
        super().stop(timeout_s)
        if process is not None and process.returncode != 0:
            code = process.returncode
            self.failures.append(
                f"worker {self.number} ended with {code} when it was stopped; see {self.log_file.name}"
            )

    def kill(self) -> None:
        """Kill it as a crash would (SIGKILL)."""
        self.look()
        super().kill()

    @property
    def running(self) -> bool:
        """Whether the process lives; one that is paused does."""
        return self._process is not None and self._process.poll() is None

    def pause(self) -> None:
        """Stop it in mid-air (SIGSTOP)."""
        if self._process is not None:
            self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on after `pause` (SIGCONT)."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)

    def wait_ended(self, timeout_s: float = 60.0) -> int:
        """Wait until it has ended by itself; gives the exit code, negative for a signal.

        Raises
        ------
        subprocess.TimeoutExpired
            When it has not.
        """
        if self._process is None:
            return 0
        code = self._process.wait(timeout_s)
        self._close()
        return code

    @property
    def log(self) -> str:
        """What it has logged since its first start."""
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""


class OtherWorker(LedgerWorker):
    """A worker of another loop on the same topics and codec: any command.

    It is run with the task, `--bootstrap`, `--group` and `--data`; it has no HTTP, so that all that is known of
    its readiness is that it lives.
    """

    def __init__(
        self,
        command: Sequence[str],
        reference: str,
        connection: Connection,
        folder: Path,
        number: int,
        **settings: Any,
    ) -> None:
        super().__init__(reference, connection, folder, number, **settings)
        data = folder / f"worker-{number}"
        data.mkdir(exist_ok=True)
        told = {"--bootstrap": connection.bootstrap, "--group": self.settings["group"], "--data": str(data)}
        self._command = [*command, reference, *(word for pair in told.items() for word in pair)]

    def stop(self, timeout_s: float = 20.0) -> None:
        """Stop it (SIGTERM); how another loop ends is not judged."""
        self.look()
        WorkerProcess.stop(self, timeout_s)

    def wait_ready(self, timeout_s: float = SETTLED_S) -> None:
        """Wait until it has lived for a while.

        Raises
        ------
        BrokerError
            When it has ended.
        """
        until = time.monotonic() + min(timeout_s, SETTLED_S)
        while time.monotonic() < until:
            if not self.running:
                raise BrokerError(f"{self._command[:3]} has ended; see {self.log_file}")
            time.sleep(0.1)
