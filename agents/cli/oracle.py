"""Runs River's evaluator in a child process beside the loop."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from agents.cli.failing import in_one_line, is_debugged
from infra.taskfile import load_task
from schemas.errors import UsageError
from streams.aggregates.aggregates import aggregated
from streams.baselines import baselines
from streams.oracle import river_metrics


class OracleProcess:
    """Runs River's evaluator for each model of a task.

    Parameters
    ----------
    reference, data, limit
        The task, its data file if not its own, and how many requests of it.
    """

    def __init__(self, reference: str, data: str | None, limit: int | None) -> None:
        arguments = json.dumps({"reference": reference, "data": data, "limit": limit, "debug": is_debugged()})
        self._command = [sys.executable, "-m", "agents.cli.oracle", arguments]
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start it."""
        root = str(Path(__file__).resolve().parents[2])
        path = os.pathsep.join(part for part in (root, os.environ.get("PYTHONPATH", "")) if part)
        self._process = subprocess.Popen(  # noqa: S603  our own command
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env=os.environ | {"PYTHONPATH": path},
        )

    def result(self) -> dict[str, dict[str, float]]:
        """Wait for it; returns the metrics by model and baseline, with the number of rows `n`.

        Raises
        ------
        UsageError
            When the evaluator failed: with the model and what it raised.
        """
        if self._process is None:
            self.start()
        assert self._process is not None
        assert self._process.stdout is not None
        text = self._process.stdout.read()
        if self._process.wait():
            raise UsageError(f"River's evaluator ended with exit code {self._process.returncode}")
        found: dict[str, Any] = json.loads(text)
        if isinstance(found.get("error"), str):
            raise UsageError(f"River's evaluator failed: {found['error']}")
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    pipe.close()


def _end_with_parent() -> None:
    while os.read(0, 4096):
        pass
    os._exit(1)


def main() -> None:
    """Do the work of the process."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    arguments = json.loads(sys.argv[1])
    found: dict[str, Any] = {}
    model = ""
    try:
        with contextlib.redirect_stdout(sys.stderr):  # what the task file prints is not ours
            loaded = load_task(arguments["reference"])
            events = aggregated(loaded.task, loaded.events(arguments["data"], arguments["limit"]))
            for each in (*loaded.task.models, *baselines(loaded.task, loaded.task.models)):
                model = f"model {each.name!r}: "
                found[each.name] = river_metrics(loaded.task, each, events)
    except Exception as error:
        if arguments["debug"]:
            raise
        found = {"error": model + in_one_line(error)}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
