"""Compares a history, read in order, with what the workload's plans demand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Final

from schemas.records import DeadLetter, Entry, Position, Prediction
from schemas.state import HeldState, JoinPosition
from streams.ledger.expected import Expected
from streams.ledger.findings import Findings
from streams.ledger.plan import Step
from streams.ledger.workload import Workload

FACTS: Final = frozenset({"labelled", "expired", "late", "revised", "unavailable"})
OF_A_FAULT: Final = "fault-"
"""Request ids that a fault has sent by itself begin so."""
NOT_PLANNED: Final = frozenset({"early"})
"""Counts that depend on who was faster, and say nothing about what was lost."""


class Chain:
    """The entries about one request that are still to come."""

    __slots__ = ("last", "place", "steps")

    def __init__(self, steps: tuple[Step, ...]) -> None:
        self.steps = steps
        self.place = 0
        """How many have come."""
        self.last: str | None = None
        """Id of the entry that came last."""


class Check:
    """Takes a history down, record by record, and says what of it does not hold.

    The log must be given in its order and whole, predictions by partition in order, dead letters and state in
    any order. Memory grows with what is under way, and with one byte per request.

    Parameters
    ----------
    workload
        What was sent.
    refused
        Dead letters by reason that faults have caused with records of their own.
    """

    def __init__(self, workload: Workload, refused: Mapping[str, int] | None = None) -> None:
        self.workload = workload
        self.expected = Expected(workload)
        self.findings = Findings()
        self.entries: Counter[str] = Counter()
        """Entries by kind."""
        self._refused = Counter(refused or {})
        self._open: dict[int, Chain] = {}
        self._triggers: dict[tuple[str, int], tuple[int, int]] = {}
        """By topic and partition: the offset and index of the newest entry."""
        self._sources: dict[int, int] = {}
        """By partition of the requests: the offset answered last."""
        self._answered = bytearray(workload.count)
        self._closing = Counter[str]()
        self._of_faults: Counter[str] = Counter()
        self._letters: Counter[tuple[str, str]] = Counter()
        self._letter_at: set[Position] = set()
        self._held: dict[str, HeldState] = {}
        self._counts: Counter[str] = Counter()

    # ------------------------------------------------------------------ predictions

    def prediction(self, prediction: Prediction, at: Position) -> None:
        """Take a prediction."""
        source, name = prediction.source, prediction.request_id
        if source is not None:
            if source.offset <= self._sources.get(source.partition, -1):
                self.findings.doubled.add(f"the prediction at {at} answers {source}, as an earlier one did")
                return
            self._sources[source.partition] = source.offset
        number = self._number(name)
        if number is not None:
            self._answered[number] = min(255, self._answered[number] + 1)
        elif name.startswith(OF_A_FAULT):
            self._of_faults[name] += 1
        elif name in self.workload.closing:
            self._closing[name] += 1
        else:
            self.findings.wrong.add(f"the prediction at {at} is for {name!r}, which was never asked")

    def _number(self, name: str) -> int | None:
        if not (name.startswith("r") and name[1:].isdecimal()):
            return None
        number = int(name[1:])
        return number if number < self.workload.count else None

    # ------------------------------------------------------------------ the log

    def entry(self, offset: int, entry: Entry) -> None:
        """Take an entry of the training log."""
        self.entries[entry.kind] += 1
        if entry.kind not in FACTS or entry.prediction is None:
            return
        found = self._fact(offset, entry)
        if self._follows(entry) or not found:
            return
        text = f"{_at(offset, entry)} comes after what came behind it in its partition"
        self.findings.wrong.add(text, number=self._number(entry.prediction.request_id))

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
        number = self._number(name)
        if number is None:
            if name.startswith(OF_A_FAULT) and entry.kind == "expired":
                return True
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

    def _advance(self, number: int, offset: int, entry: Entry, chain: Chain) -> bool:
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

    # ------------------------------------------------------------------ dead letters, state

    def letter(self, letter: DeadLetter) -> None:
        """Take a dead letter."""
        key = (letter.key or b"").decode(errors="replace")
        if letter.source is not None:
            if letter.source in self._letter_at:
                self.findings.doubled.add(f"a second dead letter for {letter.source}: {letter.reason}")
                return
            self._letter_at.add(letter.source)
        if key.startswith(OF_A_FAULT) and self._refused[letter.reason] > 0:
            self._refused[letter.reason] -= 1
            return
        self._letters[letter.reason, key] += 1

    def state(self, partition: int, held: Mapping[str, HeldState], position: JoinPosition | None) -> None:
        """Take a partition's join state, as its changelog gives it."""
        self._held |= held
        if position is None:
            self.findings.lost.add(f"partition {partition} has no position in its join state")
            return
        self._counts.update(position.counters)
        if position.stream_time != self.workload.closing_ts:
            self.findings.wrong.add(
                f"stream time of partition {partition} is {position.stream_time}, "
                f"not that of the closing request, {self.workload.closing_ts}"
            )

    # ------------------------------------------------------------------ the end

    def finish(self, acknowledged: Collection[str] = (), *, whole: bool = True) -> Findings:
        """Give what was found, when everything was taken.

        Parameters
        ----------
        acknowledged
            Request ids that faults sent over HTTP and got an answer to.
        whole
            Whether the join's state was given too.
        """
        while (plan := self.expected.take()) is not None:
            self._open[plan.number] = Chain(plan.steps)
        for number, chain in self._open.items():
            missing = chain.steps[chain.place :]
            self.findings.lost.add(f"of r{number}: {', '.join(map(str, missing))}", len(missing), number)
        self._open.clear()
        self._finish_predictions(acknowledged)
        self._finish_letters()
        if whole:
            self._finish_state()
        return self.findings

    def _finish_predictions(self, acknowledged: Iterable[str]) -> None:
        findings = self.findings
        if self._answered != self.expected.asked:
            pairs = enumerate(zip(self.expected.asked, self._answered, strict=True))
            for number, (asked, answered) in pairs:
                if answered < asked:
                    findings.lost.add(
                        f"r{number} was asked {asked} times, answered {answered}", asked - answered
                    )
                elif answered > asked:
                    findings.doubled.add(f"r{number} was asked {asked} times, answered {answered}")
        for name in self.workload.closing:
            if (count := self._closing[name]) != 1:
                tally = findings.lost if count == 0 else findings.doubled
                tally.add(f"the closing request {name} was answered {count} times")
        for name in acknowledged:
            if not self._of_faults[name]:
                findings.lost.add(f"{name} was answered over HTTP, and its prediction is not on the topic")

    def _finish_letters(self) -> None:
        due, found = self.expected.letters, self._letters
        for (reason, key), count in (due - found).items():
            self.findings.lost.add(f"the dead letter {reason} of {key!r}", count)
        for (reason, key), count in (found - due).items():
            tally = self.findings.doubled if (reason, key) in due else self.findings.wrong
            tally.add(f"a dead letter {reason} of {key!r} that is not due", count)
        for reason, count in (+self._refused).items():
            self.findings.lost.add(f"dead letters {reason} of a fault's records", count)

    def _finish_state(self) -> None:
        findings, remembered = self.findings, self.expected.remembered
        for name, step in remembered.items():
            held = self._held.get(name)
            if held is None:
                findings.lost.add(f"the join state does not remember {name}")
            elif (told := (held.status, held.kind, held.value, held.revision)) != (
                "closed",
                step.kind,
                step.value,
                step.revision,
            ):
                findings.wrong.add(f"the join state says {told} of {name}, where {step} stands")
        for name in self.workload.closing:
            if name not in self._held or self._held[name].status != "waiting":
                findings.lost.add(f"the closing request {name} does not wait in the join state")
        foreign = self._held.keys() - remembered.keys() - set(self.workload.closing)
        for name in sorted(foreign):
            if not name.startswith(OF_A_FAULT):
                findings.wrong.add(f"the join state remembers {name}, which was to be forgotten")
        due = self.expected.counts.copy()
        if self._of_faults:
            due["predictions"] += len(self._of_faults)
            due["expired"] += len(self._of_faults)
            due["duplicate_prediction"] += self._of_faults.total() - len(self._of_faults)
            due["forgotten"] = self._counts["forgotten"]  # by now only some of them are
        for name in sorted((due | self._counts).keys() - NOT_PLANNED):
            if due[name] != self._counts[name]:
                findings.wrong.add(f"the joins counted {name} {self._counts[name]} times, not {due[name]}")


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
