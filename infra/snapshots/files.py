"""The files of a snapshot store: in folders of this machine, or wherever fsspec reaches.

Both read regular files of a bounded size and nothing else, and raise `OSError` or `ValueError` for all the rest.
"""

from __future__ import annotations

import os
import shutil
import stat
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, Protocol

from infra.hooks import reached
from infra.permissions import make_private, open_regular, writable_because

FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
NEW_FILE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class StoreFiles(Protocol):
    """What the store needs of its files; a place is a task, a version and the name of a file."""

    whole: bool
    """Whether a version appears and disappears in one step, with all of its files."""

    def names(self, task: str) -> list[str]:
        """List what lies in a task's folder; nothing when there is no folder."""

    def exists(self, task: str, version: str) -> bool:
        """Whether anything of that name lies in the task's folder."""

    def read(self, task: str, version: str, name: str, most: int) -> bytes:
        """Read a regular file of at most `most` bytes."""

    def size(self, task: str, version: str, name: str) -> int:
        """Return the size of a regular file, in bytes."""

    def write(self, task: str, version: str, files: Mapping[str, bytes]) -> None:
        """Write a version that is not there yet; its last file last."""

    def remove(self, task: str, version: str, last: str) -> None:
        """Remove a version, or whatever lies in its place; the file that was written last goes first."""


class LocalFiles:
    """Folders that only this user reads and writes (0700, files 0600), opened without following links.

    Parameters
    ----------
    root
        The store's folder. It may be reached through links; what lies in it may not be one.
    signed
        Whether manifests are signed. If not, nothing is read that others could have written.
    """

    whole = True

    def __init__(self, root: str, *, signed: bool) -> None:
        self._root, self._signed = Path(root), signed

    def names(self, task: str) -> list[str]:
        """List what lies in a task's folder; nothing when there is no folder."""
        try:
            with self._folder(task) as folder:
                return os.listdir(folder)  # noqa: PTH208  a descriptor
        except FileNotFoundError:
            return []

    def exists(self, task: str, version: str) -> bool:
        """Whether anything of that name lies in the task's folder, a link that leads nowhere included."""
        try:
            with self._folder(task) as folder:
                os.stat(version, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return True

    def read(self, task: str, version: str, name: str, most: int) -> bytes:
        """Read a regular file of at most `most` bytes."""
        with self._folder(task, version) as folder, open_regular(_part(name), folder) as file:
            found = os.fstat(file.fileno())
            self._check(found)
            if found.st_size > most:
                raise ValueError(f"it has more than {most:,} bytes")
            # It may grow while it is read.
            return _bounded(file.read(most + 1), most)

    def size(self, task: str, version: str, name: str) -> int:
        """Return the size of a regular file, in bytes."""
        with self._folder(task, version) as folder:
            found = os.stat(_part(name), dir_fd=folder, follow_symlinks=False)
        if not stat.S_ISREG(found.st_mode):
            raise OSError("it is not a regular file")
        return found.st_size

    def write(self, task: str, version: str, files: Mapping[str, bytes]) -> None:
        """Write a version aside, flush it to disk and rename it: it is whole or absent."""
        make_private(self._root)
        with self._folder() as root, suppress(FileExistsError):
            os.mkdir(_part(task), 0o700, dir_fd=root)
        with self._folder(task) as folder:
            aside = _aside(version)
            os.mkdir(aside, 0o700, dir_fd=folder)
            try:
                with self._folder(task, aside) as inner:
                    for name, data in files.items():
                        with open(os.open(name, NEW_FILE, 0o600, dir_fd=inner), "wb") as file:  # noqa: PTH123
                            file.write(data)
                            file.flush()
                            os.fsync(file.fileno())
                        reached("in-snapshot")
                    os.fsync(inner)
                # Fails where another worker has written the version meanwhile.
                os.rename(aside, _part(version), src_dir_fd=folder, dst_dir_fd=folder)
                os.fsync(folder)
            except BaseException:
                with suppress(FileNotFoundError):
                    _remove(aside, folder)
                raise

    def remove(self, task: str, version: str, last: str) -> None:
        """Remove a version, or whatever lies in its place, in one step for those who read."""
        with suppress(FileNotFoundError), self._folder(task) as folder:
            aside = _aside(version)
            os.rename(_part(version), aside, src_dir_fd=folder, dst_dir_fd=folder)
            _remove(aside, folder)

    @contextmanager
    def _folder(self, *parts: str) -> Iterator[int]:
        """Open a folder of the store, step by step from its root."""
        handle = os.open(self._root, FOLDER)
        try:
            self._check(os.fstat(handle))
            for part in parts:
                inner = os.open(_part(part), FOLDER | os.O_NOFOLLOW, dir_fd=handle)
                os.close(handle)
                handle = inner
                self._check(os.fstat(handle))
            yield handle
        finally:
            os.close(handle)

    def _check(self, found: os.stat_result) -> None:
        if not self._signed and (why := writable_because(found)):
            raise OSError(f"it {why}, and no key says whether it is ours")


class RemoteFiles:
    """Files that fsspec reaches.

    Parameters
    ----------
    files
        An fsspec file system.
    root
        The store's place in it.
    """

    whole = False

    def __init__(self, files: Any, root: str) -> None:
        self._files, self._root = files, root.rstrip("/")

    def names(self, task: str) -> list[str]:
        """List what lies in a task's folder; nothing when there is no folder."""
        with _translated():
            place = self._place(task)
            try:
                found = self._files.ls(place, detail=False, refresh=True)
            except FileNotFoundError:
                return []
            # Some object stores list the folder itself, too.
            names = [str(each).strip("/") for each in found]
            return [name.rsplit("/", 1)[-1] for name in dict.fromkeys(names) if name != place.strip("/")]

    def exists(self, task: str, version: str) -> bool:
        """Whether anything of that name lies in the task's folder."""
        with _translated():
            return bool(self._files.exists(self._place(task, version)))

    def read(self, task: str, version: str, name: str, most: int) -> bytes:
        """Read a regular file of at most `most` bytes."""
        if self.size(task, version, name) > most:
            raise ValueError(f"it has more than {most:,} bytes")
        with _translated(), self._files.open(self._place(task, version, name), "rb") as file:
            data: bytes = file.read(most + 1)
        return _bounded(data, most)

    def size(self, task: str, version: str, name: str) -> int:
        """Return the size of a regular file, in bytes; 0 where the store does not know it."""
        with _translated():
            found = self._files.info(self._place(task, version, name))
            if found.get("type") != "file" or found.get("islink"):
                raise OSError("it is not a regular file")
            return int(found.get("size") or 0)

    def write(self, task: str, version: str, files: Mapping[str, bytes]) -> None:
        """Write a version's files in their order: without the last one nobody reads the others."""
        with _translated():
            self._files.makedirs(self._place(task, version), exist_ok=True)
        for name, data in files.items():
            with _translated(), self._files.open(self._place(task, version, name), "wb") as file:
                file.write(data)
            reached("in-snapshot")

    def remove(self, task: str, version: str, last: str) -> None:
        """Remove a version, or whatever lies in its place; the file that was written last goes first."""
        with _translated():
            for place in (self._place(task, version, last), self._place(task, version)):
                if self._files.exists(place):
                    self._files.rm(place, recursive=True)

    def _place(self, *parts: str) -> str:
        return "/".join([self._root, *map(_part, parts)])


def _part(name: str) -> str:
    """Return a name that leads to no other folder.

    Raises
    ------
    ValueError
        For any other.
    """
    if name in {"", ".", ".."} or "/" in name or "\0" in name:
        raise ValueError(f"{name!r} is not a name of a file or folder")
    return name


def _aside(version: str) -> str:
    return _part(f"{version}.{uuid.uuid4().hex[:8]}.tmp")


def _remove(name: str, folder: int) -> None:
    found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    if stat.S_ISDIR(found.st_mode):
        shutil.rmtree(name, dir_fd=folder)
    else:
        os.unlink(name, dir_fd=folder)


def _bounded(data: bytes, most: int) -> bytes:
    if len(data) > most:
        raise ValueError(f"it has more than {most:,} bytes")
    return data


@contextmanager
def _translated() -> Iterator[None]:
    """Whatever a file system's package raises is an `OSError` to us."""
    try:
        yield
    except (OSError, ValueError):
        raise
    except Exception as error:
        raise OSError(f"{type(error).__name__}: {error}") from error
