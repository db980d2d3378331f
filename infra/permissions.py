"""Whether another user of this machine can write a folder of ours, or put another one in its place."""

from __future__ import annotations

import grp
import os
import pwd
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path


def shared_because(path: Path) -> str:
    """Return why others can write a folder or replace it; empty when only this user and root can.

    Every folder above it counts, too: whoever can write one of them can rename what lies in it. A folder that is
    not there is skipped, since `make_private` makes it for this user alone.

    Examples
    --------
    >>> shared_because(Path("/"))
    ''
    """
    path = path.absolute()
    real = path.resolve()
    for folder in (path, *path.parents, real, *real.parents):
        try:
            found = folder.stat()
        except OSError:
            continue
        if why := writable_because(found, inside=folder in (path, real)):
            return f"{folder} {why}"
    return ""


def writable_because(found: os.stat_result, *, inside: bool = True) -> str:
    """Return why others can write what has this status; empty when only this user and root can.

    Parameters
    ----------
    inside
        Whether new files in the folder matter. If not, the sticky bit is enough: it keeps others from renaming.
    """
    if found.st_uid not in {os.geteuid(), 0}:
        return f"belongs to user {found.st_uid}"
    if not inside and found.st_mode & stat.S_ISVTX:
        return ""
    mode = stat.S_IMODE(found.st_mode)
    if mode & stat.S_IWOTH or (mode & stat.S_IWGRP and not _only_ours(found.st_gid)):
        return f"is writable by others (mode {mode:04o})"
    return ""


@contextmanager
def open_regular(path: str | Path, folder: int | None = None) -> Iterator[BufferedReader]:
    """Open a regular file for reading: a link is not followed, a FIFO not waited for.

    Parameters
    ----------
    folder
        Descriptor of the folder that the path starts from.

    Raises
    ------
    OSError
        When there is none, or it is anything else.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError("it is not a regular file")
        with open(handle, "rb", closefd=False) as file:
            yield file
    finally:
        os.close(handle)


def make_private(path: Path) -> None:
    """Make a folder and those above it that are missing, for this user alone (0700)."""
    if not path.is_dir():
        make_private(path.parent)
        path.mkdir(mode=0o700, exist_ok=True)


def _only_ours(group: int) -> bool:
    """Whether a group has this user's name and no other member, as many systems make one for each user."""
    try:
        found, user = grp.getgrgid(group), pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return False
    return found.gr_name == user and set(found.gr_mem) <= {user}
