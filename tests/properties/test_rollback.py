"""Going back: a rebuilt model is one that never saw what is left out; a version that is frozen is that version."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import CommandRejected, SnapshotError
from schemas.records import Command, Entry
from streams.commands import command_entry_id, decide, decide_revision
from streams.leave_out import Interval, LeaveOut
from streams.model import ModelFold
from streams.model_state import ModelState
from streams.revisions import ANCHORS, LEFT_OUT, ROLLBACK
from streams.roles import ANCHORS_OF_CHANGES
from streams.snapshot import dump
from streams.version import Version
from tests.properties.test_folds import TASK
from tests.properties.test_model_commands import FIRST, SECOND, answers, facts

MODEL, RUNTIME = TASK.models[0], "a runtime"


class Log:
    """A log that grows, the fold that a worker has of it, and the fold that a rollback makes beside it."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.fold = self.fresh()
        self.aside: ModelFold | None = None
        for model in TASK.models:
            opening = ModelFold(TASK, model, RUNTIME).opening()
            self.add(Entry(f"t/{model.name}/revision/1", "command", 0, command=opening))

    def fresh(self, left_out: str = "") -> ModelFold:
        fold = ModelFold(TASK, MODEL, RUNTIME, leave_out=LeaveOut.read(left_out))
        fold.past = self.past
        return fold

    def past(self, version: Version) -> ModelState | None:
        """Fold the log once more, up to a version."""
        known = self.fold.roles.revisions.of(FIRST)
        twin = self.fresh(next(each.left_out for each in known if each.number == version.revision))
        for offset, entry in enumerate(self.entries[: version.offset + 1]):
            twin.apply(offset, entry)
        return twin.snapshot() if twin.learned_version == version else None

    def add(self, entry: Entry) -> None:
        offset = len(self.entries)
        self.entries.append(entry)
        for fold in [self.fold, *([self.aside] if self.aside else [])]:
            fold.apply(offset, entry)

    def learn(self, first: int, last: int) -> None:
        for entry in facts()[first:last]:
            self.add(entry)

    def ask(self, command: Command) -> None:
        folds = {model.name: ModelFold(TASK, model) for model in TASK.models} | {FIRST: self.fold}
        if command.name == "revision":
            decided = decide_revision(command, self.fold.roles)
        else:
            decided = decide(command, self.fold.roles, folds)
        self.add(Entry(command_entry_id(TASK.name, decided), "command", 5, command=decided))

    def do(self, name: Any, number: int, **arguments: str) -> None:
        self.ask(Command(name, FIRST, arguments, "ada", "a test", f"c-{number}"))

    def finish(self, between: Callable[[], None] = lambda: None) -> None:
        """Do what the workers do for the rollback that is under way."""
        wanted = self.fold.roles.revisions.rollbacks[FIRST]
        if wanted.mode == "freeze":
            state = self.past(Version.parse(wanted.version))
            assert state is not None
            between()
            arguments = {ROLLBACK: wanted.id, "digest": digest_of(state)}
            self.ask(Command("freeze", FIRST, arguments, "worker", "rollback", f"{wanted.id}-done"))
            return
        self.aside = self.fresh(wanted.left_out)
        for offset, entry in enumerate(self.entries):
            self.aside.apply(offset, entry)
        anchor = restarted(self.aside)
        between()
        opening = self.aside.next_opening() | {ROLLBACK: wanted.id, ANCHORS: str(anchor.learned_version)}
        self.ask(Command("revision", FIRST, opening, "worker", "rollback", f"{wanted.id}-done"))
        self.fold.take_over(self.aside)
        self.aside = None


def digest_of(state: ModelState) -> str:
    fold = ModelFold(TASK, MODEL)
    fold.restore(state)
    return fold.digest


def restarted(fold: ModelFold) -> ModelFold:
    fresh = ModelFold(TASK, MODEL, RUNTIME, leave_out=fold.leave_out)
    fresh.restore(ModelState.load(dump(fold.snapshot().values()), MODEL))
    return fresh


def without(entries: Sequence[Entry], leave_out: LeaveOut) -> ModelFold:
    """A model that was never given what is left out."""
    fold = ModelFold(TASK, MODEL)
    for offset, entry in enumerate(entries):
        if entry.command is None and not leave_out.covers(offset, entry):
            fold.apply(offset, entry)
    return fold


LEVEL = next(
    (name, str(value))
    for entry in facts()[20:]
    if entry.prediction is not None
    for name, value in entry.prediction.features.items()
    if isinstance(value, str | bool)
)
TIMES = sorted(entry.ts for entry in facts())


@st.composite
def intervals(draw: st.DrawFn) -> Interval:
    kind = draw(st.sampled_from(("log", "event", "request")))
    places = range(20, 140) if kind == "log" else TIMES[:140]
    first, last = sorted((draw(st.sampled_from(places)), draw(st.sampled_from(places))))
    return Interval(kind, first, last, *(draw(st.sampled_from((LEVEL, ("", ""))))))


@settings(max_examples=40, deadline=None)
@given(st.lists(intervals(), min_size=1, max_size=3, unique=True), st.booleans())
def test_a_rebuilt_model_is_one_that_was_never_given_what_is_left_out(
    left_out: list[Interval], cut: bool
) -> None:
    log, leave_out = Log(), LeaveOut(tuple(sorted(left_out)))
    log.learn(0, 160)
    before = str(log.fold.version), log.fold.digest
    log.do("rollback", 1, mode="rebuild", left_out=leave_out.text)
    assert (str(log.fold.version), log.fold.digest) == before, "nothing changes before it takes over"
    log.finish(lambda: log.learn(160, 180))
    assert log.fold.digest == without(log.entries, leave_out).digest
    assert str(log.fold.version) == f"{FIRST}.2@{len(log.entries) - 1}"
    assert log.fold.leave_out == leave_out
    if cut:
        log.fold = restarted(log.fold)
        log.fold.past = log.past
    log.learn(180, 220)
    assert log.fold.digest == without(log.entries, leave_out).digest
    again = log.fresh(leave_out.text)
    for offset, entry in enumerate(log.entries):
        again.apply(offset, entry)
    assert (again.digest, again.version) == (log.fold.digest, log.fold.version)
    assert answers(again) == answers(log.fold)
    # What is in force for a worker that starts is in the roles.
    assert log.fold.roles.revisions.left_out(FIRST, log.fold.spec) == leave_out.text
    assert log.fold.roles.revisions.left_out(FIRST, "a new specification") == leave_out.text


def test_a_rebuild_teaches_nothing_of_one_level_and_all_the_rest() -> None:
    log, (feature, level) = Log(), LEVEL
    log.learn(0, 160)
    log.do("rollback", 1, mode="rebuild", left_out=LeaveOut.parse(["0..150"], f"{feature}={level}").text)
    log.finish()
    whole = without(log.entries, LeaveOut())
    assert 10 < log.fold.learned < whole.learned
    log.do("rollback", 2, mode="rebuild")
    log.finish()
    assert (log.fold.digest, log.fold.version.revision) == (whole.digest, 3)
    log.do("rollback", 3, mode="catch-up", version=f"{FIRST}.2@170")
    log.finish()
    assert log.fold.version.revision == 4
    assert log.fold.digest == without(log.entries, log.fold.leave_out).digest != whole.digest


def test_a_version_that_is_frozen_answers_bit_for_bit_and_can_catch_up_or_skip() -> None:
    for mode in ("catch-up", "skip"):
        log, never = Log(), Log()
        log.learn(0, 60)
        never.learn(0, 60)
        before, version, digest = answers(log.fold), log.fold.version, log.fold.digest
        log.learn(60, 120)
        assert answers(log.fold) != before
        log.do("rollback", 1, mode="freeze", version=str(version))
        assert answers(log.fold) != before
        log.finish(lambda log=log: log.learn(120, 125))  # type: ignore[misc]
        assert (answers(log.fold), log.fold.version, log.fold.digest) == (before, version, digest)
        log.learn(125, 150)
        log.fold = restarted(log.fold)
        log.fold.past = log.past
        assert (answers(log.fold), log.fold.version, log.fold.digest) == (before, version, digest)
        anew = log.fresh()
        for offset, entry in enumerate(log.entries):
            anew.apply(offset, entry)
        assert (answers(anew), anew.learned_digest) == (before, log.fold.learned_digest)
        assert log.fold.roles.kept == {str(version): "freeze"}
        log.do("resume", 2, mode=mode)
        resumed = len(log.entries) - 1
        never.learn(60, 150)
        assert log.fold.digest == (never.fold.digest if mode == "catch-up" else digest)
        skipped = "" if mode == "catch-up" else f"{version.offset + 1}..{resumed - 1}"
        assert log.fold.left_out_text == skipped
        log.learn(150, 170)
        left_out = LeaveOut((Interval("log", version.offset + 1, resumed),) if skipped else ())
        assert log.fold.digest == without(log.entries, left_out).digest


def test_a_state_that_is_not_at_hand_or_not_the_commands_is_never_frozen() -> None:
    log = Log()
    log.learn(0, 60)
    version = str(log.fold.version)
    log.learn(60, 80)
    log.do("rollback", 1, mode="freeze", version=version)
    log.fold.past = lambda version: None
    with pytest.raises(SnapshotError, match="whose state is not at hand here"):
        log.finish()


def rejections(log: Log) -> Iterator[tuple[dict[str, str], str]]:
    version = log.fold.version
    yield {"mode": "back"}, "rollback needs --mode freeze, catch-up, rebuild or abandon"
    yield {"mode": "abandon"}, "no rollback of .* is under way"
    yield {"mode": "catch-up"}, "answers all requests with all of the log learned: .* would change nothing"
    yield {"mode": "catch-up", "version": str(version)}, "catching up would change nothing"
    yield {"mode": "freeze", "version": f"{FIRST}.1@{len(log.entries)}"}, "name a version that has answered"
    yield {"mode": "freeze", "version": f"{FIRST}.7@3"}, "the log has no revision 7 of .*; it has 1"
    yield {"mode": "freeze", "version": f"{SECOND}.1@3"}, "is not a version of"
    yield {"mode": "freeze", "left_out": "[]"}, "--leave-out needs --mode rebuild"
    yield {"mode": "rebuild"}, "leaves nothing out already: give the intervals"
    yield {"mode": "rebuild", "left_out": "[[1]]"}, "is not a list of intervals"
    yield {"mode": "rebuild", "left_out": LeaveOut.parse(["3..900"]).text}, "the log ends at offset"
    unknown = LeaveOut.parse(["3..9"], "colour=red").text
    yield {"mode": "rebuild", "left_out": unknown}, "the dictionary has no feature 'colour'"


def test_what_cannot_be_is_rejected_with_the_reason() -> None:
    log = Log()
    log.learn(0, 60)
    for number, (arguments, why) in enumerate(rejections(log)):
        with pytest.raises(CommandRejected, match=why):
            log.do("rollback", number, **arguments)
    text = LeaveOut.parse(["20..30"]).text
    log.do("rollback", 50, mode="rebuild", left_out=text)
    with pytest.raises(CommandRejected, match=r"a rollback of .* is under way, id c-50"):
        log.do("rollback", 51, mode="rebuild", left_out=LeaveOut.parse(["20..31"]).text)
    log.do("rollback", 52, mode="abandon")
    stale = {"spec": log.fold.spec, "runtime": "r", ROLLBACK: "c-50", "dictionary": "d", LEFT_OUT: text}
    with pytest.raises(CommandRejected, match=r"the rollback 'c-50' of .* is over"):
        log.ask(Command("revision", FIRST, stale, "worker", "late", "c-50-done"))
    log.do("rollback", 53, mode="rebuild", left_out=text)
    assert log.fold.roles.revisions.rollbacks[FIRST].number == 3, (
        "a number that was set apart is given to nobody else"
    )
    other = stale | {ROLLBACK: "c-53", LEFT_OUT: LeaveOut.parse(["20..31"]).text}
    with pytest.raises(CommandRejected, match=r"the rollback 'c-53' opens another revision"):
        log.ask(Command("revision", FIRST, other, "worker", "another", "c-53-done"))
    log.do("freeze", 54)
    assert log.fold.roles.revisions.rollbacks == {}, "freezing ends it"
    with pytest.raises(CommandRejected, match="is frozen: run riverloop models resume first"):
        log.do("rollback", 55, mode="rebuild", left_out=text)


def test_anchors_are_kept_and_released_by_commands_and_named_where_the_answering_model_changes() -> None:
    log, newest = Log(), {FIRST: f"{FIRST}.1@40", SECOND: f"{SECOND}.1@41"}
    log.learn(0, 60)
    folds = {model.name: ModelFold(TASK, model) for model in TASK.models}
    log.do("keep", 1, version=f"{FIRST}.1@30")
    assert log.fold.roles.kept == {f"{FIRST}.1@30": "keep"}
    with pytest.raises(CommandRejected, match="is kept already"):
        log.do("keep", 2, version=f"{FIRST}.1@30")
    with pytest.raises(CommandRejected, match="the log has no revision 4"):
        log.do("keep", 3, version=f"{FIRST}.4@30")
    promote = decide(Command("promote", SECOND, {}, "ada", "better", "c-4"), log.fold.roles, folds, newest)
    log.add(Entry("t/command/c-4", "command", 5, command=promote))
    assert log.fold.roles.kept == {
        f"{FIRST}.1@30": "keep",
        newest[FIRST]: "promote",
        newest[SECOND]: "promote",
    }
    log.do("keep", 5, version=f"{FIRST}.1@30", release="true")
    assert f"{FIRST}.1@30" not in log.fold.roles.kept
    with pytest.raises(CommandRejected, match=r"lr.1@30 is not kept|is not kept; kept are"):
        log.do("keep", 6, version=f"{FIRST}.1@30", release="true")


def test_changes_add_a_bounded_number_of_anchors_and_kept_ones_stay() -> None:
    log, folds = Log(), {model.name: ModelFold(TASK, model) for model in TASK.models}
    log.learn(0, 60)
    log.do("keep", 1, version=f"{FIRST}.1@3")
    for number in range(2 * ANCHORS_OF_CHANGES):
        newest = {FIRST: f"{FIRST}.1@{number}", SECOND: f"{SECOND}.1@{number}"}
        asked = Command("promote", (SECOND, FIRST)[number % 2], {}, "ada", "better", f"p-{number}")
        entry = Entry(
            f"t/command/p-{number}", "command", 5, command=decide(asked, log.fold.roles, folds, newest)
        )
        log.add(entry)
    last = range(ANCHORS_OF_CHANGES, 2 * ANCHORS_OF_CHANGES)
    expected = {f"{name}.1@{number}": "promote" for name in (FIRST, SECOND) for number in last}
    assert log.fold.roles.kept == {f"{FIRST}.1@3": "keep"} | expected
