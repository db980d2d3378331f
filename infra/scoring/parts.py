"""A file that is written in parts: whatever ends the run, the next one goes on after the last whole part."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from infra.scoring.forms import Form
from schemas.errors import UsageError
from streams.batch_scoring import ScoredRow

ABOUT: Final = "run.json"
ASIDE: Final = ".tmp"


class Part(NamedTuple):
    """A whole part; its name says the same, so that a rename makes the part and its counts appear together."""

    number: int
    rows: int
    failed: int

    @property
    def name(self) -> str:
        """The file's name."""
        return f"{self.number:08}-{self.rows}-{self.failed}"


class Parts:
    """The parts of a file, in a folder beside it.

    A part is written aside, flushed to disk and renamed. The file is made of all parts in the same way, then the
    folder is removed. So a run that was interrupted anywhere and continues gives the bytes of one that was not.

    Parameters
    ----------
    target
        The file to be made.

    Raises
    ------
    UsageError
        Another process writes it at this moment.
    """

    def __init__(self, target: Path) -> None:
        self.target = target
        self.folder = target.with_name(f"{target.name}.parts")
        self._handle: int | None = None

    def about(self) -> dict[str, Any] | None:
        """Return what the run is about that has left parts; None where there is none."""
        try:
            found: dict[str, Any] = json.loads((self.folder / ABOUT).read_bytes())
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise UsageError(f"{self.folder / ABOUT} cannot be read: {error}; remove the folder") from error
        return found

    def open(self, about: Mapping[str, Any], *, force: bool = False) -> list[Part]:
        """Begin a run, or go on with it; returns the parts that are there.

        Parameters
        ----------
        about
            What fixes the bytes, as plain data.
        force
            Whether to replace the file, and drop parts of another run.

        Raises
        ------
        UsageError
            The file is there, or the parts are those of another run, or another process writes them.
        """
        there = self.about()
        if there is None and self.target.exists() and not force:
            raise UsageError(f"{self.target} exists; use --force to replace it, or --out for another file")
        if there is not None and there != dict(about):
            differs = sorted(key for key in {*there, *about} if there.get(key) != about.get(key))
            if not force:
                raise UsageError(
                    f"{self.folder} has parts of another run (other {', '.join(differs)}): repeat that command, or "
                    "use --force to drop them"
                )
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock()
        if there != dict(about):
            for each in self.folder.iterdir():
                each.unlink()
            self._put(ABOUT, json.dumps(dict(about), indent=1, sort_keys=True).encode())
        for each in self.folder.glob(f"*{ASIDE}"):
            each.unlink()
        return self.done()

    def _lock(self) -> None:
        self._handle = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self.close()
            raise UsageError(f"another process is writing {self.target}") from None

    def close(self) -> None:
        """Let other processes write the file."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def done(self) -> list[Part]:
        """Return the whole parts in their order."""
        names = [each.name for each in self.folder.iterdir() if each.name != ABOUT]
        found = sorted(Part(*map(int, name.split("-"))) for name in names if not name.endswith(ASIDE))
        if [each.number for each in found] != [*range(len(found))]:
            raise UsageError(f"{self.folder} lacks a part: remove the folder, and run the command again")
        return found

    def write(self, number: int, form: Form, rows: Sequence[ScoredRow]) -> Part:
        """Write a part."""
        part = Part(number, len(rows), sum(bool(row.failure) for row in rows))
        aside = self.folder / f"{part.name}{ASIDE}"
        with aside.open("wb") as file:
            form.write_part(file, rows)
            file.flush()
            os.fsync(file.fileno())
        self._rename(aside, self.folder / part.name)
        return part

    def finish(self, form: Form) -> None:
        """Make the file of its parts, and remove them."""
        aside = self.folder / f"whole{ASIDE}"
        with aside.open("wb") as file:
            form.join(file, (self.folder / part.name for part in self.done()))
            file.flush()
            os.fsync(file.fileno())
        self._rename(aside, self.target)
        shutil.rmtree(self.folder)
        self.close()

    def _put(self, name: str, data: bytes) -> None:
        aside = self.folder / f"{name}{ASIDE}"
        with aside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        self._rename(aside, self.folder / name)

    def _rename(self, aside: Path, place: Path) -> None:
        aside.replace(place)
        folder = os.open(place.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
