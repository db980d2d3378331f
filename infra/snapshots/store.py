"""The snapshot store: one folder per version under an fsspec URI, shared by all workers.

Everything in a version's folder is under its manifest: the manifest holds the digests of the other files and, with
a key, a signature. Whatever else lies in the store is skipped with a sentence.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import re
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import fsspec
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem

from infra.permissions import shared_because
from infra.snapshots.files import LocalFiles, RemoteFiles, StoreFiles
from infra.snapshots.manifest import read_manifest, read_probes
from schemas.errors import SnapshotError, UsageError
from schemas.records import Manifest
from streams.snapshot import MAX_BYTES
from streams.version import Version

MANIFEST: Final = "manifest.json"
STATE: Final = "state.bin"
PROBES: Final = "probes.json"
MAX_MANIFEST: Final = 4 * 1024 * 1024
MAX_PROBES: Final = 64 * 1024 * 1024
MAX_WARNINGS: Final = 200
"""Maximum number of skipped snapshots that are logged."""
_ASIDE: Final = re.compile(r"\.[0-9a-f]{8}\.tmp\Z")
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A stored version."""

    manifest: Manifest
    state: bytes
    """What `streams.snapshot.dump` wrote; nothing of it has been opened."""
    probes: list[dict[str, Any]]
    """Features, and the score and label that this state gives for them."""


@dataclass(frozen=True, slots=True)
class Survey:
    """What lies in the folder of a task."""

    manifests: list[Manifest]
    """Of the snapshots that can be read, newest log position first."""
    skipped: dict[str, str]
    """Why each of the others cannot be used, by its name."""


class SnapshotStore:
    """Snapshots under a URI.

    Parameters
    ----------
    uri
        Any fsspec URI; a plain path is a local folder.
    key
        When given, manifests are signed with it (HMAC-SHA256), and an unsigned or altered one is rejected.

    Raises
    ------
    UsageError
        For a URI that fsspec does not know, or needs another package for; for a store that others can write when
        there is no key.
    """

    def __init__(self, uri: str, key: bytes | None = None) -> None:
        self.uri, self._key = uri, key
        try:
            files, self._root = fsspec.core.url_to_fs(uri)
        except (ImportError, ValueError) as error:
            raise UsageError(f"{uri} is not a usable snapshot store: {error}") from error
        self._files: StoreFiles
        if isinstance(files, LocalFileSystem):
            self._files = LocalFiles(self._root, signed=key is not None)
            why = shared_because(Path(self._root))
        else:
            self._files = RemoteFiles(files, self._root)
            # Only this process reaches its memory.
            why = "" if isinstance(files, MemoryFileSystem) else "it is not a local folder"
        if why and key is None:
            raise UsageError(
                f"the snapshot store {uri} is writable by others: {why}. Set RIVERLOOP_SNAPSHOT_KEY on all "
                "workers, or choose a folder that only this user can write"
            )
        self._warned: set[tuple[str, str]] = set()

    def where(self, task: str, version: str = "") -> str:
        """Return the place of a task's snapshots, or of one of them."""
        return "/".join(part for part in (self._root, task, version) if part)

    # ------------------------------------------------------------------ writing

    def save(self, manifest: Manifest, state: bytes, probes: list[dict[str, Any]]) -> Manifest:
        """Store a version; returns the manifest with its digests and signature.

        A version that is there already with equal digests is left as it is. One that cannot be used is replaced.

        Raises
        ------
        SnapshotError
            When the same version lies there with another state: two folds of one log disagree.
        OSError
            When the store cannot be written, for example on a full disk; nothing half-written is left visible.
        """
        asked = json.dumps(probes).encode()
        manifest = replace(manifest, state_sha256=_sha256(state), probes_sha256=_sha256(asked), signature="")
        manifest = replace(manifest, signature=self._sign(manifest))
        task, version = manifest.task, manifest.version
        if self._files.exists(task, version):
            if there := self._same(manifest):
                return there
            self._files.remove(task, version, MANIFEST)
        # The manifest last: what has none is no snapshot.
        files = {STATE: state, PROBES: asked, MANIFEST: json.dumps(asdict(manifest), indent=1).encode()}
        self._files.write(task, version, files)
        return manifest

    def _same(self, manifest: Manifest) -> Manifest | None:
        """Return the manifest of the version that is there, if it is the same; None if it is to be replaced."""
        place = self.where(manifest.task, manifest.version)
        try:
            there = self.manifest(manifest.task, manifest.version)
            if there.log_topic_id != manifest.log_topic_id:
                return None
            existing = (there.state_digest, there.spec, there.runtime)
            if existing == (manifest.state_digest, manifest.spec, manifest.runtime):
                return self.load(manifest.task, manifest.version).manifest
        except SnapshotError as error:
            log.warning("writing snapshot %s again: %s", manifest.version, error)
            return None
        raise SnapshotError(
            f"{place} has another state of the same version ({there.state_digest[:16]}, here "
            f"{manifest.state_digest[:16]}): two folds of one log disagree"
        )

    def delete(self, task: str, version: str) -> None:
        """Remove a version, so that nobody reads a half.

        Raises
        ------
        OSError
            When the store cannot be written.
        """
        self._files.remove(task, version, MANIFEST)

    # ------------------------------------------------------------------ reading

    def manifests(self, task: str) -> list[Manifest]:
        """Return the manifests of a task's snapshots, newest log position first; the log names unreadable ones.

        Raises
        ------
        SnapshotError
            When the store itself cannot be read.
        """
        found = self.survey(task)
        for name, why in found.skipped.items():
            if (name, why) not in self._warned and len(self._warned) < MAX_WARNINGS:
                self._warned.add((name, why))
                log.warning("skipped snapshot %s: %s", name, why)
                if len(self._warned) == MAX_WARNINGS:
                    log.warning("further skipped snapshots of %s are not logged", self.uri)
        return found.manifests

    def check_has(self, task: str, version: str) -> None:
        """Reject a version that is none, or of which there is no snapshot.

        Raises
        ------
        UsageError
            Names the newest that there are.
        """
        known = [each.version for each in self.manifests(task)]
        if version in known:
            return
        try:
            Version.parse(version)
        except ValueError as error:
            raise UsageError(f"{error}, for example lr.1@9999") from None
        there = f"the newest are {', '.join(known[:5])}" if known else "the store is empty"
        raise UsageError(f"{self.where(task)} has no snapshot {version}; {there}")

    def survey(self, task: str) -> Survey:
        """Look at all that lies in a task's folder; nothing but manifests is read.

        Raises
        ------
        SnapshotError
            When the store itself cannot be read.
        """
        try:
            names = self._files.names(task)
        except (OSError, ValueError) as error:
            raise SnapshotError(f"{self.where(task)} cannot be read: {error}") from error
        found, skipped = [], {}
        for name in names:
            if _ASIDE.search(name):  # being written, or left by a crash
                continue
            try:
                found.append(self.manifest(task, name))
            except SnapshotError as error:
                if self._is_incomplete(task, name, error):
                    continue
                skipped[ascii(name)[1:-1][:100]] = str(error)
        found.sort(key=lambda each: (each.log_offset, each.created_at), reverse=True)
        return Survey(found, skipped)

    def _is_incomplete(self, task: str, name: str, error: SnapshotError) -> bool:
        """Whether a version is being written or deleted by another worker, as far as one can see."""
        if not isinstance(error.__cause__, FileNotFoundError):
            return False
        try:
            return not (self._files.whole and self._files.exists(task, name))
        except (OSError, ValueError):
            return False

    def manifest(self, task: str, version: str) -> Manifest:
        """Read a version's manifest and check its signature.

        Raises
        ------
        SnapshotError
            When it is not there, is damaged, or its signature is wrong or missing where a key is set.
        """
        try:
            if str(Version.parse(version)) != version:
                raise ValueError("a version must not have leading zeros")
        except ValueError as error:
            raise SnapshotError(f"{ascii(version)[:100]} is not a version such as lr.1@9999") from error
        place = f"{self.where(task, version)}/{MANIFEST}"
        try:
            manifest = read_manifest(json.loads(self._files.read(task, version, MANIFEST, MAX_MANIFEST)))
        except (OSError, ValueError, RecursionError) as error:
            raise SnapshotError(f"{place} cannot be read: {error}") from error
        if (manifest.task, manifest.version) != (task, version):
            raise SnapshotError(f"{place} is the manifest of another snapshot")
        signature = manifest.signature.encode()
        if self._key is not None and not hmac.compare_digest(signature, self._sign(manifest).encode()):
            raise SnapshotError(f"{place}: the signature does not match the key; the snapshot was not opened")
        return manifest

    def load(self, task: str, version: str) -> Snapshot:
        """Read a version; the bytes are checked against the manifest but not opened.

        Raises
        ------
        SnapshotError
            When something is missing, damaged or unsigned.
        """
        manifest = self.manifest(task, version)
        state = self._file(manifest, STATE, MAX_BYTES, manifest.state_sha256)
        asked = self._file(manifest, PROBES, MAX_PROBES, manifest.probes_sha256)
        try:
            return Snapshot(manifest, state, read_probes(json.loads(asked)))
        except (ValueError, RecursionError) as error:
            raise SnapshotError(f"{self.where(task, version)}/{PROBES} cannot be read: {error}") from error

    def size(self, task: str, version: str) -> int:
        """Return the bytes that a version takes.

        Raises
        ------
        SnapshotError
            When one of its files is missing, or is no regular file.
        """
        try:
            return sum(self._files.size(task, version, name) for name in (STATE, PROBES, MANIFEST))
        except (OSError, ValueError) as error:
            raise SnapshotError(f"{self.where(task, version)} cannot be read: {error}") from error

    def _file(self, manifest: Manifest, name: str, most: int, sha256: str) -> bytes:
        """Read a file of a version: its size is bounded, its bytes are those that the manifest tells of."""
        place = f"{self.where(manifest.task, manifest.version)}/{name}"
        try:
            data = self._files.read(manifest.task, manifest.version, name, most)
        except (OSError, ValueError) as error:
            raise SnapshotError(f"{place} cannot be read: {error}") from error
        if _sha256(data) != sha256:
            raise SnapshotError(f"{place} is damaged: its SHA-256 differs from the manifest's")
        return data

    def _sign(self, manifest: Manifest) -> str:
        if self._key is None:
            return ""
        payload = json.dumps(asdict(replace(manifest, signature="")), sort_keys=True).encode()
        return hmac.new(self._key, payload, hashlib.sha256).hexdigest()


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
