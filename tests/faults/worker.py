"""A worker process of the harness: its settings and faults, and ways to interrupt it."""

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
from tests.faults.child import through_child

SETTLED_S: Final = 5.0


class HarnessWorker(WorkerProcess):
    """A worker whose process can be started with faults, suspended and resumed.

    It runs `riverloop worker` through `tests.faults.child`, which injects the faults.

    Parameters
    ----------
    reference
        The task.
    connection
        The cluster.
    folder
        For its log, its slot and the snapshots.
    number
        Its number. Its slot is derived from it, and is the same at every start.
    settings
        Of the worker, by name as in `agents.settings.Settings`.
    """

    def __init__(
        self, reference: str, connection: Connection, folder: Path, number: int, **settings: Any
    ) -> None:
        super().__init__(reference, connection, folder, number)
        self._command = through_child(self._command)
        self.number = number
        self.settings: dict[str, str] = {key: str(value) for key, value in settings.items()}
        """A fault may change them; they apply from the next start on."""
        self.slot = f"faults-{number}"
        self.failures: list[str] = []
        """Unexpected deaths, and stops with an error."""
        self._expects_crash = False
        """Whether this start has a crash point."""
        self._base = self._environment | {
            "RIVERLOOP_SLOT": self.slot,
            # Half of the workers interleave as on a slow machine.
            "RIVERLOOP_SHORT_TURNS": str(number % 2 == 1).lower(),
        }

    def __repr__(self) -> str:
        state = f"pid {self.pid}" if self.running else "not running"
        return f"HarnessWorker({self.number}, {state})"

    def start(self, **environment: str) -> None:
        """Start the process.

        Parameters
        ----------
        environment
            Settings and faults for this start only, by name without the prefix: `snapshot_every="300"`,
            `crash_point="after-commit:3"`, see `tests.faults.injection`.
        """
        self.poll()
        self._expects_crash = "crash_point" in environment
        variables = self.settings | environment
        self._environment = self._base | {environment_name(key): value for key, value in variables.items()}
        super().start()

    def poll(self) -> None:
        """Record a failure if the process has ended unexpectedly; a death at a crash point is expected."""
        if self._process is None or (code := self._process.poll()) is None:
            return
        if not (self._expects_crash and code == -signal.SIGKILL):
            self.failures.append(
                f"worker {self.number} ended unexpectedly with {code}; see {self.log_file.name}"
            )
        self._close()

    def stop(self, timeout_s: float = 20.0) -> None:
        """Stop it gracefully (SIGTERM); any exit code but 0 within the time-out is a failure."""
        self.poll()
        process = self._process
        super().stop(timeout_s)
        if process is not None and process.returncode != 0:
            code = process.returncode
            self.failures.append(
                f"worker {self.number} ended with {code} when it was stopped; see {self.log_file.name}"
            )

    def kill(self) -> None:
        """Kill it as a crash would (SIGKILL)."""
        self.poll()
        super().kill()

    @property
    def running(self) -> bool:
        """Whether the process is alive, suspended or not."""
        return self._process is not None and self._process.poll() is None

    def pause(self) -> None:
        """Suspend it (SIGSTOP)."""
        if self._process is not None:
            self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Resume it after `pause` (SIGCONT)."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)


class ForeignWorker(HarnessWorker):
    """A worker of another loop on the same topics and codec, started by any command.

    The command gets the task, `--bootstrap`, `--group` and `--data`. It has no HTTP: it counts as ready when it has
    been alive for some seconds.
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
        options = {
            "--bootstrap": connection.bootstrap,
            "--group": self.settings["group"],
            "--data": str(data),
        }
        self._command = [*command, reference, *(word for pair in options.items() for word in pair)]

    def stop(self, timeout_s: float = 20.0) -> None:
        """Stop it (SIGTERM); its exit code does not matter."""
        self.poll()
        WorkerProcess.stop(self, timeout_s)

    def wait_ready(self, timeout_s: float = SETTLED_S) -> None:
        """Wait until it has been alive for some seconds.

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
