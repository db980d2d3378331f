"""What a join costs with so many requests waiting on one partition: memory, events per second, time to restore.

    python -m tests.benchmarks.join_state --waiting 10000000 --store rocks
    python -m tests.benchmarks.join_state --waiting 1000000 --store memory

Drives the join and its store as the join agent does, 1,000 records in a batch, each change encoded for the
changelog, without a broker: predictions of the hotel example as bytes, a new one each 100 ms of event time. First
the requests come that wait; then, with so many waiting, half of the records are outcomes of requests anywhere among
them, and the oldest expire. The changelog is kept in a file, from which the store is made anew in a process of its
own; with --later it says how to do that in another run.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from infra.datafiles.rows import rows
from infra.store.rocks import RocksMemory, RocksStore
from infra.taskfile import examples, load_task
from schemas.codec import Codec
from schemas.records import Outcome, Position, Prediction, Score
from schemas.state import RESOLVED, JoinPosition
from streams.join.changelog import Change, fill, records
from streams.join.join import Join
from streams.join.join_rules import JoinRules
from streams.join.pending import MemoryStore, StateStore

BATCH = 1000
GAP_MS = 100
LENGTHS = struct.Struct(">II")
NONE = 2**32 - 1


def resident_mb() -> float:
    """Resident memory of this process, in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


class Drive:
    """A join on a store, with a changelog in a file."""

    def __init__(
        self, waiting: int, store: StateStore, codec: Codec, payloads: list[bytes], log: IO[bytes]
    ) -> None:
        horizon_ms = waiting * GAP_MS
        self.rules = JoinRules(horizon_ms, 100 * BATCH * GAP_MS, 0, 0, 10**9)
        self.store, self.codec, self._payloads, self._log = store, codec, payloads, log
        self.join = Join(self.rules, store, codec.held.read, "bench", 0)
        self.asked = self.reported = 0
        self._chance = random.Random(1)

    def ask(self) -> None:
        """Take the next prediction."""
        number = self.asked
        self.asked += 1
        # New bytes for each, as from Kafka.
        payload = bytes(bytearray(self._payloads[number % len(self._payloads)]))
        at = Position("bench.predictions", 0, number)
        self.join.prediction(f"booking-{number:012d}", number * GAP_MS, payload, at, number * GAP_MS)

    def report(self, among: int) -> None:
        """Take an outcome of one of the newest so many requests."""
        number = self.asked - 1 - self._chance.randrange(among)
        at = Position("bench.outcomes", 0, self.reported)
        self.reported += 1
        ts = self.asked * GAP_MS
        self.join.outcome(Outcome(f"booking-{number:012d}", ts, True), at, ts)

    def commit(self) -> None:
        """Write the changelog, then change the store."""
        encode, write = self.codec.encode, self._log.write
        for entry in self.join.out.entries:
            encode(entry)
        for key, state in records(self.join.out.changes):
            value = state if isinstance(state, bytes) else b"" if state is None else encode(state)
            write(LENGTHS.pack(len(key), NONE if state is None else len(value)) + key + value)
        position = self.join.position(self.asked, self.reported)
        value = encode(position)
        write(LENGTHS.pack(0, len(value)) + value)
        self.join.commit(position)

    def run(self, events: int, outcomes: bool, each: Callable[[int, float], None]) -> float:
        """Take so many records; gives events per second."""
        began = last = time.perf_counter()
        step = max(events // 10, BATCH)
        for number in range(1, events + 1):
            if outcomes and number % 2:
                self.report(self.rules.horizon_ms // GAP_MS)
            else:
                self.ask()
            if number % BATCH == 0:
                self.commit()
            if number % step == 0:
                now = time.perf_counter()
                each(self.join.waiting, step / (now - last))
                last = now
        return events / (time.perf_counter() - began)


def changelog(file: Path, codec: Codec) -> Iterator[Change]:
    """Read the changelog's file."""
    with file.open("rb", buffering=1 << 20) as log:
        while head := log.read(LENGTHS.size):
            key_length, length = LENGTHS.unpack(head)
            key = log.read(key_length)
            name = key.removeprefix(RESOLVED).decode()
            if length == NONE:
                if name.encode() == key:
                    yield name, None
                continue
            state = codec.decode_state(log.read(length))
            yield state if isinstance(state, JoinPosition) else (name, state)


def hotel(served: int) -> tuple[Codec, list[bytes]]:
    """Give the hotel task's codec, and so many of its predictions as they lie on Kafka."""
    loaded = load_task(str(examples() / "hotel_bookings" / "task.py"))
    task = loaded.task
    assert task.data is not None
    codec = Codec(task.name, task.kind, task.features)
    events = task.data.events(rows(loaded.data_path()), task.features)
    scores = (Score("lr", 1, 1234567, 0.123456789, False),)
    asked = (event.request for event, _ in zip(events, range(served), strict=False))
    return codec, [
        codec.encode(Prediction(f"booking-{0:012d}", each.ts, each.features, scores)) for each in asked
    ]


def opened(kind: str, folder: Path, codec: Codec, cache_mb: int, name: str) -> StateStore:
    """Open a store."""
    if kind == "memory":
        return MemoryStore()
    return RocksStore(folder / name, codec, RocksMemory.of(cache_mb))


def restore(kind: str, folder: Path, cache_mb: int, horizons: str) -> None:
    """Make the store anew from the changelog, then open it again; prints both."""
    codec, _ = hotel(1)
    horizon_ms, revision_horizon_ms = map(int, horizons.split(","))
    rules = JoinRules(horizon_ms, revision_horizon_ms, 0, 0, 10**9)
    before, began = resident_mb(), time.perf_counter()
    store = opened(kind, folder, codec, cache_mb, "anew")
    count = fill(store, rules, changelog(folder / "changelog", codec))
    seconds = time.perf_counter() - began
    print(f"  made anew from {count:,} records: {seconds:,.1f} s, {count / seconds:,.0f}/s", end="")
    print(
        f", {sum(store.waiting().values()):,} waiting, {resident_mb() - before:,.0f} MB more than at the start"
    )
    store.close()
    if kind == "rocks":
        began = time.perf_counter()
        again = opened(kind, folder, codec, cache_mb, "live")
        next(again.due())
        took = time.perf_counter() - began
        print(f"  opened again in place: {took:.2f} s, {sum(again.waiting().values()):,} waiting")
        again.close()


def main() -> None:
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--waiting", type=int, default=1_000_000)
    parser.add_argument(
        "--events", type=int, default=0, help="with so many waiting; a tenth of them by default"
    )
    parser.add_argument("--store", choices=["memory", "rocks"], default="rocks")
    parser.add_argument("--cache-mb", type=int, default=64)
    parser.add_argument("--folder", type=Path, help="for the store and the changelog; a new one by default")
    parser.add_argument("--later", action="store_true", help="do not make the store anew in this run")
    parser.add_argument("--restore", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.restore:
        restore(options.store, options.folder, options.cache_mb, options.restore)
        return
    folder = options.folder or Path(tempfile.mkdtemp(prefix="riverloop-join-"))
    folder.mkdir(parents=True, exist_ok=True)
    codec, payloads = hotel(5000)
    size = sum(map(len, payloads)) / len(payloads)
    print(
        f"store {options.store}, {options.waiting:,} waiting, predictions of {size:.0f} bytes, cache "
        f"{options.cache_mb} MB"
    )
    print(f"{'':<22}{'waiting':>12}{'events/s':>12}{'memory MB':>12}", flush=True)
    with (folder / "changelog").open("wb", buffering=1 << 20) as log:
        store = opened(options.store, folder, codec, options.cache_mb, "live")
        start = resident_mb()
        drive = Drive(options.waiting, store, codec, payloads, log)
        print(f"{'at the start':<22}{0:>12,}{'':>12}{start:>12.0f}")

        def row(what: str) -> Callable[[int, float], None]:
            return lambda waiting, rate: print(
                f"{what:<22}{waiting:>12,}{rate:>12,.0f}{resident_mb():>12.0f}", flush=True
            )

        filled = drive.run(options.waiting, False, row("requests only"))
        per_request = (resident_mb() - start) * 2**20 / drive.join.waiting
        steady = drive.run(options.events or options.waiting // 10, True, row("outcomes and expiries"))
        if options.store == "memory":
            print(f"  {per_request:,.0f} bytes per waiting request, its prediction's {size:.0f} among them")
        print(f"  requests only {filled:,.0f} events/s; with outcomes and expiries {steady:,.0f} events/s")
        horizons = (drive.rules.horizon_ms, drive.rules.revision_horizon_ms)
        store.close()
    if options.store == "rocks":
        on_disk = sum(file.stat().st_size for file in (folder / "live").iterdir()) / 2**20
        print(
            f"  {on_disk:,.0f} MB on disk, changelog {(folder / 'changelog').stat().st_size / 2**20:,.0f} MB"
        )
    command = [sys.executable, __file__, "--store", options.store, "--folder", str(folder)]
    command += ["--cache-mb", str(options.cache_mb), "--restore", ",".join(map(str, horizons))]
    if options.later:
        print("  " + " ".join(command))
        return
    sys.stdout.flush()
    subprocess.run(command, check=True)  # this file
    if not options.folder:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
