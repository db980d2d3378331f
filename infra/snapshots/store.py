"""The snapshot store: one folder per version under an fsspec URI, shared by all workers.

A version is written aside, flushed to disk and renamed; its manifest is written last. So a folder with a
manifest is a whole snapshot, and what a crash leaves behind is a folder that nobody reads.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import os
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Final

import fsspec
from fsspec.implementations.local import LocalFileSystem

from infra.kafka.crashpoints import crash_point
from schemas.errors import SnapshotError, UsageError
from schemas.records import Manifest
from streams.snapshot import MAX_BYTES

MANIFEST: Final = "manifest.json"
STATE: Final = "state.bin"
PROBES: Final = "probes.json"
MAX_MANIFEST: Final = 4 * 1024 * 1024
MAX_PROBES: Final = 64 * 1024 * 1024
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A stored version."""

    manifest: Manifest
    state: bytes
    """What `streams.snapshot.dump` wrote; nothing of it has been opened."""
    probes: list[dict[str, Any]]
    """Features, and the score and label that this state gives for them."""


class SnapshotStore:
    """Snapshots under a URI.

    Parameters
    ----------
    uri
        Any fsspec URI; a plain path is a local folder.
    key
        When given, manifests are signed with it (HMAC-SHA256), and an unsigned or altered one is refused.

    Raises
    ------
    UsageError
        For a URI that fsspec does not know, or needs another package for.
    """

    def __init__(self, uri: str, key: bytes | None = None) -> None:
        self.uri, self._key = uri, key
        try:
            self._fs, self._root = fsspec.core.url_to_fs(uri)
        except (ImportError, ValueError) as error:
            raise UsageError(f"{uri} cannot be a store of snapshots: {error}") from error
        self._local = isinstance(self._fs, LocalFileSystem)

    def where(self, task: str, version: str = "") -> str:
        """Give the place of a task's snapshots, or of one of them."""
        return "/".join(part for part in (self._root, task, version) if part)

    # ------------------------------------------------------------------ writing

    def save(self, manifest: Manifest, state: bytes, probes: list[dict[str, Any]]) -> Manifest:
        """Store a version; gives the manifest with its digests and signature.

        A version that is there already with equal digests is left as it is.

        Raises
        ------
        SnapshotError
            When the same version lies there with another state: two folds of one log disagree.
        OSError
            When the store cannot be written, for example on a full disk; nothing half-written is left visible.
        """
        manifest = replace(manifest, state_sha256=_sha256(state), signature="")
        manifest = replace(manifest, signature=self._sign(manifest))
        place = self.where(manifest.task, manifest.version)
        if self._fs.exists(f"{place}/{MANIFEST}"):
            there = self.manifest(manifest.task, manifest.version)
            same = (there.state_digest, there.spec, there.runtime) == (
                manifest.state_digest,
                manifest.spec,
                manifest.runtime,
            )
            if there.log_topic_id == manifest.log_topic_id and not same:
                raise SnapshotError(
                    f"{place} holds another state of the same version: {there.state_digest[:16]} there, "
                    f"{manifest.state_digest[:16]} here; two folds of one log disagree"
                )
            if there.log_topic_id == manifest.log_topic_id:
                return there
            self._fs.rm(place, recursive=True)
        files = {
            STATE: state,
            PROBES: json.dumps(probes).encode(),
            MANIFEST: json.dumps(asdict(manifest), indent=1).encode(),
        }
        aside = f"{place}.{uuid.uuid4().hex[:8]}.tmp" if self._local else place
        try:
            self._fs.makedirs(aside, exist_ok=True)
            for name, data in files.items():
                with self._fs.open(f"{aside}/{name}", "wb") as file:
                    file.write(data)
                    if self._local:
                        file.flush()
                        os.fsync(file.fileno())
                crash_point("in-snapshot")
            if self._local:
                Path(aside).rename(place)
                _sync_folder(Path(place).parent)
        except BaseException:
            if self._local and self._fs.exists(aside):
                self._fs.rm(aside, recursive=True)
            raise
        return manifest

    def delete(self, task: str, version: str) -> None:
        """Remove a version; its manifest first, so that nobody reads a half."""
        place = self.where(task, version)
        if self._fs.exists(f"{place}/{MANIFEST}"):
            self._fs.rm(f"{place}/{MANIFEST}")
        if self._fs.exists(place):
            self._fs.rm(place, recursive=True)

    # ------------------------------------------------------------------ reading

    def manifests(self, task: str) -> list[Manifest]:
        """Give the manifests of a task's snapshots, newest log position first; the log names unreadable ones.

        Raises
        ------
        SnapshotError
            When the store itself cannot be read.
        """
        place = self.where(task)
        try:
            there = self._fs.ls(place, detail=False, refresh=True) if self._fs.exists(place) else ()
        except OSError as error:
            raise SnapshotError(f"{place} cannot be read: {error}") from error
        found = []
        for folder in there:
            version = str(folder).rstrip("/").rsplit("/", 1)[-1]
            if version.endswith(".tmp") or not self._fs.exists(f"{place}/{version}/{MANIFEST}"):
                continue
            try:
                found.append(self.manifest(task, version))
            except SnapshotError as error:
                log.warning("snapshot %s is passed over: %s", version, error)
        return sorted(found, key=lambda each: (each.log_offset, each.created_at), reverse=True)

    def manifest(self, task: str, version: str) -> Manifest:
        """Read a version's manifest and check its signature.

        Raises
        ------
        SnapshotError
            When it is not there, is damaged, or its signature is wrong or missing where a key is set.
        """
        place = f"{self.where(task, version)}/{MANIFEST}"
        try:
            manifest = _manifest(json.loads(self._read(place, MAX_MANIFEST)))
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise SnapshotError(f"{place} cannot be read: {error}") from error
        if (manifest.task, manifest.version) != (task, version):
            raise SnapshotError(f"{place} is the manifest of {manifest.version} of task {manifest.task}")
        signature = manifest.signature.encode()
        if self._key is not None and not hmac.compare_digest(signature, self._sign(manifest).encode()):
            raise SnapshotError(f"{place}: the signature does not match the key; nothing of it was opened")
        return manifest

    def load(self, task: str, version: str) -> Snapshot:
        """Read a version; the bytes are checked against the manifest but not opened.

        Raises
        ------
        SnapshotError
            When something is missing, damaged or unsigned.
        """
        manifest = self.manifest(task, version)
        place = self.where(task, version)
        try:
            state = self._read(f"{place}/{STATE}", MAX_BYTES)
            probes: list[dict[str, Any]] = json.loads(self._read(f"{place}/{PROBES}", MAX_PROBES))
        except (OSError, ValueError, RecursionError) as error:
            raise SnapshotError(f"{place} cannot be read: {error}") from error
        if _sha256(state) != manifest.state_sha256:
            raise SnapshotError(f"{place}/{STATE} is damaged: its SHA-256 is not the manifest's")
        return Snapshot(manifest, state, probes)

    def _read(self, place: str, most: int) -> bytes:
        """Read a file of bounded size: whoever can write the store must not fill our memory."""
        with self._fs.open(place, "rb") as file:
            data: bytes = file.read(most + 1)
        if len(data) > most:
            raise ValueError(f"it has more than {most:,} bytes")
        return data

    def _sign(self, manifest: Manifest) -> str:
        if self._key is None:
            return ""
        told = json.dumps(asdict(replace(manifest, signature="")), sort_keys=True).encode()
        return hmac.new(self._key, told, hashlib.sha256).hexdigest()


def _manifest(told: Mapping[str, Any]) -> Manifest:
    known = {field.name: field.type for field in fields(Manifest)}
    values = {key: value for key, value in told.items() if key in known}
    for name, value in values.items():
        if known[name] in _PLAIN and type(value) is not _PLAIN[known[name]]:
            raise ValueError(f"{name} is not of type {known[name]}")
    return Manifest(**values | {"parents": tuple(values["parents"])})


_PLAIN: Final[Mapping[Any, type]] = {"int": int, "str": str}
"""Types of fields, by how they are written."""


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
