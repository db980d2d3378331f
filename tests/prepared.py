"""Worker processes that are forked from one that has imported everything: importing takes most of a start.

They run what `python -m agents.cli.main` and `python -m tests.faults.child` run. Real starts are tested
by the demo, the fault harness and the pages.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Final

STARTS: Final = {"agents.cli.main": "main", "tests.faults.child": "run"}
"""By module: what it runs as a program."""
CONTEXT: Final = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload([*STARTS, "agents.app", "agents.cli.worker", "streams", "infra.verify"])


class Prepared:
    """A process of its own, with what the tests use of `subprocess.Popen`.

    Parameters
    ----------
    command
        `[python, "-m", MODULE, *arguments]`, where the module is one of `STARTS`.
    environment
        Its whole environment.
    log
        Gets its standard output and error.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        assert command[1] == "-m"
        assert command[2] in STARTS
        # The hash seed is the one of the process that it is forked from, and so are the imported modules.
        assert environment.get("PYTHONHASHSEED") == os.environ.get("PYTHONHASHSEED")
        read, self.stdin = CONTEXT.Pipe(duplex=False)
        self._process = CONTEXT.Process(
            target=_run, args=(command[2], [*command[2:]], dict(environment), read, str(log)), daemon=True
        )
        self._process.start()
        read.close()
        assert self._process.pid is not None
        self.pid: int = self._process.pid

    @property
    def returncode(self) -> int | None:
        """Its exit code; negative for a signal, None while it runs."""
        return self._process.exitcode

    def poll(self) -> int | None:
        """Return its exit code; None while it runs."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it has ended.

        Raises
        ------
        subprocess.TimeoutExpired
            It has not ended in time.
        """
        wait([self._process.sentinel], timeout)
        if (code := self._process.exitcode) is None:
            raise subprocess.TimeoutExpired("worker", timeout or 0.0)
        return code

    def send_signal(self, number: int) -> None:
        """Send it a signal, if it runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill it as a crash would."""
        self.send_signal(signal.SIGKILL)


def _run(module: str, words: list[str], environment: dict[str, str], stdin: Connection, log: str) -> None:
    os.setsid()
    os.environ.clear()
    os.environ.update(environment)
    out = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    for target, source in ((0, stdin.fileno()), (1, out), (2, out)):
        os.dup2(source, target)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115  it lives as long as the process
    sys.argv = words
    function: Any = getattr(import_module(module), STARTS[module])
    function()
