"""What happens to workers: deaths, hangs, twins, lost folders, wrong clocks."""

from __future__ import annotations

import resource
import shutil
import time
from collections.abc import Callable
from typing import Final

from agents.ledger.field import Field
from agents.ledger.strike import Strike
from agents.ledger.worker import LedgerWorker
from agents.settings import Settings
from infra.kafka.crashpoints import POINTS
from infra.snapshots.store import STATE, SnapshotStore

HUNG_S: Final = 8.0
"""Longer than a consumer's session, 6 s."""
FULL_S: Final = 10.0
PASSED_S: Final = 60.0
"""A crash point that is not passed for so long is given up: the worker had no part in what passes it."""
SLOW: Final = ("serve:0.1", "join:0.1", "owner:0.3")
"""Role and delay (s) of each transaction while others abort."""
OWNERS: Final = ("between-publish-and-commit", "in-snapshot")
"""Points that only the log's owner passes."""
OFTEN: Final = 300
"""Entries between two snapshots where a worker is to die in one."""
SELDOM: Final = ("in-revoke", "in-restore")
"""Points that are passed at a rebalance only."""


def kill(field: Field) -> None:
    """Kill a random worker at a random time."""
    field.wait_progress(field.random.randrange(1, 500))
    worker = field.pick()
    field.kill(worker)
    field.restart(worker)


def crash(point: str) -> Callable[[Field], None]:
    """Make what lets a worker die at a point; for the owner's points the worker that will be the owner."""

    def act(field: Field) -> None:
        doomed = field.owner() if point in OWNERS else field.pick()
        count = 1 if point in (*OWNERS, *SELDOM) else field.random.randrange(1, 30)
        field.stop(doomed)
        settings = {"snapshot_every": str(OFTEN)} if point == "in-snapshot" else {}
        field.start(doomed, crash_point=f"{point}:{count}", **settings)
        if point == "in-revoke":
            field.wait_ready(doomed)
            newcomer = field.make(1 + max(each.number for each in field.workers))
            field.workers.append(newcomer)
            field.start(newcomer)
            _wait_dead(field, doomed)
            field.wait_ready(newcomer)
            field.remove(newcomer)
        else:
            _wait_dead(field, doomed)
        # Without the fault it starts anew, also where it has not died of it.
        field.kill(doomed)
        field.restart(doomed)

    return act


def _wait_dead(field: Field, doomed: LedgerWorker) -> None:
    until = time.monotonic() + PASSED_S
    while doomed.running:
        if time.monotonic() > until or not field.sender.go_on():
            field.say("the crash point was not passed; the worker is killed")
            return
        time.sleep(0.05)
    field.died(doomed)


def hang(field: Field) -> None:
    """Stop a worker in mid-air for longer than its session, and let it go on as a zombie."""
    worker = field.pick()
    field.pause(worker)
    time.sleep(HUNG_S)
    field.resume(worker)
    field.wait_ready(worker)


def twin(field: Field) -> None:
    """Run a second process with a worker's slot, and so with its transactional ids, beside it."""
    other = field.make(field.pick().number)
    field.workers.append(other)
    field.restart(other)
    field.wait_progress(200)
    field.remove(other)


def add_and_remove(field: Field) -> None:
    """Add a worker, and remove another one."""
    field.add()
    field.wait_progress(300)
    field.remove(field.pick())


def stop_and_start(field: Field) -> None:
    """Stop a worker in order and start it again."""
    worker = field.pick()
    field.stop(worker)
    field.wait_progress(100)
    field.restart(worker)


def full_disk(field: Field) -> None:
    """Let no file grow any more that a worker writes: its limit of file size is zero for a while."""
    worker = field.pick()
    resource.prlimit(worker.pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
    time.sleep(FULL_S)
    resource.prlimit(worker.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def lost_folder(field: Field) -> None:
    """Kill a worker and delete all snapshots: models and metrics are folded from the log's beginning."""
    worker = field.pick()
    field.kill(worker)
    shutil.rmtree(field.folder / "snapshots", ignore_errors=True)
    field.restart(worker)


def torn_snapshot(field: Field) -> None:
    """Kill a worker and cut the newest snapshot of each kind short: the one before is used, and the log."""
    worker = field.pick()
    field.kill(worker)
    key = Settings.load().snapshot_key.encode() or None
    store = SnapshotStore(str(field.folder / "snapshots"), key)
    torn: dict[str, str] = {}
    for manifest in store.manifests(field.topics.task):
        if manifest.model not in torn:
            torn[manifest.model] = manifest.version
            state = field.folder / "snapshots" / field.topics.task / manifest.version / STATE
            state.write_bytes(state.read_bytes()[:-1])
    field.restart(worker)
    # Healed: `verify` would find them, as it should.
    for version in torn.values():
        store.delete(field.topics.task, version)


def wrong_clock(field: Field) -> None:
    """Let a worker's wall clock jump by a day, forth and back."""
    worker = field.pick()
    field.stop(worker)
    field.restart(worker, clock_jump=field.random.choice(("86400:2", "-86400:2")))
    field.wait_progress(500)
    field.stop(worker)
    field.restart(worker)


def aborts(field: Field) -> None:
    """Abort a tenth of all transactions, while those of one role are slow: the others go past them."""
    slow = field.random.choice(SLOW)
    for worker in field.running():
        field.stop(worker)
        field.restart(worker, abort_rate="0.1", abort_seed=str(field.random.randrange(1000)), slow=slow)
    field.wait_progress(1500)
    for worker in field.running():
        field.stop(worker)
        field.restart(worker)


WORKER_FAULTS: Final = (
    Strike("kill", "A random worker is killed (SIGKILL) at a random time and started again.", kill),
    *(
        Strike(f"crash-{point}", f"A worker kills itself (SIGKILL) at the point {point}.", crash(point))
        for point in POINTS
    ),
    Strike("hang", "A worker is stopped for 8 s, past its session; awake again it is fenced.", hang),
    Strike("twin", "A second process has a worker's transactional ids; they fence each other.", twin),
    Strike("add-remove", "A worker joins, and a random one leaves.", add_and_remove),
    Strike("stop-start", "A worker is stopped in order and started again.", stop_and_start),
    Strike("full-disk", "No file of a worker can grow for 10 s (RLIMIT_FSIZE).", full_disk),
    Strike("lost-folder", "A worker is killed and all snapshots are deleted.", lost_folder),
    Strike("torn-snapshot", "A worker is killed and the newest snapshots are cut short.", torn_snapshot),
    Strike("wrong-clock", "A worker's wall clock jumps by a day every 2 s, forth and back.", wrong_clock),
    Strike("aborts", "A tenth of all transactions is aborted, and those of one role are slow.", aborts),
)
"""In the order in which the page lists them."""
