"""The test of one challenger against the model that answers, both in one revision."""

from __future__ import annotations

import math
from collections import deque
from typing import Any, Final

from streams.gate.decision import Evidence, Verdict
from streams.gate.harm import HarmTest, names
from streams.gate.ratio import ALPHA, SHARES, Ratio
from streams.gate.rules import MS, Gate
from streams.gate.wager import Wager, excludes, interval

PLAIN: Final = (
    *(
        "number",
        "opened",
        "n",
        "total",
        "squares",
        "unlabelled",
        "low",
        "low_squares",
        "high",
        "high_squares",
    ),
    *("start", "end", "first", "last", "verdict", "closed", "why"),
)


class PairTest:
    """Counts gains, and says what they show.

    - *better*: the wager and the empirical Bernstein bound both say so, and the newest requests do not deny it.
      The wager alone may rest on a time in which the challenger was better; the bound is about the mean so far.
    - *worse*: the same with the roles exchanged; it stays so while the mean says it, whatever the newest ones say.
    - *equivalent*: the interval lies within the margin.
    - *inconclusive*: none of these when the budget or the time ends.

    Parameters
    ----------
    pair
        Revisions of the model that answers and of the challenger.
    models
        Challengers of the task: each has an equal part of the budgets of errors.
    number
        Which test of this challenger it is, from 1: the n-th has the part 1 / (n (n + 1)) of the challenger's.
    opened
        Event time, ms.
    """

    def __init__(self, gate: Gate, pair: tuple[int, int], models: int, number: int, opened: int) -> None:
        self.gate, self.pair, self.models, self.number, self.opened = gate, pair, models, number, opened
        part = models * number * (number + 1)
        self.alpha = gate.alpha / part
        self.wager = Wager()
        self.gains: list[float] = []
        """Of the cohort at work: those with a label."""
        self.n = self.unlabelled = 0
        self.total = self.squares = 0.0
        self.low = self.low_squares = self.high = self.high_squares = 0.0
        """Sums of the smallest and largest gains of requests without a label, and of their squares."""
        self.start = self.end = 0
        self.first = self.last = -1
        self.verdict: Verdict = "continue"
        self.closed = False
        self.why = ""
        """Why it was closed."""
        self.cohorts: deque[tuple[int, float]] = deque()
        """The newest: labelled requests and the sum of their gains."""
        self.recent_n = 0
        self._before = (0, 0.0)
        self.ratios: dict[float, Ratio] = {}
        each = gate.harm_alpha / part / max(1, len(gate.guardrails))
        self.harms = tuple(HarmTest(rule, each, gate.recent) for rule in gate.guardrails)

    # ------------------------------------------------------------------ what counts

    def take_range(self, low: float, high: float) -> None:
        """Take a request without a label, of which only bounds of the gain are known."""
        self.unlabelled += 1
        self.low += low
        self.low_squares += low * low
        self.high += high
        self.high_squares += high * high
        self.wager.take_range(low, high)

    def shared(self, share: float, key: str, challenger: bool) -> None:
        """Take which model answered a request while the models shared them out."""
        ratio = self.ratios.get(share)
        if ratio is None:
            if len(self.ratios) >= SHARES:
                del self.ratios[next(iter(self.ratios))]
            ratio = self.ratios[share] = Ratio(share)
        ratio.take(key, challenger)

    # ------------------------------------------------------------------ what it shows

    def settle(self, start: int, end: int, offsets: tuple[int, int]) -> None:
        """Count a cohort of requests made in [start, end), ms."""
        gains, self.gains = self.gains, []
        self.n += len(gains)
        self.total += math.fsum(gains)
        self.squares += math.fsum([each * each for each in gains])
        self.wager.take(*gains)
        if self.first < 0:
            self.start, self.first = start, offsets[0]
        self.end, self.first = end, min(self.first, offsets[0])
        self.last = max(self.last, offsets[1])
        self.wager.bound()
        n, total = self._before
        if self.n > n:
            self.cohorts.append((self.n - n, self.total - total))
            self.recent_n += self.n - n
            self._before = self.n, self.total
            while self.recent_n - self.cohorts[0][0] >= self.gate.recent:
                self.recent_n -= self.cohorts.popleft()[0]
        for harm in self.harms:
            harm.settle()

    def judge(self, now: int) -> Verdict:
        """Return the verdict at an event time (ms); ends the test when its budget or its time is over."""
        if self.closed:
            return self.verdict
        broken = names(harm for harm in self.harms if harm.rule.kind == "guardrail")
        if broken:
            self.verdict, self.closed, self.why = "worse", True, f"guardrail {broken}"
            return self.verdict
        self.verdict = self._verdict() if self.n >= self.gate.least else "continue"
        over = self.n >= self.gate.budget or now - self.opened >= self.gate.until // MS
        if over and self.verdict != "better":
            self.closed = True
            self.why = "the budget is used up" if self.n >= self.gate.budget else "its time is over"
            if self.verdict == "continue":
                self.verdict = "inconclusive"
        return self.verdict

    def _verdict(self) -> Verdict:
        alpha, margin, n = self.alpha, self.gate.margin, self.n + self.unlabelled
        low, high = self.total + self.low, self.total + self.high
        below, above = self.squares + self.low_squares, self.squares + self.high_squares
        # What was once shown at level alpha stays shown (Ville), as long as the numbers do not turn.
        if margin and (
            (self.verdict == "equivalent" and -margin * n < low and high < margin * n)
            or (excludes(low + n * margin, below, alpha) and excludes(n * margin - high, above, alpha))
        ):
            return "equivalent"
        if self.recent > 0.0 and low > 0.0:
            shown = self.wager.positive * alpha >= 1.0 and excludes(low, below, alpha)
            return "better" if shown or self.verdict == "better" else "continue"
        if high < 0.0 and (self.verdict == "worse" or self.recent < 0.0):
            shown = self.wager.negative * alpha >= 1.0 and excludes(-high, above, alpha)
            return "worse" if shown or self.verdict == "worse" else "continue"
        return "continue"

    @property
    def recent(self) -> float:
        """Mean gain of the newest requests with a label."""
        return math.fsum(total for _, total in self.cohorts) / self.recent_n if self.recent_n else 0.0

    @property
    def mismatch(self) -> Ratio | None:
        """A share of the requests that is not the one that was drawn."""
        return next((each for each in self.ratios.values() if each.e_value >= 1.0 / ALPHA), None)

    @property
    def signals(self) -> str:
        """Names of the signals that are broken now."""
        return names(harm for harm in self.harms if harm.rule.kind == "signal")

    def evidence(self, gate: str, loss: str, sampled: float) -> Evidence:
        """Return what it rests on.

        Parameters
        ----------
        gate
            Digest of the configuration.
        loss
            The loss in words.
        sampled
            Drawn part of all requests.
        """
        n = self.n + self.unlabelled
        squares = self.squares + self.low_squares, self.squares + self.high_squares
        sums = self.total + self.low, self.total + self.high
        low, high = interval(n, *sums, squares, self.alpha) if n else (-1.0, 1.0)
        return Evidence(
            gate,
            loss,
            (self.start, self.end),
            (self.first, self.last),
            self.n,
            self.unlabelled,
            sampled,
            self.total / self.n if self.n else 0.0,
            low,
            high,
            self.wager.positive,
            self.wager.negative,
            self.alpha,
            self.number,
            self.recent,
            self.recent_n,
            max((each.e_value for each in self.ratios.values()), default=1.0),
            tuple(each.found() for each in self.harms),
        )

    # ------------------------------------------------------------------ state

    def snapshot(self) -> Any:
        """Return the state: plain data."""
        return {
            "pair": list(self.pair),
            "plain": [getattr(self, name) for name in PLAIN],
            "wager": self.wager.snapshot(),
            "cohorts": [list(each) for each in self.cohorts],
            "before": list(self._before),
            "ratios": [each.snapshot() for each in self.ratios.values()],
            "harms": [each.snapshot() for each in self.harms],
        }

    @staticmethod
    def of(gate: Gate, models: int, state: Any) -> PairTest:
        """Return what `snapshot` gave."""
        plain = dict(zip(PLAIN, state["plain"], strict=True))
        test = PairTest(gate, tuple(state["pair"]), models, plain["number"], plain["opened"])
        for name, value in plain.items():
            setattr(test, name, value)
        test.wager.restore(state["wager"])
        test.cohorts = deque((n, total) for n, total in state["cohorts"])
        test.recent_n, test._before = sum(n for n, _ in test.cohorts), tuple(state["before"])
        test.ratios = {each[0]: Ratio.of(each) for each in state["ratios"]}
        for harm, each in zip(test.harms, state["harms"], strict=True):
            harm.restore(each)
        return test
