"""A worker's slot: the stable name by which its transactional ids are known."""

from __future__ import annotations

import fcntl
import os
import socket
from pathlib import Path
from typing import IO

from infra.permissions import make_private
from schemas.errors import UsageError

SLOTS = 1000


class Slot:
    """The first free number on this machine, held by a file lock until the process ends, however it ends.

    A restarted worker takes the lowest free number, so it takes over the transactional ids of the one that
    died and fences what that one left open.

    Parameters
    ----------
    folder
        Where the lock files lie.
    group
        Workers of other groups have numbers of their own.
    name
        A name that the operator gives, and answers for; then no file is locked.
    """

    def __init__(self, folder: Path, group: str, name: str = "") -> None:
        self.name = name
        if name:
            return
        self._file: IO[str] | None = None
        for number in range(SLOTS):
            try:
                make_private(folder)
                file = (folder / f"{group}.{number}.lock").open("w")
            except OSError as error:
                raise UsageError(
                    f"the folder of slots {folder} cannot be written: {error.strerror}"
                ) from error
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                file.close()
                continue
            file.write(str(os.getpid()))
            file.flush()
            self._file = file
            self.name = f"{socket.gethostname()}-{number}"
            return
        raise UsageError(f"{SLOTS} workers run on this machine already; see {folder}")
