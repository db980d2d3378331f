"""A child process under a watchdog, and the servers that run as one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from infra.embedded import watchdog


class Server(ABC):
    """A server that starts on entering a `with` block and stops on leaving it."""

    @abstractmethod
    def start(self) -> None:
        """Start, and return when it answers."""

    @abstractmethod
    def stop(self) -> None:
        """Stop it in good order."""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class Child:
    """A child process that ends when this process ends, even by SIGKILL.

    Parameters
    ----------
    command
        The program and its arguments.
    log_file
        Gets its standard output and error.
    remove
        Directory that is removed when this process ends without stopping it; None: none.
    environment
        Its environment; None: that of this process.
    """

    def __init__(
        self,
        command: Sequence[str],
        log_file: Path,
        remove: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        arguments = [str(os.getpid()), "-" if remove is None else str(remove), str(log_file), *command]
        self._watchdog = subprocess.Popen(  # noqa: S603  our own script, and a program that the caller names
            [sys.executable, "-IS", watchdog.__file__, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            # Ctrl-C reaches a terminal's whole group; the parent stops the child in its own order.
            start_new_session=True,
        )
        assert self._watchdog.stdout is not None
        self.pid = int(self._watchdog.stdout.readline() or 0)
        """Process id of the program; 0: it could not be run."""

    def poll(self) -> int | None:
        """Return the exit status; None while it runs."""
        return self._watchdog.poll()

    def end(self, how: signal.Signals, timeout_s: float) -> bool:
        """Send SIGTERM or SIGKILL and wait; returns False where it had to be killed after the time."""
        watched = self._watchdog
        assert watched.stdin is not None
        assert watched.stdout is not None
        try:
            # It may have ended by itself.
            with suppress(BrokenPipeError):
                watched.stdin.write(b"terminate\n" if how is signal.SIGTERM else b"kill\n")
                watched.stdin.flush()
            watched.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        finally:
            # End of file is the watchdog's order to kill, should anything above have failed.
            with suppress(BrokenPipeError):
                watched.stdin.close()
            watched.stdout.close()
            watched.wait()
        return True
