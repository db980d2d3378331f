"""The newest dead letters by reason, with an example of each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from infra.web.redact import printed
from schemas.codec import Codec
from schemas.paths import known_paths
from schemas.reasons import REASONS
from schemas.records import DeadLetter

TOLD_OF_ALL = ("reason", "field", "source", "arrived", "bytes")
"""What is told of an example to those who may not see what requests say."""


class Letters:
    """Counts dead letters by reason, and keeps the newest of each.

    Parameters
    ----------
    codec
        The task's: values of personal data are never shown.
    open_
        Whether what records say may be shown; else only where they lie and what field is at fault.
    """

    def __init__(self, codec: Codec, *, open_: bool) -> None:
        self._codec, self._open = codec, open_
        self._paths = known_paths(codec.dictionary)
        self.counts: dict[str, int] = {}
        self._newest: dict[str, tuple[str, DeadLetter]] = {}
        self._printed: dict[str, tuple[str, dict[str, Any]]] = {}

    def add(self, place: str, letter: DeadLetter) -> None:
        """Take a letter; `place` is where it lies, as `riverloop deadletters` takes it."""
        # The topic is written by others, too: a reason that we do not have must not make a row of its own.
        reason = letter.reason if letter.reason in REASONS else "unknown"
        self.counts[reason] = self.counts.get(reason, 0) + 1
        kept = self._newest.get(reason)
        if kept is None or letter.arrived >= kept[1].arrived:
            self._newest[reason] = place, letter

    def told(self) -> dict[str, Any]:
        """Give the counts and the examples in JSON's types."""
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
        place, letter = self._newest[reason]
        known = self._printed.get(reason)
        if known is None or known[0] != place:
            told = printed(letter, self._codec)
            if not self._open:
                told = {name: told[name] for name in TOLD_OF_ALL}
                # Whoever may write there, and no sender's text: the names of our own fields only.
                told["field"] = letter.field if letter.field in self._paths else ""
            known = self._printed[reason] = place, {"place": place, **told}
        return known[1]
