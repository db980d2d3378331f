"""Checkpoints of audit chains: small signed files in a folder that somebody else guards."""

from __future__ import annotations

import os
import re
import secrets
from typing import Final

import fsspec
from fsspec.implementations.local import LocalFileSystem

from schemas.errors import UsageError
from streams.audit import Checkpoint

MOST_BYTES: Final = 4096


class Checkpoints:
    """Checkpoints under a URI, one file for each.

    Parameters
    ----------
    uri
        Any fsspec URI of a folder; a plain path is a local one.
    key
        Signs them (HMAC-SHA256).

    Raises
    ------
    UsageError
        For a URI that fsspec does not know or needs another package for; without a key.
    """

    def __init__(self, uri: str, key: bytes) -> None:
        if not key:
            raise UsageError(
                "audit_checkpoints needs a key that signs them: set RIVERLOOP_SNAPSHOT_KEY on all workers"
            )
        self.uri, self._key = uri, key
        try:
            self._files, self._root = fsspec.core.url_to_fs(uri)
        except (ImportError, ValueError) as error:
            raise UsageError(f"audit_checkpoints: {uri} is not a usable folder: {error}") from error

    def write(self, checkpoint: Checkpoint) -> str:
        """Write a checkpoint; one that is there already stays as it is (blocks). Returns its place.

        Raises
        ------
        OSError
            The folder cannot be written.
        """
        name = f"{checkpoint.task}-{checkpoint.size:012d}-{checkpoint.head[:16]}.json"
        place = f"{self._root.rstrip('/')}/{name}"
        if self._files.exists(place):
            return place
        self._files.makedirs(self._root, exist_ok=True)
        data = checkpoint.signed(self._key).dump()
        if not isinstance(self._files, LocalFileSystem):
            self._files.pipe_file(place, data)
            return place
        aside = f"{place}.{secrets.token_hex(4)}.tmp"
        try:
            with open(aside, "xb") as file:  # noqa: PTH123  fsspec's own path
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(aside, place)  # noqa: PTH105  the same
        finally:
            if self._files.exists(aside):
                self._files.rm_file(aside)
        return place


def read_checkpoints(uri: str, task: str) -> list[Checkpoint]:
    """Read a file with a checkpoint, or all files of a task in a folder (blocks).

    Raises
    ------
    UsageError
        Nothing is there, or a file is no checkpoint of the task.
    """
    try:
        files, root = fsspec.core.url_to_fs(uri)
        names = [root]
        if files.isdir(root):
            # Another task's name may begin with this one's.
            mine = re.compile(rf"{re.escape(task)}-\d{{12}}-[0-9a-f]{{16}}\.json")
            names = sorted(
                each for each in files.ls(root, detail=False) if mine.fullmatch(each.rpartition("/")[2])
            )
        found = []
        for name in names:
            with files.open(name, "rb") as file:
                found.append(Checkpoint.load(file.read(MOST_BYTES), f"checkpoint {name.rpartition('/')[2]}"))
    except (OSError, ImportError, ValueError) as error:
        raise UsageError(f"{uri}: no checkpoint can be read: {error}") from error
    if not found:
        raise UsageError(f"{uri} has no checkpoint of task {task}")
    if other := next((each for each in found if each.task != task), None):
        raise UsageError(f"{other.origin} is one of task {other.task}, not of {task}")
    return found
