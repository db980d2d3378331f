"""Whether an event costs the same however many came before: processor time and memory at each power of ten.

    python -m tests.benchmarks.flat --events 10000000

Drives the whole loop in memory (serve, join, learn, every monitor) with the benchmark's requests and outcomes, one
request each millisecond. The join remembers a request for a minute after its deadline here, so that what it holds
is the same from 150,000 events on; what waiting requests cost is in `join_state.py`.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from datetime import timedelta

from schemas.records import Request
from streams.datafile import Event
from streams.driver import MemoryDriver
from streams.garbage import collect_seldom
from streams.metrics.served import ServedMetrics
from streams.monitors import monitors
from streams.quality.edge import EdgeCounter
from tests.benchmarks.compare.load import requests_and_outcomes
from tests.benchmarks.compare.task import bench_task
from tests.benchmarks.join_state import resident_mb

BATCH = 1000


def main() -> None:
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--events", type=int, default=10_000_000)
    options = parser.parse_args()
    task = replace(bench_task("flat"), horizon=timedelta(seconds=10), revision_horizon=timedelta(minutes=1))
    others = [
        each for each in monitors(task) if not isinstance(each, ServedMetrics)
    ]  # the driver has its own
    driver = MemoryDriver(task, folds=others, keep_log=False)
    counter = EdgeCounter(task.features, "flat")
    collect_seldom()
    events = (Event(request, (outcome,)) for request, outcome in requests_and_outcomes(options.events // 2))
    print(f"{'events':>12}{'CPU µs per event':>20}{'memory MB':>12}")
    began, since, mark = time.process_time(), 0, 10_000
    for number, prediction in enumerate(driver.run(events), 1):
        counter.answered(0, Request(prediction.request_id, prediction.ts, prediction.features))
        if number % BATCH == 0:
            counter.tallies()
            counter.commit()
        if 2 * number == mark or 2 * number == options.events:
            now = time.process_time()
            us = (now - began) / (2 * number - since) * 1e6
            print(f"{2 * number:>12,}{us:>20.1f}{resident_mb():>12.0f}", flush=True)
            began, since, mark = now, 2 * number, mark * 10


if __name__ == "__main__":
    main()
