"""What the requests' side costs: counted and written as a worker does, read and folded as the owner does."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from typing import Final

from schemas.codec import Codec
from schemas.dictionary import Category, Dictionary, Integer, Number
from schemas.records import Request
from streams.quality.edge import EdgeCounter
from streams.quality.monitor import QualityMonitor

DICTIONARY: Final = Dictionary(
    *(Number(name=f"n{number}", low=-5, high=5) for number in range(8)),
    *(Integer(name=f"i{number}", low=0) for number in range(3)),
    *(Category(name=f"c{number}") for number in range(4)),
)
"""15 features."""
STEP_MS: Final = 5


def made_up(events: int, seed: int = 7) -> list[Request]:
    """Make requests, 200 in a second of event time."""
    rng = random.Random(seed)
    return [
        Request(
            f"r-{number}",
            number * STEP_MS,
            {f"n{each}": rng.gauss(0, 1) for each in range(8)}
            | {f"i{each}": rng.randrange(20) for each in range(3)}
            | {f"c{each}": rng.choice("abcdefgh") for each in range(4)},
        )
        for number in range(events)
    ]


def request_side(stream: Sequence[Request], batch: int) -> tuple[float, float]:
    """Give the processor time per event, in µs, in the worker and at the owner.

    Parameters
    ----------
    stream
        The requests.
    batch
        How many are counted together.
    """
    codec = Codec("bench", "binary", DICTIONARY)
    counter, monitor = EdgeCounter(DICTIONARY, "bench"), QualityMonitor("bench", DICTIONARY)
    records: list[bytes] = []
    started = time.process_time()
    for start in range(0, len(stream), batch):
        for each in stream[start : start + batch]:
            counter.answered(0, each)
        records += [codec.encode(each) for each in counter.tallies()]
        counter.commit()
    counted = time.process_time()
    for offset, data in enumerate(records):
        monitor.apply(offset, codec.decode_tally(data))
        list(monitor.alerts())
    folded = time.process_time()
    return (counted - started) / len(stream) * 1e6, (folded - counted) / len(stream) * 1e6
