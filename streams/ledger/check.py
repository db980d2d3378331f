"""Compares a history, read in order, with what the workload's plans demand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Final

from schemas.records import DeadLetter, Entry, Position, Prediction
from schemas.state import HeldState, JoinPosition
from streams.ledger.expected import Expected
from streams.ledger.facts import OF_A_FAULT, Facts, number_of
from streams.ledger.fates import NOBODY
from streams.ledger.findings import Findings
from streams.ledger.plan import Step
from streams.ledger.workload import Workload
from streams.metrics.waiting import PREFIX

NOT_PLANNED: Final = frozenset({"early"})
"""Counts that depend on who was faster, and say nothing about what was lost."""


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
    of_faults
        What must come of requests that faults have sent, each with one outcome for each step, by request id. One
        that is not named has no outcome.
    """

    def __init__(
        self,
        workload: Workload,
        refused: Mapping[str, int] | None = None,
        of_faults: Mapping[str, tuple[Step, ...]] | None = None,
    ) -> None:
        self.workload = workload
        self.expected = Expected(workload)
        self.findings = Findings()
        self.facts = Facts(self.expected, self.findings, of_faults)
        self.refused = dict(refused or {})
        self._refused = Counter(self.refused)
        self._sources: dict[tuple[int, str, int], int] = {}
        """By partition of the predictions and of the requests: the offset answered last."""
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
            # Requests of a further partition are answered on all partitions.
            key = (at.partition, source.topic, source.partition)
            if source.offset <= self._sources.get(key, -1):
                text = f"the prediction at {at} answers {source}, as an earlier one did"
                self.findings.doubled.add(text, number=number_of(name, self.workload))
                return
            self._sources[key] = source.offset
        number = number_of(name, self.workload)
        if number is not None:
            self._answered[number] = min(255, self._answered[number] + 1)
        elif name.startswith(OF_A_FAULT):
            self._of_faults[name] += 1
        elif name in self.workload.closing:
            self._closing[name] += 1
        else:
            self.findings.wrong.add(f"the prediction at {at} is for {name!r}, which was never asked")

    def entry(self, offset: int, entry: Entry) -> None:
        """Take an entry of the training log."""
        self.facts.take(offset, entry)

    # ------------------------------------------------------------------ dead letters, state

    def letter(self, letter: DeadLetter) -> None:
        """Take a dead letter."""
        key = (letter.key or b"").decode(errors="replace")
        if letter.source is not None:
            if letter.source in self._letter_at:
                text = f"a second dead letter for {letter.source}: {letter.reason}"
                self.findings.doubled.add(text, number=self._named(key))
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
        self.facts.finish()
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
        for name in self.facts.of_faults:
            if not self._of_faults[name]:
                findings.lost.add(f"{name}, which a fault has asked, has no prediction")

    def _finish_letters(self) -> None:
        due, found = self.expected.letters, self._letters
        for (reason, key), count in (due - found).items():
            self.findings.lost.add(f"the dead letter {reason} of {key!r}", count, self._named(key))
        for (reason, key), count in (found - due).items():
            tally = self.findings.doubled if (reason, key) in due else self.findings.wrong
            tally.add(f"a dead letter {reason} of {key!r} that is not due", count, self._named(key))
        for reason, count in (+self._refused).items():
            self.findings.lost.add(f"dead letters {reason} of a fault's records", count)

    def _named(self, key: str) -> int | None:
        """Give the number of the request that a dead letter is about, or came with."""
        return number_of(key.replace(NOBODY, "r"), self.workload)

    def _finish_state(self) -> None:
        findings, remembered = self.findings, self.expected.remembered
        for name, step in remembered.items():
            held = self._held.get(name)
            if held is None:
                findings.lost.add(f"the join state does not remember {name}", number=self._named(name))
            elif (told := (held.status, held.kind, held.value, held.revision)) != (
                "closed",
                step.kind,
                step.value,
                step.revision,
            ):
                text = f"the join state says {told} of {name}, where {step} stands"
                findings.wrong.add(text, number=self._named(name))
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
            planned_of_faults = self.facts.of_faults
            due["expired"] += len(self._of_faults.keys() - planned_of_faults.keys())
            for steps in planned_of_faults.values():
                due["outcomes"] += len(steps)
                due.update(step.kind for step in steps)
            due["duplicate_prediction"] += self._of_faults.total() - len(self._of_faults)
            due["forgotten"] = self._counts["forgotten"]  # by now only some of them are
        scores = sum(count for name, count in self._counts.items() if name.startswith(PREFIX))
        if scores > self._counts["predictions"]:
            findings.doubled.add(
                f"the joins counted {scores} scores of {self._counts['predictions']} predictions"
            )
        planned = {name for name in due | self._counts if not name.startswith(PREFIX)} - NOT_PLANNED
        for name in sorted(planned):
            if due[name] != self._counts[name]:
                findings.wrong.add(f"the joins counted {name} {self._counts[name]} times, not {due[name]}")
