"""The gate in a worker: every worker folds it, so each knows what it waits for; the owner stores its state."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from functools import partial

from infra.clock import now_ms
from infra.runtime import runtime_fingerprint
from infra.snapshots.models import LogPlace
from infra.snapshots.monitors import pack_monitors, restore_monitors
from infra.snapshots.store import SnapshotStore
from infra.task.context import TaskContext
from infra.task.resume import Resume
from infra.task.snapshots import Take
from schemas.errors import RecordsGone
from streams.gate.lines import GateMonitor, gate_monitor
from streams.roles import Roles
from streams.rollout import GATE
from streams.task import Task

log = logging.getLogger(__name__)


def make_gate(task: Task) -> GateMonitor | None:
    """Return a task's gate with nothing folded; None where there is none, or nothing to compare."""
    return gate_monitor(task) if task.gate is not None and task.models[1:] else None


def restore_gate(
    gate: GateMonitor,
    roles: Roles,
    start: int,
    store: SnapshotStore,
    context: TaskContext,
    place: LogPlace,
    resume: Resume,
) -> int:
    """Restore the gate from its newest snapshot; gives where to read the log on, at most `start` (blocks).

    Parameters
    ----------
    roles, start
        Where the models continue. Where the log is cut off before, a gate without a snapshot begins there.
    """
    name = context.task.name
    at = restore_monitors(GATE, [gate], store, name, place, sys.maxsize)
    if at >= start:
        return start
    try:
        return resume.start_of(place.topic, at)
    except RecordsGone as gone:
        log.warning("%s: the gate begins at log offset %d: %s", name, start, gone)
        gate.begin(roles)
        return start


def gate_takes(gate: GateMonitor | None, task: Task, place: LogPlace) -> Iterator[Take]:
    """Return what takes the gate's snapshot, if there is something to take."""
    if gate is not None and gate.next_offset:
        state = (GATE, [gate], gate.next_offset, place)
        yield partial(pack_monitors, *state, task, runtime_fingerprint()[1], now_ms())
