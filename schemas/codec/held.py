"""Predictions as the join holds them: their bytes, without header and id where these are known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from schemas.codec import wire
from schemas.codec.other_dictionaries import OtherDictionaries
from schemas.records import Prediction
from schemas.state import Held, Payload
from schemas.written import Written


class HeldPredictions:
    """Makes what the join holds of a prediction, and a prediction of what it holds.

    Parameters
    ----------
    mark
        With which the predictions of today's schema begin.
    decode
        Reads a prediction.
    others
        Knows the predictions of other dictionaries.
    """

    def __init__(self, mark: bytes, decode: Callable[[bytes], Prediction], others: OtherDictionaries) -> None:
        self._mark, self._decode, self._others = mark, decode, others

    def take(self, request_id: str, data: bytes) -> bytes:
        """Give the form in which the join holds a prediction that was read before.

        Parameters
        ----------
        request_id
            Its request.
        data
            Its record: kept whole where it is not written with today's schema.
        """
        start = self._mark + wire.text(request_id)
        return Held(data[len(start) :]) if data.startswith(start) else data

    def read(self, request_id: str, payload: Payload) -> Prediction:
        """Read a prediction that the join holds."""
        if isinstance(payload, Prediction):
            return replace(payload, request_id=request_id)
        if type(payload) is Held:
            # A stand-in: the key around it was checked when it was taken.
            payload = self._mark + wire.text("-") + payload
        return replace(self._decode(payload), request_id=request_id)

    def to_write(self, request_id: str, payload: Payload) -> Prediction:
        """Give a prediction that the join holds for being written again, in an entry.

        Its bytes are taken over as they are, also those of another dictionary. Nothing but writing it can be done
        with what this gives.
        """
        if type(payload) is Held:
            return Written(wire.text(request_id) + payload)
        if isinstance(payload, bytes) and (found := self._others.written(request_id, payload)) is not None:
            return found
        return self.read(request_id, payload)
