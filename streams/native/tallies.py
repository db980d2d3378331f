"""Tallies as bytes: their counts by feature in the core, which are nearly all of one, and the rest in the codec."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from schemas.codec import Codec
from schemas.formats import HEADER_BYTES
from schemas.tally import FeatureTally, Tally
from streams import native
from streams.native.records import plan_of
from streams.native.turn import mark

COUNTS: Final = [
    ("bins", {"type": "map", "values": "long"}),
    ("missing", "long"),
    ("outside", "long"),
    ("total", "double"),
]
"""The fields of a feature's counts that the core reads and writes."""
EMPTY: Final = b"\0"
"""A tally's last field, where it has no counts."""


class TallyCodec:
    """Reads and writes tallies as the codec of their task does.

    Parameters
    ----------
    codec
        Of the task. It reads what the core rejects, and does everything where there is no core.
    """

    def __init__(self, codec: Codec) -> None:
        self._codec, self._mark = codec, mark(codec, "Tally")
        self._module: Any = native.record_module() if native.chosen() != "python" else None
        fields = codec.schemas["Tally"]["fields"]
        values = fields[-1]["type"]["values"]
        if [(each["name"], each["type"]) for each in values["fields"]] != COUNTS:
            self._module = None
        self._records = (
            None if self._module is None else self._module.Records(plan_of(codec.schemas["Tally"]))
        )

    def encode(self, tally: Tally) -> bytes:
        """Write a tally.

        Raises
        ------
        BadRecord
            See `Codec.encode`.
        """
        if self._module is None:
            return self._codec.encode(tally)
        rest = self._codec.encode(replace(tally, features={}))
        try:
            counts: bytes = self._module.written_counts(tally.features)
        except (TypeError, AttributeError, ValueError, OverflowError):
            return self._codec.encode(tally)  # which says what is wrong
        return rest.removesuffix(EMPTY) + counts

    def decode(self, data: bytes | None) -> Tally:
        """Read a tally.

        Raises
        ------
        BadRecord
            See `Codec.decode_tally`.
        """
        if self._records is None or data is None or not data.startswith(self._mark):
            return self._codec.decode_tally(data)
        found = self._records.tally(data, HEADER_BYTES)
        if found is None:
            return self._codec.decode_tally(data)
        start, features = found
        rest = self._codec.decode_tally(data[:start] + EMPTY)
        return replace(rest, features={name: FeatureTally(*each) for name, each in features.items()})
