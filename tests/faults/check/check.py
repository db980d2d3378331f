"""Compares everything that a run has committed with what the workload's plans expect."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Final

from schemas.records import DeadLetter, Entry, Position, Prediction
from schemas.state import JoinPosition, JoinRecord
from streams.metrics.waiting import PREFIX
from tests.faults.check.expected import Expected
from tests.faults.check.facts import FAULT_PREFIX, Facts, number_of
from tests.faults.check.findings import Findings
from tests.faults.workload.plan import Step
from tests.faults.workload.scenarios import UNKNOWN_PREFIX
from tests.faults.workload.workload import Workload

NOT_PLANNED: Final = frozenset({"early"})
"""Counters that depend on timing, and show nothing about losses."""


class Check:
    """Takes a history record by record, and collects the differences.

    The log must come whole and in its order, predictions by partition in order, dead letters and state in any
    order. Memory grows with the requests in flight, and by one byte per request.

    Parameters
    ----------
    workload
        What was sent.
    fault_dead_letters
        Dead letters by reason that faults have caused with records of their own.
    fault_steps
        By request id: the entries expected for requests that faults have sent, each with one outcome for each
        step. One that is not named has no outcome.
    """

    def __init__(
        self,
        workload: Workload,
        fault_dead_letters: Mapping[str, int] | None = None,
        fault_steps: Mapping[str, tuple[Step, ...]] | None = None,
    ) -> None:
        self.workload = workload
        self.expected = Expected(workload)
        self.findings = Findings()
        self.facts = Facts(self.expected, self.findings, fault_steps)
        self.fault_dead_letters = dict(fault_dead_letters or {})
        self._missing_fault_dead_letters = Counter(self.fault_dead_letters)
        self._sources: dict[tuple[int, str, int], int] = {}
        """By partition of the predictions and of the requests: the offset answered last."""
        self._answers = bytearray(workload.count)
        self._closing = Counter[str]()
        self._fault_predictions: Counter[str] = Counter()
        self._dead_letters: Counter[tuple[str, str]] = Counter()
        self._dead_letter_sources: set[Position] = set()
        self._states: dict[str, JoinRecord] = {}
        self._counts: Counter[str] = Counter()

    # ------------------------------------------------------------------ predictions

    def prediction(self, prediction: Prediction, at: Position) -> None:
        """Take a prediction."""
        source, name = prediction.source, prediction.request_id
        if source is not None:
            # Requests of an added partition are answered on all partitions.
            key = (at.partition, source.topic, source.partition)
            if source.offset <= self._sources.get(key, -1):
                text = f"the prediction at {at} answers {source}, as an earlier one did"
                self.findings.doubled.add(text, number=number_of(name, self.workload))
                return
            self._sources[key] = source.offset
        number = number_of(name, self.workload)
        if number is not None:
            self._answers[number] = min(255, self._answers[number] + 1)
        elif name.startswith(FAULT_PREFIX):
            self._fault_predictions[name] += 1
        elif name in self.workload.closing:
            self._closing[name] += 1
        else:
            self.findings.wrong.add(f"the prediction at {at} is for {name!r}, which was never requested")

    def entry(self, offset: int, entry: Entry) -> None:
        """Take an entry of the training log."""
        self.facts.take(offset, entry)

    # ------------------------------------------------------------------ dead letters, state

    def dead_letter(self, dead_letter: DeadLetter) -> None:
        """Take a dead letter."""
        key, reason = (dead_letter.key or b"").decode(errors="replace"), dead_letter.reason
        if dead_letter.source is not None:
            if dead_letter.source in self._dead_letter_sources:
                text = f"a second dead letter for {dead_letter.source}: {reason}"
                self.findings.doubled.add(text, number=self._number_in(key))
                return
            self._dead_letter_sources.add(dead_letter.source)
        if key.startswith(FAULT_PREFIX) and self._missing_fault_dead_letters[reason] > 0:
            self._missing_fault_dead_letters[reason] -= 1
            return
        self._dead_letters[reason, key] += 1

    def state(self, partition: int, states: Mapping[str, JoinRecord], position: JoinPosition | None) -> None:
        """Take a partition's join state, as its changelog contains it."""
        self._states |= states
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

    def finish(self, acknowledged: Collection[str] = (), *, with_state: bool = True) -> Findings:
        """Return the findings, after everything was taken.

        Parameters
        ----------
        acknowledged
            Request ids that faults sent over HTTP and that were answered.
        with_state
            Whether the joins' state was taken as well.
        """
        self.facts.finish()
        self._finish_predictions(acknowledged)
        self._finish_dead_letters()
        if with_state:
            self._finish_state()
            self._finish_counts()
        return self.findings

    def _finish_predictions(self, acknowledged: Iterable[str]) -> None:
        findings = self.findings
        if self._answers != self.expected.request_counts:
            pairs = enumerate(zip(self.expected.request_counts, self._answers, strict=True))
            for number, (sent, answered) in pairs:
                if answered < sent:
                    text = f"r{number} was sent {sent} times, answered {answered}"
                    findings.lost.add(text, sent - answered)
                elif answered > sent:
                    findings.doubled.add(f"r{number} was sent {sent} times, answered {answered}")
        for name in self.workload.closing:
            if (count := self._closing[name]) != 1:
                tally = findings.lost if count == 0 else findings.doubled
                tally.add(f"the closing request {name} was answered {count} times")
        for name in acknowledged:
            if not self._fault_predictions[name]:
                findings.lost.add(f"{name} was answered over HTTP, and its prediction is not on the topic")
        for name in self.facts.fault_steps:
            if not self._fault_predictions[name]:
                findings.lost.add(f"{name}, which a fault has sent, has no prediction")

    def _finish_dead_letters(self) -> None:
        expected, found = self.expected.dead_letters, self._dead_letters
        for (reason, key), count in (expected - found).items():
            self.findings.lost.add(f"the dead letter {reason} of {key!r}", count, self._number_in(key))
        for (reason, key), count in (found - expected).items():
            tally = self.findings.doubled if (reason, key) in expected else self.findings.wrong
            tally.add(f"an unexpected dead letter {reason} of {key!r}", count, self._number_in(key))
        for reason, count in (+self._missing_fault_dead_letters).items():
            self.findings.lost.add(f"dead letters {reason} of a fault's records", count)

    def _number_in(self, key: str) -> int | None:
        """Return the number of the request that a dead letter is about, or came with."""
        return number_of(key.replace(UNKNOWN_PREFIX, "r"), self.workload)

    def _finish_state(self) -> None:
        findings, remembered = self.findings, self.expected.remembered
        for name, step in remembered.items():
            state = self._states.get(name)
            if state is None:
                findings.lost.add(f"the join state does not contain {name}", number=self._number_in(name))
                continue
            known = state.resolution
            found = (known.kind, known.value, known.revision) if known else None
            if found != (step.kind, step.value, step.revision):
                text = f"the join state of {name} is {found}, expected {step}"
                findings.wrong.add(text, number=self._number_in(name))
        for name in self.workload.closing:
            if name not in self._states or self._states[name].status != "waiting":
                findings.lost.add(f"the closing request {name} is not pending in the join state")
        foreign = self._states.keys() - remembered.keys() - set(self.workload.closing)
        for name in sorted(foreign):
            if not name.startswith(FAULT_PREFIX):
                findings.wrong.add(f"the join state contains {name}, which should be forgotten")

    def _finish_counts(self) -> None:
        expected = self.expected.counts.copy()
        if self._fault_predictions:
            fault_steps = self.facts.fault_steps
            expected["predictions"] += len(self._fault_predictions)
            expected["expired"] += len(self._fault_predictions.keys() - fault_steps.keys())
            for steps in fault_steps.values():
                expected["outcomes"] += len(steps)
                expected.update(step.kind for step in steps)
            repeated = self._fault_predictions.total() - len(self._fault_predictions)
            expected["duplicate_prediction"] += repeated
            expected["forgotten"] = self._counts["forgotten"]  # depends on timing: some of them are
        scores = sum(count for name, count in self._counts.items() if name.startswith(PREFIX))
        if scores > self._counts["predictions"]:
            self.findings.doubled.add(
                f"the joins counted {scores} scores of {self._counts['predictions']} predictions"
            )
        names = {name for name in expected | self._counts if not name.startswith(PREFIX)} - NOT_PLANNED
        for name in sorted(names):
            if expected[name] != self._counts[name]:
                found = self._counts[name]
                self.findings.wrong.add(f"the joins counted {name} {found} times, not {expected[name]}")
