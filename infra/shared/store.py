"""The store of shared predictions: what a step asks of it, and what lies under a request id."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

CLAIM: Final = b"C"
"""First byte of a claim: a worker is about to answer the request. Since when (ms) and who follows."""
ANSWER: Final = b"A"
"""First byte of an answer over HTTP, as JSON."""
RECORD: Final = b"R"
"""First byte of a record of `T.predictions`, without the framing of a registry."""


class Claim(NamedTuple):
    """Claims a request id that nothing lies under."""

    request_id: str
    value: bytes


class Read(NamedTuple):
    """Reads what lies under a request id."""

    request_id: str


class Keep(NamedTuple):
    """Writes a value, or another claim, where nothing lies, or only the claim that is named."""

    request_id: str
    value: bytes
    """Empty: the claim is taken back."""
    claim: bytes = b""


Step = Claim | Read | Keep


class SharedStore(Protocol):
    """Takes steps, each atomic; it may block."""

    def run(self, steps: Sequence[Step]) -> list[bytes | None]:
        """Take steps in order, in one round trip where that can be.

        Returns
        -------
        list
            By step what lay there: None where nothing did, so that a claim or a value was written.

        Raises
        ------
        FeaturesUnavailable
            When the store does not answer in time, or refuses; some steps may be taken.
        """

    def close(self) -> None:
        """Close connections."""
