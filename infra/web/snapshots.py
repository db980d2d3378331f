"""The snapshots of a task's models, from their manifests on `T.snapshots`, as data for the page."""

from __future__ import annotations

from typing import Any

from schemas.records import Manifest


class Snapshots:
    """The manifests that retention has kept."""

    def __init__(self) -> None:
        self._manifests: dict[str, Manifest] = {}

    def take(self, version: str, manifest: Manifest | None) -> None:
        """Take a snapshot's manifest; None when retention removed it."""
        if manifest is None:
            self._manifests.pop(version, None)
        elif manifest.kind == "model":
            self._manifests[version] = manifest

    def specifications(self) -> dict[str, str]:
        """Return the texts of the specifications, by their digests."""
        return {each.spec: each.spec_text for each in self._manifests.values()}

    def rows(self) -> list[dict[str, Any]]:
        """Return what is shown of each, newest first, in JSON's types."""
        found = sorted(self._manifests.values(), key=lambda manifest: (-manifest.log_offset, manifest.model))
        return [
            {
                "version": each.version,
                "model": each.model,
                "revision": each.revision,
                "parents": list(each.parents),
                "log_offset": each.log_offset,
                "learned": each.learned,
                "created_at": each.created_at,
                "metrics": dict(each.metrics),
                "spec": each.spec,
                "spec_text": each.spec_text,
                "state_digest": each.state_digest,
                "dictionary": each.dictionary,
                "runtime": each.runtime,
                "runtime_text": each.runtime_text,
                "author": each.author,
                "git_commit": each.git_commit,
                "signed": bool(each.signature),
            }
            for each in found
        ]
