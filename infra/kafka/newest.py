"""The newest records that name something, searched for from the ends of partitions backwards."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Hashable
from typing import Final, TypeVar

from confluent_kafka import Message

from infra.kafka.connection import Connection
from infra.kafka.log import read_all
from infra.kafka.watching import extents
from streams.positions import Place

K = TypeVar("K", bound=Hashable)
CHUNK: Final = 20_000
"""Offsets that are read at once."""
APART_MS: Final = 60_000
"""By so much the clocks of brokers may differ, which write the times of arrival."""

log = logging.getLogger(__name__)


def newest(
    connection: Connection,
    places: Collection[Place],
    wanted: Collection[K],
    named: Callable[[Message], tuple[K, int] | None],
) -> dict[K, int]:
    """Give the highest number that any record names, by what is wanted (blocks).

    Parameters
    ----------
    places
        Where to look. In each the numbers of one key rise with the time of arrival.
    wanted
        Keys; reading goes back until no older record can name a higher number of any of them.
    named
        Gives what a record names, and the number; None when it names nothing.

    Raises
    ------
    BrokerError
        The cluster does not answer, or a transaction stays open.
    """
    found: dict[K, tuple[int, int]] = {}
    known = extents(connection, places)
    left = {place: extent.end for place, extent in known.items() if extent.end > extent.first}
    while left:
        for place, end in [*left.items()]:
            start = max(known[place].first, end - CHUNK)
            oldest = None
            for message in read_all(connection, *place, start, end):
                arrived = message.timestamp()[1]
                oldest = arrived if oldest is None else oldest
                pair = named(message)
                if pair is not None and pair[0] in wanted and pair[1] >= found.get(pair[0], (-1, 0))[0]:
                    found[pair[0]] = (pair[1], arrived)
            left[place] = start
            done = len(found) == len(wanted) and oldest is not None
            if start == known[place].first or (
                done and oldest is not None and oldest < min(at for _, at in found.values()) - APART_MS
            ):
                del left[place]
    return {key: number for key, (number, _) in found.items()}
