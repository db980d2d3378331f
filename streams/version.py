"""A version names a model as a position in the training log: `model.revision@offset`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

_FORM = re.compile(r"(?P<model>[a-z][a-z0-9-]*)\.(?P<revision>[1-9][0-9]*)@(?P<offset>-1|[0-9]+)\Z")


@dataclass(frozen=True, slots=True, order=True)
class Version:
    """The model after applying the log up to and including `offset`.

    Parameters
    ----------
    revision
        From 1; a changed spec, policy, dictionary or runtime opens the next one.
    offset
        The last *applied* entry: the last one that changed the model, or that opened the revision.
        So two workers whose versions are equal hold equal states, whatever else they have read.

    Examples
    --------
    >>> print(Version("lr", 1, 4711))
    lr.1@4711
    >>> Version.parse("lr.1@4711").offset
    4711
    """

    model: str
    revision: int
    offset: int

    def __str__(self) -> str:
        return f"{self.model}.{self.revision}@{self.offset}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a version from its text.

        Raises
        ------
        ValueError
            When the text is not `model.revision@offset`.
        """
        found = _FORM.match(text)
        if found is None:
            raise ValueError(f"{text!r} is not a version: model.revision@offset")
        return cls(found["model"], int(found["revision"]), int(found["offset"]))
