"""What quality costs, per event: the counter where requests are served, the sum and its judgement at the owner.

Run: python tests/benchmarks/quality.py

A made-up task with 15 features (eight numbers, three whole numbers, four categories) at 200 requests a second of
event time. Compared with: one River ADWIN per numeric feature, fed with every event.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from statistics import median

from river.drift import ADWIN

from schemas.codec import Codec
from schemas.dictionary import Category, Dictionary, Integer, Number
from schemas.records import Request
from schemas.tally import Tally
from streams.quality.edge import EdgeCounter
from streams.quality.monitor import QualityMonitor

EVENTS = 20_000
DICTIONARY = Dictionary(
    *(Number(name=f"n{number}", low=-5, high=5) for number in range(8)),
    *(Integer(name=f"i{number}", low=0) for number in range(3)),
    *(Category(name=f"c{number}") for number in range(4)),
)
CODEC = Codec("bench", "binary", DICTIONARY)


def requests() -> list[Request]:
    """Make the stream, the same at every run."""
    rng = random.Random(7)
    return [
        Request(
            f"r-{number}",
            number * 5,
            {f"n{k}": rng.gauss(0, 1) for k in range(8)}
            | {f"i{k}": rng.randrange(20) for k in range(3)}
            | {f"c{k}": rng.choice("abcdefgh") for k in range(4)},
        )
        for number in range(EVENTS)
    ]


def counted(stream: list[Request], batch: int) -> list[bytes]:
    """Count and encode as a worker does."""
    counter, out = EdgeCounter(DICTIONARY, "bench"), []
    for start in range(0, len(stream), batch):
        for each in stream[start : start + batch]:
            counter.answered(0, each)
        out += [CODEC.encode(each) for each in counter.tallies()]
        counter.commit()
    return out


def folded(records: list[bytes]) -> QualityMonitor:
    """Decode and fold as the owner does."""
    monitor = QualityMonitor("bench", DICTIONARY)
    for offset, data in enumerate(records):
        tally: Tally = CODEC.decode_tally(data)
        monitor.apply(offset, tally)
        list(monitor.alerts())
    return monitor


def adwins(stream: list[Request]) -> None:
    """Feed one ADWIN per numeric feature."""
    detectors = {each.name: ADWIN() for each in DICTIONARY if each.word != "category"}
    for each in stream:
        for name, detector in detectors.items():
            detector.update(float(each.features[name]))


def microseconds(work: Callable[[], object]) -> float:
    """Give the median processor time per event of three runs."""
    times = []
    for _ in range(3):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return median(times) / EVENTS * 1e6


def main() -> None:
    """Print the table."""
    stream = requests()
    print(f"{'requests a batch':>18} {'worker µs':>10} {'owner µs':>10} {'together µs':>12} {'bytes':>8}")
    for batch in (1, 10, 100, 1000):
        records = counted(stream, batch)
        worker = microseconds(lambda batch=batch: counted(stream, batch))  # type: ignore[misc]
        owner = microseconds(lambda records=records: folded(records))  # type: ignore[misc]
        size = sum(map(len, records)) / EVENTS
        print(f"{batch:>18} {worker:>10.1f} {owner:>10.1f} {worker + owner:>12.1f} {size:>8.1f}")
    print(
        f"one ADWIN per numeric feature, every event: {microseconds(lambda: adwins(stream)):.1f} µs per event"
    )


if __name__ == "__main__":
    main()
