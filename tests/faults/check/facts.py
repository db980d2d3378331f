"""Compares the facts of a training log with the entries that the plans expect."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Final

from schemas.records import Entry
from tests.faults.check.expected import Expected
from tests.faults.check.findings import Findings
from tests.faults.workload.plan import Step
from tests.faults.workload.workload import Workload

FACTS: Final = frozenset({"labelled", "expired", "late", "revised", "unavailable"})
FAULT_PREFIX: Final = "fault-"
"""Request ids of requests that faults send begin with this."""


class Chain:
    """The expected entries about one request, and how many of them have arrived."""

    __slots__ = ("arrived", "last", "steps")

    def __init__(self, steps: tuple[Step, ...]) -> None:
        self.steps = steps
        self.arrived = 0
        self.last: str | None = None
        """Id of the entry that arrived last."""


class Facts:
    """Takes the log entry by entry, in its order; memory grows only with the requests in flight.

    Parameters
    ----------
    expected
        The source of plans: one is taken when the log reaches its request.
    findings
        Where differences are added.
    fault_steps
        By request id: the entries expected for requests that faults have sent. One that is not named expires.
    """

    def __init__(
        self,
        expected: Expected,
        findings: Findings,
        fault_steps: Mapping[str, tuple[Step, ...]] | None = None,
    ) -> None:
        self.expected, self.findings = expected, findings
        self.fault_steps = dict(fault_steps or {})
        self._fault_chains: dict[str, Chain] = {
            name: Chain(steps) for name, steps in self.fault_steps.items()
        }
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
        holds = self._fact(offset, entry)
        if self._is_in_order(entry) or not holds:
            return
        text = f"{_describe(offset, entry)} follows a later one of its partition"
        self.findings.wrong.add(text, number=number_of(entry.prediction.request_id, self.expected.workload))

    def _is_in_order(self, entry: Entry) -> bool:
        """Whether an entry's trigger follows those before it: no record is processed twice, or out of order."""
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
        """Compare a fact with the plan of its request; returns whether it agrees."""
        assert entry.prediction is not None
        name = entry.prediction.request_id
        number = number_of(name, self.expected.workload)
        if number is None:
            if name.startswith(FAULT_PREFIX):
                return self._fault_entry(offset, entry, name)
            self.findings.wrong.add(f"{_describe(offset, entry)}: nothing is expected of {name!r}")
            return False
        while self.expected.taken <= number:
            plan = self.expected.take()
            assert plan is not None
            self._open[plan.number] = Chain(plan.steps)
        chain = self._open.get(number)
        if chain is None:
            text = f"{_describe(offset, entry)}: all entries about {name} had arrived before"
            self.findings.doubled.add(text, number=number)
            return False
        holds = self._advance(number, offset, entry, chain)
        if chain.arrived == len(chain.steps):
            del self._open[number]
        return holds

    def _fault_entry(self, offset: int, entry: Entry, name: str) -> bool:
        chain = self._fault_chains.get(name)
        if chain is None:  # only the fault knows its deadline
            chain = self._fault_chains[name] = Chain((Step("expired", entry.ts),))
        if chain.arrived == len(chain.steps):
            text = f"{_describe(offset, entry)}: all entries about {name} had arrived before"
            self.findings.doubled.add(text)
            return False
        return self._advance(None, offset, entry, chain)

    def _advance(self, number: int | None, offset: int, entry: Entry, chain: Chain) -> bool:
        step, steps, arrived = _step(entry), chain.steps, chain.arrived
        findings = self.findings
        expected = steps[arrived]
        if step == expected:
            difference = _wrong_correction(entry, chain)
            chain.arrived, chain.last = arrived + 1, entry.entry_id
            if difference:
                findings.wrong.add(f"{_describe(offset, entry)}: {difference}", number=number)
            return not difference
        if step in steps[:arrived]:
            findings.doubled.add(f"{_describe(offset, entry)}: it had arrived before", number=number)
            return False
        if step in steps[arrived:]:
            skipped = steps.index(step) - arrived
            text = f"{_describe(offset, entry)}: before it {expected} is missing"
            findings.lost.add(text, skipped, number)
            chain.arrived += skipped + 1
            chain.last = entry.entry_id
            return False
        findings.wrong.add(f"{_describe(offset, entry)}: {step}, expected {expected}", number=number)
        if step.kind == expected.kind:
            chain.arrived, chain.last = arrived + 1, entry.entry_id
        return False

    def finish(self) -> None:
        """Add what has not arrived to the findings."""
        while (plan := self.expected.take()) is not None:
            self._open[plan.number] = Chain(plan.steps)
        for number, chain in self._open.items():
            missing = chain.steps[chain.arrived :]
            text = f"of r{number}: {', '.join(map(str, missing))}"
            self.findings.lost.add(text, len(missing), number)
        self._open.clear()
        for name, chain in self._fault_chains.items():
            if missing := chain.steps[chain.arrived :]:
                self.findings.lost.add(f"of {name}: {', '.join(map(str, missing))}", len(missing))


def number_of(name: str, workload: Workload) -> int | None:
    """Return the number of a planned request; None for any other id."""
    if not (name.startswith("r") and name[1:].isdecimal()):
        return None
    number = int(name[1:])
    return number if number < workload.count else None


def _step(entry: Entry) -> Step:
    outcome = entry.outcome
    value, revision = (outcome.value, outcome.revision) if outcome else (None, None)
    return Step(entry.kind, entry.ts, value, revision, entry.late_by)


def _wrong_correction(entry: Entry, chain: Chain) -> str:
    """Describe how an entry differs in what it corrects; empty when it does not."""
    before = chain.steps[chain.arrived - 1] if chain.arrived else None
    found = (entry.corrects, entry.previous_kind, entry.previous)
    expected = (chain.last, before.kind, before.value) if before else (None, None, None)
    return "" if found == expected else f"it corrects {found}, expected {expected}"


def _describe(offset: int, entry: Entry) -> str:
    name = entry.prediction.request_id if entry.prediction else ""
    return f"entry {entry.entry_id} ({entry.kind} of {name}) at offset {offset}"
