"""Who is tested against whom, and what should follow from it: steps, promotions, rollbacks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from schemas.records import Command, Entry
from streams.gate.book import DecisionBook
from streams.gate.decision import PROPOSED, Action, Decision, Verdict
from streams.gate.held import Who
from streams.gate.pair_test import PairTest
from streams.gate.rules import MS, Gate
from streams.roles import Roles
from streams.rollout import PROPOSAL, VALIDATION, Proposal
from streams.shares import UNIT

PHASES: Final = 64
"""Commands about which model answers that are remembered, the newest."""
ROLES: Final = frozenset({"promote", "share", "revision"})
"""Commands that change which model answers, beside those that do so in some cases only."""
RAISING: Final = frozenset({"promote", "share"})
OUTAGE: Final = "label outage"
Plan = tuple[tuple[int, int, PairTest], ...]
"""Places of the scores of the incumbent and of a challenger, and their test."""


class Wish(NamedTuple):
    """What the gate would have done."""

    action: Action
    challenger: str
    share: int
    reason: str


class Promotion:
    """Keeps the tests of a gate, and says what should be done.

    Parameters
    ----------
    task
        The task's name.
    gate
        The configuration.
    loss
        The loss in words.
    models
        Names of the models that compete.
    """

    def __init__(self, task: str, gate: Gate, loss: str, models: Sequence[str]) -> None:
        self.gate, self.models = gate, tuple(models)
        self.others = max(1, len(self.models) - 1)
        self.roles = Roles(task)
        self.incumbent = ""
        """The model that challengers are compared with: it goes on being so while another one has a share."""
        self.previous = ""
        """The incumbent before."""
        self.tests: dict[str, PairTest] = {}
        """By challenger, against the incumbent."""
        self.opened: dict[str, int] = {}
        """Tests so far, by challenger."""
        self.plans: dict[Who, Plan] = {}
        self._digest, self._loss = gate.digest, loss
        self._stepped = -1
        """Event time up to which the log was complete at the newest command about which model answers, ms."""
        self.wish: Wish | None = None
        """What would be done now."""
        self._shared: list[list[Any]] = []
        """Newest commands about which model answers: log offset, and the challenger with a share from then on."""
        self._verdicts: dict[str, tuple[Verdict, bool]] = {}
        self.book = DecisionBook()

    # ------------------------------------------------------------------ tests

    def plan(self, who: Who, now: int) -> Plan:
        """Return the tests that scores of these revisions count in; opens one for a revision that is new."""
        places = {model: (place, revision) for place, (model, revision) in enumerate(who)}
        found = list[tuple[int, int, PairTest]]()
        if self.incumbent in places:
            ours, answers = places.pop(self.incumbent)
            for model, (other, revision) in places.items():
                if model not in self.models:
                    continue
                test, pair = self.tests.get(model), (answers, revision)
                if test is None or (
                    pair != test.pair and pair[0] >= test.pair[0] and pair[1] >= test.pair[1]
                ):
                    test = self._open(model, pair, now)
                if test.pair == pair and not test.closed:
                    found.append((ours, other, test))
        self.plans[who] = plan = tuple(found)
        return plan

    def _open(self, challenger: str, pair: tuple[int, int], now: int) -> PairTest:
        self.opened[challenger] = number = self.opened.get(challenger, 0) + 1
        self.plans.clear()
        self._verdicts.pop(challenger, None)
        test = self.tests[challenger] = PairTest(self.gate, pair, self.others, number, now)
        return test

    def begin(self, roles: Roles) -> None:
        """Begin with the roles as they are at a position of the log."""
        self.roles.restore(roles.snapshot())
        self.incumbent = roles.rollout.incumbent

    def command(self, offset: int, entry: Entry, now: int) -> None:
        """Take a command of the log."""
        answering, command = self.roles.answering, entry.command
        shared = [name for name in answering if name != self.incumbent]
        proposals = dict(self.roles.rollout.proposals)
        self.roles.apply(offset, entry)
        if command is None:
            return
        self.book.logged(command.id)
        self._about_rollout(command, proposals)
        if command.name not in ROLES and self.roles.answering == answering:
            return
        before = self.incumbent
        if command.name in {"promote", "rollback"} or before not in self.roles.answering:
            self.incumbent = self.roles.champion
        if self.incumbent != before:
            self.previous = before
            self.tests.clear()
            self._verdicts.clear()
            self.book.clear()
        elif command.name == "promote":
            for test in (self.tests[name] for name in shared if name in self.tests):
                if not test.closed:
                    test.closed, test.why = True, "rolled back"
        self.plans.clear()
        if command.name != "revision":
            self._stepped = now
            self._drop_wish()
            sharing = [name for name in self.roles.answering if name != self.incumbent]
            self._shared = [*self._shared, [offset, sharing[0] if len(sharing) == 1 else ""]][-PHASES:]

    def shared_with(self, offset: int) -> str:
        """Return the challenger that answered beside the incumbent after an entry; empty: none, or several."""
        return next((str(name) for at, name in reversed(self._shared) if at <= offset), "")

    def _about_rollout(self, command: Command, proposals: Mapping[str, Proposal]) -> None:
        """Take what people, or the log's owner, say about a rollout; `proposals` are those before."""
        name, found = command.name, proposals.get(command.arguments.get(PROPOSAL, ""))
        if name == "retire":
            self._end(command.model, "retired")
        elif name == "abort":
            self._end(command.model, f"aborted by {command.author}")
        elif name == "reject" and found is not None and found.gate:
            self._end(found.model, f"rejected by {command.author}")
        elif (name == "withdraw" and found is not None and found.gate) or (
            name in {"pause", VALIDATION} and self._halted
        ):
            self._drop_wish()

    @property
    def _halted(self) -> bool:
        wish, rollout = self.wish, self.roles.rollout
        return wish is not None and wish.action in RAISING and rollout.paused(wish.challenger) != ""

    def _end(self, challenger: str, why: str) -> None:
        test = self.tests.get(challenger)
        if test is not None and not test.closed:
            test.closed, test.why = True, why
            self.plans.clear()
        if self.wish is not None and self.wish.challenger == challenger:
            self._drop_wish()

    def _drop_wish(self) -> None:
        """Forget what would be done: it is judged anew after the next cohort."""
        self.wish = None
        self.book.drop()

    def blocks(self, challenger: str, live: bool) -> list[str]:
        """Return what stands against raising a challenger.

        Parameters
        ----------
        live
            Whether no label outage is suspected or open.
        """
        test = self.tests.get(challenger)
        ratio = None if test is None else test.mismatch
        found = [] if live else [OUTAGE]
        return [*found, ratio.complaint] if ratio is not None else found

    # ------------------------------------------------------------------ decisions

    def judge(self, offset: int, now: int, blocked: str, sampled: float) -> None:
        """Judge all tests, after a whole cohort.

        Parameters
        ----------
        offset, now
            The entry at which this is, and the event time up to which the log is complete (ms).
        blocked
            Why nothing may be raised now; empty: it may.
        sampled
            Drawn part of all requests.
        """
        at = offset, now, sampled
        for name, test in self.tests.items():
            if not test.closed:
                test.judge(now)
                if test.closed:
                    self.plans.clear()
            stands = test.verdict, test.closed
            if stands != self._verdicts.get(name, ("continue", False)):
                self._verdicts[name] = stands
                owner = (
                    f"; ask {self.gate.owner}" if self.gate.owner and test.verdict == "inconclusive" else ""
                )
                why = f"{test.verdict}: {test.why}{owner}" if test.closed else test.verdict
                self._decide(Wish("verdict", name, 0, why), *at)
        wish = self._wanted(now, blocked)
        if wish != self.wish:
            before, self.wish = self.wish, wish
            if wish is not None:
                self._decide(wish, *at)
            elif before is not None and before.challenger in self.tests:
                verdict = self.tests[before.challenger].verdict
                self._decide(Wish("withdraw", before.challenger, 0, f"the verdict is {verdict}"), *at)

    def _decide(self, wish: Wish, offset: int, now: int, sampled: float) -> None:
        test = self.tests[wish.challenger]
        answers, revision = test.pair
        challenger, incumbent = f"{wish.challenger}.{revision}", f"{self.incumbent}.{answers}"
        kind = f"{wish.action}-{wish.share}" if wish.share else wish.action
        decision = Decision(
            f"gate-{self._digest[:8]}-{wish.challenger}.{revision}-{kind}-{offset}",
            offset,
            now,
            wish.action,
            test.verdict,
            challenger,
            incumbent,
            wish.share,
            self.gate.decide == "propose" and wish.action in ("promote", "share"),
            wish.reason,
            test.evidence(self._digest, self._loss, sampled),
        )
        self.book.add(decision)

    def _wanted(self, now: int, blocked: str) -> Wish | None:
        answering = self.roles.answering
        sharing = [name for name in answering if name != self.incumbent]
        if len(sharing) > 1 or (sharing and sharing[0] not in self.tests):
            return None  # shared out by hand, or not tested yet
        if sharing:
            return self._next_step(sharing[0], answering[sharing[0]] * 100 / UNIT, now, blocked)
        better = [name for name, test in self.tests.items() if test.verdict == "better" and not test.closed]
        if not better:
            return None
        best = max(better, key=lambda name: self.tests[name].total / self.tests[name].n)
        return self._step(best, 0.0, blocked)

    def _next_step(self, challenger: str, share: float, now: int, blocked: str) -> Wish | None:
        test = self.tests[challenger]
        if test.closed or test.verdict == "worse":
            return Wish("rollback", challenger, 0, f"{test.verdict}: {test.why or 'its loss is higher'}")
        if now - self._stepped < self.gate.hold // MS:
            return None
        return self._step(challenger, share, blocked)

    def _step(self, challenger: str, share: float, blocked: str) -> Wish:
        test = self.tests[challenger]
        ratio = test.mismatch
        waits = (
            blocked,
            self.roles.rollout.paused(challenger),
            ratio.complaint if ratio else "",
            f"signal {test.signals}" if test.signals else "",
            f"the verdict is {test.verdict}" if test.verdict != "better" else "",
        )
        if reasons := "; ".join(each for each in waits if each):
            return Wish("hold", challenger, 0, reasons)
        # The model before was promoted once: it comes back at once.
        steps = (100,) if challenger == self.previous and not share else self.gate.steps
        step = next(each for each in steps if each > share)
        return Wish(
            "promote" if step == 100 else "share", challenger, step, "better than the model that answers"
        )

    def proposal(self) -> Decision | None:
        """Return the decision that asks for a command now."""
        if self.wish is None or self.wish.action not in PROPOSED:
            return None
        return self.book.newest_wish()

    # ------------------------------------------------------------------ state

    def snapshot(self) -> Any:
        """Return the state: plain data."""
        return {
            "roles": self.roles.snapshot(),
            "models": [self.incumbent, self.previous],
            "tests": {name: test.snapshot() for name, test in self.tests.items()},
            "opened": dict(self.opened),
            "stepped": self._stepped,
            "shared": [list(each) for each in self._shared],
            "wish": None if self.wish is None else list(self.wish),
            "verdicts": {name: list(each) for name, each in self._verdicts.items()},
            "book": self.book.snapshot(),
        }

    def restore(self, state: Any) -> None:
        """Take over a state that `snapshot` gave."""
        self.roles.restore(state["roles"])
        self.incumbent, self.previous = state["models"]
        self.tests = {
            name: PairTest.of(self.gate, self.others, each) for name, each in state["tests"].items()
        }
        self.opened, self._stepped = dict(state["opened"]), state["stepped"]
        self._shared = [list(each) for each in state["shared"]]
        self.wish = None if state["wish"] is None else Wish(*state["wish"])
        self._verdicts = {name: (verdict, closed) for name, (verdict, closed) in state["verdicts"].items()}
        self.book.restore(state["book"])
        self.plans.clear()
