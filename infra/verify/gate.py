"""The gate in verification: its decisions come out again at their offsets, and so do its snapshots."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from infra.snapshots.models import LogPlace
from infra.snapshots.monitors import restore_monitors, spec_of
from infra.snapshots.store import SnapshotStore
from infra.verify.report import Report
from schemas.records import Command, Entry, Manifest
from streams.gate.decision import Decision
from streams.gate.lines import gate_monitor
from streams.rollout import ACTION, CHALLENGER, GATE
from streams.shares import SHARE
from streams.snapshot.digest import state_digest
from streams.task import Task
from streams.verify import Difference

EVIDENCE = ("challenger", "incumbent", "gate", "verdict", "decided_at")


class GateProof:
    """Folds the log into the gate of the task file, and compares what its commands say.

    Parameters
    ----------
    first
        Where the log begins. Behind 0 the oldest stored state of the gate goes on from there.
    """

    def __init__(
        self,
        task: Task,
        place: LogPlace,
        store: SnapshotStore | None,
        manifests: Iterable[Manifest],
        first: int,
        report: Report,
    ) -> None:
        self._gate, self._place, self._report = gate_monitor(task), place, report
        self._digest = self._gate.gate.digest
        spec = spec_of([self._gate])
        mine = [
            each
            for each in manifests
            if (each.kind, each.model, each.spec, each.log_topic_id)
            == ("metrics", GATE, spec, place.topic_id)
        ]
        self._states = sorted(mine, key=lambda each: -each.next_offset)
        """To compare, the oldest last."""
        self._whole = not first
        starts = [each.next_offset for each in mine if each.next_offset >= first]
        if first and store is not None and starts:
            restored = restore_monitors(GATE, [self._gate], store, task.name, place, min(starts))
            self._whole = restored >= first
        self._start = self._gate.next_offset
        if not self._whole:
            report.notes.append(
                "the gate is not refolded: the log is cut, and no state of the gate is stored"
            )

    def apply(self, offset: int, entry: Entry) -> None:
        """Take the next entry."""
        if not self._whole or offset < self._gate.next_offset:
            return
        self.arrive(offset)
        command = entry.command
        if command is not None and command.author == GATE and CHALLENGER in command.arguments:
            self._decision(offset, command)
        self._gate.apply(offset, entry)

    def arrive(self, offset: int) -> None:
        """Compare the states up to an offset with the fold, which has not taken the entry there."""
        while self._whole and self._states and self._states[-1].next_offset <= offset:
            manifest = self._states.pop()
            if manifest.next_offset <= self._start:
                continue
            self._report.snapshots += 1
            digest = state_digest({GATE: self._gate.snapshot()})
            if digest != manifest.state_digest:
                what = f"snapshot {manifest.version} differs from the fold of the log"
                self._report.fail([Difference(what, manifest.version, digest, manifest.state_digest)])

    def _decision(self, offset: int, command: Command) -> None:
        where = f"{self._place.topic}[0]@{offset}"
        if command.arguments.get("gate") != self._digest:
            self._report.counts["other_decisions"] += 1
            return
        found = next((each for each in self._gate.decisions() if each.id == command.id), None)
        said, mine = said_by(command), None if found is None else made_by(found)
        if said == mine:
            self._report.counts["decisions"] += 1
            return
        what = f"the gate's decision {command.id} is not what the log gives"
        self._report.fail([Difference(what, where, str(mine), str(said))])


def said_by(command: Command) -> dict[str, str]:
    """Return what a command says that must come out again."""
    given = command.arguments
    names = [*EVIDENCE, ACTION, *(each for each in given if each.startswith(SHARE))]
    return {name: given[name] for name in names if name in given} | {
        "reason": command.reason,
        "evidence": command.evidence,
    }


def made_by(decision: Decision) -> dict[str, str]:
    """Return what a decision's command says."""
    return said_by(dataclasses.replace(decision.logged(), id=""))
