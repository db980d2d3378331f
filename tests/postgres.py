"""A real PostgreSQL for tests: Debian's package, run by a user without privileges, on a free port of 127.0.0.1."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Final

from infra.embedded.child import Child, Server
from infra.embedded.ports import free_pair

USER: Final = "riverloop"
READY_S: Final = 60.0
SETTINGS: Final = {
    "listen_addresses": "127.0.0.1",
    "wal_level": "logical",  # change streams are read from it
    "fsync": "off",
    "max_wal_senders": "4",
    "max_replication_slots": "4",
}


def programs() -> Path:
    """Give the folder with the programs of the newest version, which the package keeps out of the path."""
    found = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    newest = max(found, key=lambda path: int(re.sub(r"\D", "", path.parts[4]) or 0), default=None)
    assert newest is not None, "apt-get install postgresql"
    return newest.parent


class Postgres(Server):
    """A server whose superuser needs no password; its data go with it."""

    def __init__(self) -> None:
        self.port = free_pair()[0]
        # Not pytest's folder, which only the user who runs the tests may enter.
        self._folder = Path(tempfile.mkdtemp(prefix="riverloop-postgres-"))
        self._child: Child | None = None
        self._programs = programs()
        # It refuses to run as root.
        self._as_user: list[str] = []
        if os.geteuid() == 0:
            self._as_user = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
            shutil.chown(self._folder, "nobody", "nogroup")

    def start(self) -> None:
        """Make a database cluster, start it, and wait until it answers."""
        data, log_file = self._folder / "data", self._folder / "log"
        try:
            subprocess.run(
                [
                    *self._as_user,
                    *(self._programs / "initdb", "--pgdata", data, "--username", USER),
                    *("--auth", "trust", "--encoding", "UTF8", "--no-locale", "--no-sync"),
                ],
                check=True,
                capture_output=True,
                cwd="/",
            )
            options = [word for name, value in SETTINGS.items() for word in ("-c", f"{name}={value}")]
            command = [*self._as_user, str(self._programs / "postgres"), "-D", str(data)]
            command += ["-p", str(self.port), "-k", str(self._folder), *options]
            self._child = Child(command, log_file, self._folder)
            ends = time.monotonic() + READY_S
            while not self._answers():
                assert self._child.poll() is None, log_file.read_text()[-3000:]
                assert time.monotonic() < ends, log_file.read_text()[-3000:]
                time.sleep(0.1)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop it, whoever is connected."""
        child, self._child = self._child, None
        if child is not None:
            if child.poll() is None:
                os.kill(child.pid, signal.SIGINT)  # a fast shutdown; with SIGTERM it waits for its clients
            child.end(signal.SIGTERM, 20)
        shutil.rmtree(self._folder, ignore_errors=True)

    def run(self, *statements: str) -> str:
        """Run statements, each in a transaction of its own; gives what the last one prints."""
        where = ["-h", "127.0.0.1", "-p", str(self.port), "-U", USER, "-d", "postgres"]
        command = [str(self._programs / "psql"), *where, "-qtAX", "-v", "ON_ERROR_STOP=1"]
        text = "".join(f"{each};\n" for each in statements)
        done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def _answers(self) -> bool:
        ready = [str(self._programs / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        return subprocess.run(ready, check=False).returncode == 0
