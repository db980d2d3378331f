"""The newest dead letters by reason, with an example of each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from infra.web.redact import redact
from schemas.codec import Codec
from schemas.paths import known_paths
from schemas.reasons import REASONS
from schemas.records import DeadLetter

PUBLIC = ("reason", "field", "source", "arrived", "bytes")
"""Fields of an example that are shown where requests are not."""


class DeadLetterSummary:
    """Counts dead letters by reason, and keeps the newest of each.

    Parameters
    ----------
    codec
        The task's: values of personal data are never shown.
    open_
        Whether records may be shown; else only their position and the invalid field.
    """

    def __init__(self, codec: Codec, *, open_: bool) -> None:
        self._codec, self._open = codec, open_
        self._paths = known_paths(codec.dictionary)
        self.counts: dict[str, int] = {}
        self._newest: dict[str, tuple[str, DeadLetter]] = {}
        self._redacted: dict[str, tuple[str, dict[str, Any]]] = {}

    def add(self, place: str, dead_letter: DeadLetter) -> None:
        """Add a dead letter; `place` is PARTITION@OFFSET, as for `riverloop deadletters`."""
        # Other programs may write to the topic: an unknown reason must not add a row.
        reason = dead_letter.reason if dead_letter.reason in REASONS else "unknown"
        self.counts[reason] = self.counts.get(reason, 0) + 1
        kept = self._newest.get(reason)
        if kept is None or dead_letter.arrived >= kept[1].arrived:
            self._newest[reason] = place, dead_letter

    def as_data(self) -> dict[str, Any]:
        """Return counts and examples as plain data."""
        ordered = sorted(self.counts.items(), key=lambda each: (-each[1], each[0]))
        return {
            "counted": sum(self.counts.values()),
            "open": self._open,
            "reasons": [
                {
                    "reason": reason,
                    "count": count,
                    "means": REASONS.get(reason, ""),
                    "example": self._example(reason),
                }
                for reason, count in ordered
            ],
        }

    def _example(self, reason: str) -> Mapping[str, Any]:
        place, dead_letter = self._newest[reason]
        known = self._redacted.get(reason)
        if known is None or known[0] != place:
            fields = redact(dead_letter, self._codec)
            if not self._open:
                fields = {name: fields[name] for name in PUBLIC}
                # Names of declared fields only, no text of a sender.
                fields["field"] = dead_letter.field if dead_letter.field in self._paths else ""
            known = self._redacted[reason] = place, {"place": place, **fields}
        return known[1]
