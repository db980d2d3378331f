"""A folder of Parquet files, in which the names of the files say what is exported.

`day=2024-03-01/orders.log-0-000000000000-000000004711-of3.parquet` has the rows of that day from the offsets 0 to
4,710 of partition 0; the rows of these offsets lie in three files, one for each day. Ranges follow on one another,
and the next one is begun when all files of the one before are there. So only the newest can be incomplete.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from infra.frames.arrow import libraries
from schemas.errors import UsageError
from streams.positions import Place

DAY: Final = "day="
ABOUT: Final = "riverloop."
"""Begins what a file says of itself in its metadata."""
_NAME: Final = re.compile(r"(.+)-(\d+)-(\d{12,})-(\d{12,})-of(\d+)\.parquet\Z")


class OffsetFiles(NamedTuple):
    """The files of a range of offsets of one partition."""

    place: Place
    first: int
    end: int
    """The offset after the range."""
    files: int
    """How many files it has, one for each day."""

    @property
    def name(self) -> str:
        """The name of each of its files."""
        topic, partition = self.place
        return f"{topic}-{partition}-{self.first:012}-{self.end:012}-of{self.files}.parquet"

    @classmethod
    def of(cls, name: str) -> OffsetFiles | None:
        """Read a file's name; None for another file.

        Examples
        --------
        >>> OffsetFiles.of("a-b.log-0-000000000000-000000000017-of2.parquet")
        OffsetFiles(place=('a-b.log', 0), first=0, end=17, files=2)
        >>> OffsetFiles.of("notes.parquet")
        """
        found = _NAME.match(name)
        if found is None:
            return None
        return cls((found[1], int(found[2])), int(found[3]), int(found[4]), int(found[5]))


Newest = Mapping[Place, tuple[OffsetFiles, Mapping[str, Path]]]
"""By partition: the newest range, and its files by day."""


class Folder:
    """The exported files of one topic.

    Parameters
    ----------
    path
        Where they lie; made when something is written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        # Beside it, so that whoever reads the whole folder meets only files that are complete.
        self._aside = path.with_name(f".{path.name}.unfinished")
        self._handle: int | None = None

    def __enter__(self) -> Folder:
        self.path.mkdir(parents=True, exist_ok=True)
        self._handle = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._handle)
            raise UsageError(f"another process is writing {self.path}") from None
        shutil.rmtree(self._aside, ignore_errors=True)
        return self

    def __exit__(self, *failure: object) -> None:
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def files(self) -> list[Path]:
        """Return all exported files, by day and name."""
        found = self.path.glob(f"{DAY}*/*.parquet")
        return sorted(each for each in found if OffsetFiles.of(each.name) is not None)

    def newest(self) -> Newest:
        """Return the newest range of each partition with its files by day.

        Raises
        ------
        UsageError
            An offset lies in two ranges, so that rows are there twice.
        """
        ranges: dict[Place, dict[OffsetFiles, dict[str, Path]]] = {}
        for path in self.files():
            found = OffsetFiles.of(path.name)
            assert found is not None
            days = ranges.setdefault(found.place, {}).setdefault(found, {})
            days[path.parent.name.removeprefix(DAY)] = path
        newest = {}
        for place, by_range in ranges.items():
            ordered = sorted(by_range)
            for one, other in itertools.pairwise(ordered):
                if other.first < one.end:
                    raise UsageError(
                        f"{self.path} has offsets {other.first} to {min(one.end, other.end) - 1} of "
                        f"{place[0]}[{place[1]}] twice, in {one.name} and {other.name}: remove the files of one "
                        "of these names"
                    )
            newest[place] = (ordered[-1], by_range[ordered[-1]])
        return newest

    def write(self, tables: Mapping[str, Any], files: OffsetFiles, about: Mapping[str, str]) -> int:
        """Write the files of a range that are not there yet; returns how many.

        Parameters
        ----------
        tables
            The rows of each day.
        about
            What each file says of itself.
        """
        _, parquet = libraries()
        self._aside.mkdir(exist_ok=True)
        written = 0
        metadata = {f"{ABOUT}{name}": value for name, value in about.items()}
        for day, table in tables.items():
            target = self.path / f"{DAY}{day}" / files.name
            if target.exists():
                continue
            with (self._aside / f"{day}.tmp").open("wb") as file:
                parquet.write_table(table.replace_schema_metadata(metadata), file, compression="zstd")
                file.flush()
                os.fsync(file.fileno())
            if not target.parent.is_dir():
                target.parent.mkdir()
                _flush(self.path)
            (self._aside / f"{day}.tmp").replace(target)
            _flush(target.parent)
            written += 1
        self._aside.rmdir()
        return written


def about(path: Path) -> dict[str, str]:
    """Return what an exported file says of itself.

    Raises
    ------
    UsageError
        It cannot be read.
    """
    arrow, parquet = libraries()
    try:
        found = parquet.read_schema(path).metadata or {}
    except (arrow.ArrowException, OSError) as error:
        raise UsageError(f"{path} cannot be read ({error}): remove the files of that name") from error
    texts = {key.decode(): value.decode() for key, value in found.items()}
    return {key.removeprefix(ABOUT): value for key, value in texts.items() if key.startswith(ABOUT)}


def _flush(folder: Path) -> None:
    """Write a folder's names to disk."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
