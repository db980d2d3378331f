"""The embedded Kafka's jars: pinned, fetched once through jgo, checked at every start.

`classpath.lock` names every jar and its SHA-256. Each is fetched by its own coordinates rather than by
resolving Kafka's tree again: the tree's answer depends on the resolver's version, the list does not,
and it takes 7 s instead of 17.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from infra.permissions import make_private, open_regular, shared_because, writable_because
from schemas.errors import BrokerError

KAFKA_VERSION = "4.1.1"
LOCK_FILE = Path(__file__).with_name("classpath.lock")
PAUSES_S = (0.5, 1.0)  # between attempts

Report = Callable[[str], None]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Jar:
    """One pinned jar.

    Parameters
    ----------
    group, artifact, version
        Its Maven coordinates.
    sha256
        The SHA-256 of its bytes, 64 hexadecimal digits.
    """

    group: str
    artifact: str
    version: str
    sha256: str

    @property
    def file_name(self) -> str:
        """Its name in the cache."""
        return f"{self.artifact}-{self.version}.jar"


def pinned_jars(lock_file: Path = LOCK_FILE) -> tuple[Jar, ...]:
    """Return what the repository pins, in the order of the class path.

    Examples
    --------
    >>> [jar.version for jar in pinned_jars() if jar.artifact == "kafka_2.13"]
    ['4.1.1']
    """
    jars = []
    for line in lock_file.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            sha256, coordinates = line.split()
            group, artifact, version = coordinates.split(":")
            jars.append(Jar(group, artifact, version, sha256))
    return tuple(jars)


def cache_directory() -> Path:
    """Where the jars are kept for this user: ``$XDG_CACHE_HOME/riverloop/kafka-VERSION``."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG base directory specification: a relative path there is invalid and to be ignored.
    root = Path(base) if Path(base).is_absolute() else _home() / ".cache"
    return root / "riverloop" / f"kafka-{KAFKA_VERSION}"


def _home() -> Path:
    try:
        return Path.home()
    except RuntimeError:
        raise BrokerError(
            "this user has no home folder, so there is no cache for the embedded Kafka: set HOME, or "
            "XDG_CACHE_HOME to a folder that only this user can write"
        ) from None


def class_path(
    report: Report = log.info, directory: Path | None = None, lock_file: Path = LOCK_FILE
) -> tuple[Path, ...]:
    """Return the checked jars, fetched first where they are missing or damaged.

    Parameters
    ----------
    report
        Called with a sentence when something is fetched, because that takes seconds.
    directory
        The cache; `cache_directory()` unless given. Processes may share it and fetch at the same time.
    lock_file
        The jars with their sums; the embedded Kafka's unless given.

    Raises
    ------
    BrokerError
        A jar cannot be fetched, or what was fetched is not what is pinned; others can write the cache.
    """
    directory = directory or cache_directory()
    if why := shared_because(directory):
        # A jar could be replaced between the check of its sum and the start of Java.
        raise BrokerError(
            f"the cache for the embedded Kafka, {directory}, must belong to this user only: {why}. Correct "
            "it, for example with chmod go-w, or set XDG_CACHE_HOME to a folder that only this user can "
            "write"
        )
    jars = pinned_jars(lock_file)
    if _faulty(jars, directory):
        try:
            make_private(directory)
            with _locked(directory / ".lock", report):
                # Somebody else may have fetched them while we waited for the lock.
                what = (
                    f"Apache Kafka {KAFKA_VERSION}" if lock_file == LOCK_FILE else f"what {lock_file} names"
                )
                _fetch(_faulty(jars, directory), directory, what, report)
        except OSError as error:
            raise BrokerError(
                f"the cache for the embedded Kafka, {directory}, cannot be written: {error}. "
                "Set XDG_CACHE_HOME to a writable directory."
            ) from error
    return tuple(directory / jar.file_name for jar in jars)


def _faulty(jars: tuple[Jar, ...], directory: Path) -> list[Jar]:
    return [jar for jar in jars if _sha256(directory / jar.file_name) != jar.sha256]


def _sha256(path: Path) -> str:
    """Return the sum of a regular file that is this user's alone; empty for anything else, which is replaced."""
    try:
        with open_regular(path) as file:
            # Whoever can write it could change it before Java reads it.
            shared = writable_because(os.fstat(file.fileno()))
            return "" if shared else hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""


@contextmanager
def _locked(path: Path, report: Report) -> Iterator[None]:
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report("Waiting for another process that is fetching the embedded Kafka.")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _fetch(jars: list[Jar], directory: Path, what: str, report: Report) -> None:
    if not jars:
        return
    for jar in jars:
        path = directory / jar.file_name
        if os.path.lexists(path):
            log.warning("%s is damaged or writable by others; fetching it again", path)
        if path.is_dir() and not path.is_symlink():  # the others are replaced by a rename
            shutil.rmtree(path)
    report(f"Fetching {what} ({len(jars)} jars, once per user, up to 44 MB) into {directory} …")
    started = time.monotonic()
    with tempfile.TemporaryDirectory(dir=directory, prefix=".fetch-") as staging:
        fetch_one = _downloader(Path(staging))
        with ThreadPoolExecutor(8) as pool:
            fetched = [pool.submit(fetch_one, jar) for jar in jars]
            try:
                for jar, future in zip(jars, fetched, strict=True):
                    # A rename, so that a reader sees the whole file or none.
                    future.result().replace(directory / jar.file_name)
            except (RuntimeError, AssertionError, OSError) as error:
                pool.shutdown(cancel_futures=True)
                raise BrokerError(_advice(directory, error)) from error
    report(f"Fetched in {time.monotonic() - started:.0f} s.")


def _downloader(staging: Path) -> Callable[[Jar], Path]:
    # Imported here: half a second, and needed once per user.
    from jgo.config import GlobalSettings  # noqa: PLC0415
    from jgo.maven import MavenContext  # noqa: PLC0415

    context = MavenContext(repo_cache=staging)
    # A mirror from the user's own jgo configuration goes first.
    context.remote_repos = {**GlobalSettings.load().repositories, **context.remote_repos}

    def fetch_one(jar: Jar) -> Path:
        component = context.project(jar.group, jar.artifact).at_version(jar.version)
        path = _retry_until_available(
            component.artifact().resolve, staging / component.path_prefix / jar.file_name
        )
        found = _sha256(path)
        if found != jar.sha256:
            raise RuntimeError(
                f"{jar.group}:{jar.artifact}:{jar.version} has SHA-256 {found}, pinned is {jar.sha256}"
            )
        return path

    return fetch_one


def _retry_until_available(resolve: Callable[[], Path], path: Path) -> Path:
    for pause_s in PAUSES_S:
        try:
            return resolve()
        except (RuntimeError, OSError) as error:
            log.info("fetching %s again: %s", path.name, error)
            # jgo would take a half-written file for a finished one.
            path.unlink(missing_ok=True)
            time.sleep(pause_s)
    return resolve()


def _advice(directory: Path, error: Exception) -> str:
    return (
        f"the embedded Kafka's jars could not be fetched: {error}. The first start needs the network: "
        "connect (behind a proxy, set HTTPS_PROXY; with a Maven mirror, set it in jgo's configuration), or "
        f"copy {directory} from a machine that has it, or use a running cluster with --bootstrap HOST:PORT."
    )
