"""Compares the facts of a training log, read in its order, with the entries that the plans demand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Final

from schemas.records import Entry
from streams.ledger.expected import Expected
from streams.ledger.findings import Findings
from streams.ledger.plan import Step
from streams.ledger.workload import Workload

FACTS: Final = frozenset({"labelled", "expired", "late", "revised", "unavailable"})
OF_A_FAULT: Final = "fault-"
"""Request ids that a fault has sent by itself begin so."""


class Chain:
    """The entries about one request that are still to come."""

    __slots__ = ("last", "place", "steps")

    def __init__(self, steps: tuple[Step, ...]) -> None:
        self.steps = steps
        self.place = 0
        """How many have come."""
        self.last: str | None = None
        """Id of the entry that came last."""


class Facts:
    """Takes the log down, entry by entry; memory grows with what is under way only.

    Parameters
    ----------
    expected
        Where plans come from: one is taken when the log comes to its request.
    findings
        Where what does not hold is put.
    of_faults
        What must come of requests that faults have sent, by request id. One that is not named expires.
    """

    def __init__(
        self,
        expected: Expected,
        findings: Findings,
        of_faults: Mapping[str, tuple[Step, ...]] | None = None,
    ) -> None:
        self.expected, self.findings = expected, findings
        self.of_faults = dict(of_faults or {})
        self._chains: dict[str, Chain] = {name: Chain(steps) for name, steps in self.of_faults.items()}
        """Of the requests of faults."""
        self.kinds: Counter[str] = Counter()
        """Entries by kind."""
        self._open: dict[int, Chain] = {}
        self._triggers: dict[tuple[str, int], tuple[int, int]] = {}
        """By topic and partition: the offset and index of the newest entry."""

    def take(self, offset: int, entry: Entry) -> None:
        """Take an entry of the training log."""
        self.kinds[entry.kind] += 1
        if entry.kind not in FACTS or entry.prediction is None:
            return
        found = self._fact(offset, entry)
        if self._follows(entry) or not found:
            return
        text = f"{_at(offset, entry)} comes after what came behind it in its partition"
        self.findings.wrong.add(text, number=number_of(entry.prediction.request_id, self.expected.workload))

    def _follows(self, entry: Entry) -> bool:
        """Whether an entry's trigger comes after those before it: no record is worked on twice, or out of turn."""
        trigger = entry.trigger
        if trigger is None:
            return True
        key = (trigger.topic, trigger.partition)
        place = (trigger.offset, int(entry.entry_id.rpartition("#")[2]))
        if place <= self._triggers.get(key, (-1, -1)):
            return False
        self._triggers[key] = place
        return True

    def _fact(self, offset: int, entry: Entry) -> bool:
        """Compare a fact with the plan of its request; gives whether it holds."""
        assert entry.prediction is not None
        name = entry.prediction.request_id
        number = number_of(name, self.expected.workload)
        if number is None:
            if name.startswith(OF_A_FAULT):
                return self._of_a_fault(offset, entry, name)
            self.findings.wrong.add(f"{_at(offset, entry)}: nothing was to come of {name!r}")
            return False
        while self.expected.taken <= number:
            plan = self.expected.take()
            assert plan is not None
            self._open[plan.number] = Chain(plan.steps)
        chain = self._open.get(number)
        if chain is None:
            self.findings.doubled.add(
                f"{_at(offset, entry)}: all about {name} had come before", number=number
            )
            return False
        holds = self._advance(number, offset, entry, chain)
        if chain.place == len(chain.steps):
            del self._open[number]
        return holds

    def _of_a_fault(self, offset: int, entry: Entry, name: str) -> bool:
        chain = self._chains.get(name)
        if chain is None:  # its deadline is known to the fault alone
            chain = self._chains[name] = Chain((Step("expired", entry.ts),))
        if chain.place == len(chain.steps):
            self.findings.doubled.add(f"{_at(offset, entry)}: all about {name} had come before")
            return False
        return self._advance(None, offset, entry, chain)

    def _advance(self, number: int | None, offset: int, entry: Entry, chain: Chain) -> bool:
        step, steps, place = _step(entry), chain.steps, chain.place
        findings = self.findings
        wanted = steps[place]
        if step == wanted:
            fault = _wrong_correction(entry, chain)
            chain.place, chain.last = place + 1, entry.entry_id
            if fault:
                findings.wrong.add(f"{_at(offset, entry)}: {fault}", number=number)
            return not fault
        if step in steps[:place]:
            findings.doubled.add(f"{_at(offset, entry)}: it came before", number=number)
            return False
        if step in steps[place:]:
            skipped = steps.index(step) - place
            findings.lost.add(f"{_at(offset, entry)}: before it {wanted} is missing", skipped, number)
            chain.place += skipped + 1
            chain.last = entry.entry_id
            return False
        findings.wrong.add(f"{_at(offset, entry)}: {step}, where {wanted} is due", number=number)
        if step.kind == wanted.kind:
            chain.place, chain.last = place + 1, entry.entry_id
        return False

    def finish(self) -> None:
        """Say what has not come."""
        while (plan := self.expected.take()) is not None:
            self._open[plan.number] = Chain(plan.steps)
        for number, chain in self._open.items():
            missing = chain.steps[chain.place :]
            text = f"of r{number}: {', '.join(map(str, missing))}"
            self.findings.lost.add(text, len(missing), number)
        self._open.clear()
        for name, chain in self._chains.items():
            if missing := chain.steps[chain.place :]:
                self.findings.lost.add(f"of {name}: {', '.join(map(str, missing))}", len(missing))


def number_of(name: str, workload: Workload) -> int | None:
    """Give the number of a planned request; None for any other id."""
    if not (name.startswith("r") and name[1:].isdecimal()):
        return None
    number = int(name[1:])
    return number if number < workload.count else None


def _step(entry: Entry) -> Step:
    outcome = entry.outcome
    value, revision = (outcome.value, outcome.revision) if outcome else (None, None)
    return Step(entry.kind, entry.ts, value, revision, entry.late_by)


def _wrong_correction(entry: Entry, chain: Chain) -> str:
    """Say what is wrong about what an entry corrects; empty when nothing is."""
    before = chain.steps[chain.place - 1] if chain.place else None
    told = (entry.corrects, entry.previous_kind, entry.previous)
    due = (chain.last, before.kind, before.value) if before else (None, None, None)
    return "" if told == due else f"it corrects {told}, where {due} stands"


def _at(offset: int, entry: Entry) -> str:
    name = entry.prediction.request_id if entry.prediction else ""
    return f"entry {entry.entry_id} ({entry.kind} of {name}) at offset {offset}"
