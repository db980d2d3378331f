"""Debian's Prometheus as a child process, with this folder's rules: for the demo, and for tests of the rules."""

from __future__ import annotations

import json
import re
import shutil
import signal
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from infra.embedded.child import Child, Server
from infra.embedded.ports import free_pair
from schemas.errors import RiverloopError, UsageError

FOLDER: Final = Path(__file__).parent
COMMAND: Final = "prometheus"
READY_S: Final = 20.0
STOP_S: Final = 10.0


def executable() -> str:
    """Return the path of the server's program.

    Raises
    ------
    UsageError
        When it is not installed; says how to install it.
    """
    found = shutil.which(COMMAND)
    if found is None:
        raise UsageError(
            f"{COMMAND} is not installed. On Debian and Ubuntu: sudo apt-get install prometheus; elsewhere "
            "add it to PATH"
        )
    return found


def configuration(
    targets: Sequence[str], every_s: int, folder: Path = FOLDER, hooks: Sequence[str] = ()
) -> str:
    r"""Return this folder's prometheus.yml for other workers.

    Alerts stay in the server: on a developer's machine nobody has set up an alertmanager, and what listens on
    its port there may be somebody else's.

    Parameters
    ----------
    targets
        The workers, `HOST:PORT` each.
    every_s
        Seconds between two scrapes, and between two evaluations of the rules.
    folder
        Where prometheus.yml and the rules lie.
    hooks
        The processes of `riverloop hooks run`, `HOST:PORT` each.

    Examples
    --------
    >>> text = configuration(["127.0.0.1:6066"], 1)
    >>> print(*[line for line in text.splitlines() if "targets" in line or "interval" in line], sep="\n")
      scrape_interval: 1s
      evaluation_interval: 1s
          - targets: ["127.0.0.1:6066"]
    >>> "alertmanagers" in text
    False
    """
    text = (folder / "prometheus.yml").read_text("utf-8")
    text = re.sub(r"^alerting:\n(?: .*\n)+", "", text, flags=re.MULTILINE)
    text = re.sub(r"(\w+_interval): \w+", rf"\1: {every_s}s", text)
    # Escaped for re: a target is data, no pattern. A JSON string is a YAML string, too.
    shown = json.dumps(list(targets)).replace("\\", r"\\")
    text = re.sub(r"(- targets:) .*", rf"\1 {shown}", text)
    if hooks:
        text = f"{text.rstrip()}\n  - job_name: riverloop-hooks\n    static_configs:\n"
        text += f"      - targets: {json.dumps(list(hooks))}\n"
    return re.sub(r"  - (\w+\.yml)", lambda found: f"  - {json.dumps(str(folder / found[1]))}", text)


class Prometheus(Server):
    """A Prometheus server on a free port of 127.0.0.1, gone when this process is gone.

    Parameters
    ----------
    folder
        For its configuration, data and log.
    targets
        The workers to scrape, `HOST:PORT` each.
    every_s
        Seconds between two scrapes.
    hooks
        The processes of `riverloop hooks run` to scrape, `HOST:PORT` each.

    Raises
    ------
    UsageError
        When it is not installed.
    """

    def __init__(
        self, folder: Path, targets: Sequence[str], every_s: int = 1, hooks: Sequence[str] = ()
    ) -> None:
        self._executable = executable()
        self._folder = folder
        self._targets, self._every_s, self._hooks = targets, every_s, hooks
        self.port = free_pair()[0]
        self.url = f"http://127.0.0.1:{self.port}"
        self.log_file = folder / "prometheus.log"
        self._child: Child | None = None

    def start(self) -> None:
        """Start, and return when it answers.

        Raises
        ------
        RiverloopError
            When it ended, or does not answer in time; names its log.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        file = self._folder / "prometheus.yml"
        file.write_text(configuration(self._targets, self._every_s, hooks=self._hooks), "utf-8")
        command = [
            self._executable,
            f"--config.file={file}",
            f"--storage.tsdb.path={self._folder / 'prometheus'}",
            f"--web.listen-address=127.0.0.1:{self.port}",
            "--log.level=warn",
        ]
        self._child = Child(command, self.log_file)
        try:
            self._wait_ready()
        except BaseException:
            self.stop()
            raise

    def _wait_ready(self) -> None:
        child = self._child
        assert child is not None
        until = time.monotonic() + READY_S
        while time.monotonic() < until and child.poll() is None:
            with suppress(OSError), urllib.request.urlopen(f"{self.url}/-/ready", timeout=1.0):  # noqa: S310  loopback
                return
            time.sleep(0.05)
        raise RiverloopError(f"Prometheus does not answer at {self.url}; see {self.log_file}")

    def stop(self) -> None:
        """Stop it; its folder stays."""
        child, self._child = self._child, None
        if child is not None:
            child.end(signal.SIGTERM, STOP_S)

    def ask(self, path: str, parameters: Mapping[str, str] | None = None) -> Any:
        """Ask its HTTP API; gives `data` of the answer.

        Parameters
        ----------
        path
            Below `/api/v1/`, for example `query`.
        parameters
            Of the call, for example `{"query": "up"}`.

        Raises
        ------
        RiverloopError
            With what the server says, for example where an expression is wrong.
        """
        query = urllib.parse.urlencode(parameters or {})
        try:
            with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{query}", timeout=30.0) as answer:  # noqa: S310  loopback
                return json.loads(answer.read())["data"]
        except urllib.error.HTTPError as error:
            with error:
                raise RiverloopError(
                    f"Prometheus rejected {path}?{query}: {error.read().decode()}"
                ) from error
