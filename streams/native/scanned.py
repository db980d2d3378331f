"""What records that the native core has scanned are for Python."""

from __future__ import annotations

from typing import Protocol

from schemas.records import Features


class ScannedRequest(Protocol):
    """A request that the native core has scanned."""

    @property
    def request_id(self) -> str:
        """As in a `Request`."""

    @property
    def ts(self) -> int:
        """As in a `Request`."""

    @property
    def features(self) -> Features:
        """As in a `Request`; a new one each time."""


class ScannedFact(Protocol):
    """An entry of the log that the native core has scanned."""

    @property
    def request_id(self) -> str:
        """Of its request."""

    @property
    def features(self) -> Features:
        """Of its request; a new one each time."""

    @property
    def asked(self) -> int:
        """The request's event time (ms)."""

    @property
    def ts(self) -> int:
        """The entry's event time (ms)."""

    @property
    def value(self) -> bool | float | None:
        """Its outcome; None where there is none until the horizon."""
