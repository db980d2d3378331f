"""A folder that one process at a time may open."""

from __future__ import annotations

import fcntl
import time
from pathlib import Path
from typing import Final

from schemas.errors import UsageError

WAIT_S: Final = 30.0
"""Who holds it may be about to let go: a partition that was given up a moment ago."""


class FolderLock:
    """A lock on the file beside a folder, held until `release` or the end of the process, however it ends.

    Parameters
    ----------
    folder
        It need not be there, and may be deleted and made again under the lock.
    wait_s
        How long to wait for whoever holds it.

    Raises
    ------
    UsageError
        Somebody else still holds it.
    """

    def __init__(self, folder: Path, wait_s: float = WAIT_S) -> None:
        folder.parent.mkdir(parents=True, exist_ok=True)
        self._file = folder.with_name(folder.name + ".lock").open("w")
        ends = time.monotonic() + wait_s
        while True:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                if time.monotonic() < ends:
                    time.sleep(0.02)
                    continue
                self._file.close()
                raise UsageError(
                    f"another process has {folder} open: give each worker its own slot or data folder"
                ) from None
            return

    def release(self) -> None:
        """Let others have it."""
        self._file.close()
