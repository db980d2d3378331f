"""Records of which only the bytes are at hand: they are written as they are."""

from __future__ import annotations

from collections.abc import Mapping

from schemas.records import Entry, Prediction


class Written(Prediction):
    """A prediction of which only the bytes are at hand: an entry is written with it as it is, and that is all."""

    __slots__ = ("body", "mark")

    def __init__(self, body: bytes, mark: bytes = b"") -> None:
        # Not the record's own fields: whoever asks for them gets an AttributeError.
        object.__setattr__(self, "body", body)
        object.__setattr__(self, "mark", mark)

    body: bytes
    """The Avro form, without a header."""
    mark: bytes
    """The header of its schema, where that is another revision's."""


class WrittenEntry(Entry):
    """An entry of which only the bytes are at hand, up to the partition: it is written, and that is all."""

    __slots__ = ("head",)

    def __init__(
        self, head: bytes, partition: int | None = None, progress: Mapping[str, int] | None = None
    ) -> None:
        # Not the record's other fields: whoever asks for them gets an AttributeError.
        object.__setattr__(self, "head", head)
        object.__setattr__(self, "partition", partition)
        object.__setattr__(self, "progress", progress)

    head: bytes
    """The Avro form with its header, as far as the field `command`."""
