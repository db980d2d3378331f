"""Cards and comparisons: every number follows from the entries, and no text is taken for a mark."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from html.parser import HTMLParser
from typing import Any

import pytest
from river import linear_model, preprocessing

from schemas import Category, Dictionary, Number
from schemas.alert import Alert, Evidence
from schemas.event_time import EPOCH
from schemas.records import Command, Control, Entry, Outcome, Request
from streams import MemoryDriver, Model, OnArrival, Race, Select, Task
from streams.metrics.metric_rules import MetricRules
from streams.metrics.shadow_comparison import interval
from streams.papers.card import (
    Card,
    StateFacts,
    decisions,
    episodes,
    measured_parts,
    training_facts,
)
from streams.papers.contested import ContestFacts, contest_facts, contest_fold
from streams.papers.difference import compare
from streams.papers.document import Code, Heading, Paragraph, Table, markdown, page
from streams.papers.history import VersionHistory
from streams.papers.layout import card_blocks
from streams.papers.specification import Specification, declared, parts, stored
from streams.papers.validated import validations
from streams.rollout import VALIDATION
from streams.version import Version
from tests.gate_task import Loop, events, quick
from tests.gate_task import make_task as scripted

NASTY = '<script>alert("x")</script> | `code` *bold* [link](http://x) # head\x1b[31m\n- item'


SCHEMA = (
    '{"fields": [{"name": "features", "type": {"fields": ['
    '{"name": "x", "type": "double"}, {"name": "gone", "type": ["null", "long"]}]}}]}'
)


def pipeline() -> Any:
    return Select("x") | preprocessing.StandardScaler() | linear_model.LogisticRegression()


def make_task(**changes: Any) -> Task:
    said: dict[str, Any] = {
        "name": "cards",
        "question": "Will it hold?",
        "features": Dictionary(
            Number(name="x", unit="kg", low=0, owner="scales", purpose="what it weighs"),
            Category(name="country", levels=("DE", "FR")),
            Category(name="guest", levels=("Ada Lovelace",), missing="nobody", personal_data="tokenised"),
        ),
        "horizon": timedelta(days=10),
        "earliest": EPOCH,
        "models": (Model("lr", pipeline, policy=OnArrival()), Model("other", pipeline, policy=OnArrival())),
        "metrics": MetricRules(segments=("country",), least=1),
    }
    return Task(**(said | changes))


def history_of(
    task: Task, requests: int = 400, at: int = 300
) -> tuple[VersionHistory, list[Entry], MemoryDriver]:
    """Play requests whose outcome comes at once, every tenth corrected later; gives the history of a version."""
    driver, chance = MemoryDriver(task), random.Random(7)
    for number in range(requests):
        x, country = chance.random() * 10, chance.choice(["DE", "FR"])
        driver.ask(Request(f"r{number}", number * 1000, {"x": x, "country": country, "guest": "token"}))
        driver.report(Outcome(f"r{number}", number * 1000 + 1, x + chance.gauss(0, 2) > 5, 1))
        if number % 10 == 0 and number:
            driver.report(Outcome(f"r{number - 1}", number * 1000 + 2, True, 2))
    offset = next(
        score.offset
        for entry in driver.log[at:]
        if entry.prediction
        for score in entry.prediction.scores
        if score.model == "lr"
    )
    history = VersionHistory(task, Version("lr", 1, offset), task.models[0])
    for place, entry in enumerate(driver.log):
        history.apply(place, entry)
    return history, driver.log, driver


# ---------------------------------------------------------------------- numbers


def last_labels(log: Sequence[Entry]) -> dict[str, tuple[float, bool, int, str]]:
    """By request: score, label as it stands, the scoring version's offset, country."""
    found = {}
    for entry in log:
        if entry.prediction is not None and entry.outcome is not None:
            score = next(each for each in entry.prediction.scores if each.model == "lr")
            assert isinstance(score.score, float)
            assert isinstance(entry.outcome.value, bool)
            country = str(entry.prediction.features["country"])
            found[entry.prediction.request_id] = (score.score, entry.outcome.value, score.offset, country)
    return found


def test_metrics_are_those_of_the_labels_as_they_stand_by_the_version_that_scored() -> None:
    history, log, _ = history_of(make_task())
    offset = history.version.offset
    labels = last_labels(log).values()
    by_part = {
        "earlier versions": [each for each in labels if each[2] < offset],
        "this version": [each for each in labels if each[2] == offset],
        "later versions": [each for each in labels if each[2] > offset],
    }
    found = measured_parts(history)
    assert [(each.role, each.scored_by) for each in found] == [("served", part) for part in by_part]
    for part in found:
        rows = by_part[part.scored_by]
        assert part.labels == len(rows)
        metrics = {each.name: each for each in part.metrics}
        right = [float((score > 0.5) == label) for score, label, *_ in rows]
        assert metrics["accuracy"].value == pytest.approx(sum(right) / len(rows))
        squares = [(score - label) ** 2 for score, label, *_ in rows]
        assert metrics["brier"].value == pytest.approx(sum(squares) / len(rows))
        assert sum(row["count"] for row in part.calibration) == len(rows)
        for segment, values in part.segments.items():
            country = segment.removeprefix("country=")
            assert values[0].labels == sum(each[3] == country for each in rows)
        if len(rows) < 100:
            assert metrics["accuracy"].low is None
            continue
        one = 1 << 64
        total = sum(int(each * one) for each in right)
        _, low, high = interval(len(right), total, total)
        assert (metrics["accuracy"].low, metrics["accuracy"].high) == (max(low, 0.0), min(high, 1.0))
        assert metrics["roc_auc"].low is None, "it is no mean"


def test_the_training_history_ends_at_the_version() -> None:
    history, log, driver = history_of(make_task())
    offset = history.version.offset
    facts = [entry for entry in log[: offset + 1] if entry.command is None]
    found = training_facts(history, 0)
    assert (found.first_offset, found.last_offset) == (2, offset)
    assert sum(found.kinds.values()) == offset + 1
    assert found.labels == sum(entry.kind == "labelled" for entry in facts)
    assert found.labels is not None
    assert found.labels < driver.models[0].learned
    assert found.first_request_ts == 0


# ---------------------------------------------------------------------- specification, dictionary


def test_a_specification_is_read_from_its_text_whatever_is_in_it() -> None:
    described = Model("lr-2", lambda **_: pipeline(), {"rate": 0.1, "names": ["a, b", "c)"]}).describe()
    parameters, policy, text = parts(described)
    assert parameters == {"rate": "0.1", "names": "['a, b', 'c)']"}
    assert policy == "OnArrival()"
    assert text == repr(pipeline())
    assert parts("lr(f=<function f>)\npolicy: P()\nx")[0] == {"parameters": "f=<function f>"}
    assert parts("") == ({}, "", "")


def test_the_dictionary_shows_purposes_owners_and_marks_and_nothing_of_a_person() -> None:
    x, country, guest = declared(make_task().features)
    assert x == ("x", "number", "kg", "0 …", "required", "no", "scales", "what it weighs")
    assert country.limits == "DE, FR"
    assert guest.personal == "yes: stored as a keyed hash"
    assert "Ada" not in str(guest)
    assert "nobody" not in str(guest)


def test_the_features_of_an_older_dictionary_come_from_its_schema() -> None:
    x, gone = stored(SCHEMA, make_task().features)
    assert (x.type, x.owner, x.purpose) == ("number", "scales", "what it weighs")
    assert (gone.name, gone.type, gone.missing, gone.owner) == ("gone", "integer", "may be missing", "")


# ---------------------------------------------------------------------- episodes, decisions


def alert(episode: str, state: Any = "opened", **changes: Any) -> Alert:
    made = Alert(
        f"cards/{episode}",
        state,
        "warning",
        "drift",
        "log_loss",
        "up",
        "lr",
        "lr.1@5",
        "",
        Evidence("d", "s"),
        1,
        False,
        9,
        1000,
        1000,
        "The loss rose.",
    )
    return replace(made, **changes)


def test_episodes_of_the_revision_and_of_the_task_are_listed_without_personal_values() -> None:
    quoted = "'Ada Lovelace': 1% of the values, now 90%"
    alerts = [
        alert("drift@1"),
        alert("drift@1", "closed", ts=5000, alarms=3, text="No further alarm."),
        alert("drift@2", version="lr.2@50"),
        alert("drift@3", model="other", version="other.1@3"),
        alert("quality@4", family="quality", model="", version="", feature="country", text=quoted),
        alert(
            "learning/lr.1@6",
            family="learning",
            signal="skipped",
            request_id="ada@example.org",
            exception="KeyError at task.py:3",
            text="lr skips log offset 9, request ada@example.org",
        ),
    ]
    found = episodes(alerts, Version("lr", 1, 9), make_task().features)
    assert [each.episode for each in found] == ["cards/drift@1", "cards/learning/lr.1@6", "cards/quality@4"]
    assert (found[0].closed_ts, found[0].alarms, found[0].text) == (5000, 3, "The loss rose.")
    assert found[1].text == "skipped at log offset 9: KeyError at task.py:3"
    assert "ada" not in str(found).lower()
    plain = episodes(alerts, Version("lr", 1, 9), Dictionary(Number(name="x")))
    assert quoted in {each.text for each in plain}


def test_decisions_are_those_that_change_what_the_model_does() -> None:
    def audit(name: Any, model: str, rejected: str = "", **arguments: str) -> Control:
        command = Command(name, model, arguments, "ada", "why", "id", "token", 1, "a table")
        return Control("audit", command, 2, "" if rejected else f"cards/command/{name}", rejected)

    audits = [
        audit("freeze", "lr"),
        audit("freeze", "lr", "lr is frozen already"),
        audit("freeze", "other"),
        audit("promote", "other"),
        Control(
            "audit", Command("share", "", {"share.lr": "0.9", "share.other": "0.1", "salt": "s"}), 3, "e"
        ),
    ]
    found = decisions(audits, "lr", {"cards/command/freeze": 7})
    assert [(each.command, each.result) for each in found] == [
        ("freeze lr", "done"),
        ("freeze lr", "rejected: lr is frozen already"),
        ("promote other", "done"),
        ("share lr=0.9 other=0.1", "done"),
    ]
    assert (found[0].log_offset, found[0].author, found[0].authentication) == (7, "ada", "token")
    assert (found[3].author, found[3].authentication) == ("riverloop", "the worker")


# ---------------------------------------------------------------------- documents


class Seen(HTMLParser):
    """Tags and texts of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


BLOCKS = (Heading(NASTY), Paragraph(NASTY), Table((NASTY, "b"), [(NASTY, "")]), Code(NASTY))


def test_html_shows_every_text_as_it_is() -> None:
    seen = Seen()
    seen.feed(page(NASTY, BLOCKS))
    assert "script" not in seen.tags
    assert set(seen.tags) == {
        *("html", "head", "meta", "title", "style", "body", "h2", "p", "table", "thead", "tbody", "tr"),
        *("th", "td", "pre"),
    }
    assert sum('<script>alert("x")</script>' in each for each in seen.texts) == 6
    assert "\x1b" not in "".join(seen.texts)


def test_markdown_has_no_mark_that_a_text_brought() -> None:
    made = markdown(BLOCKS)
    heading, paragraph, *rest = made.split("\n\n")
    for each in (heading, paragraph):
        assert len(each.splitlines()) == 1
        assert "<script>" not in each
        assert not re.search(r"(?<!\\)[`*|\[\]]", each)
    head, rule, row = rest[0].splitlines()
    assert rule == "--- | ---"
    assert len(re.findall(r"(?<!\\)\|", head)) == 1
    assert len(re.findall(r"(?<!\\)\|", row)) == 3, "bars at the ends, since the last cell is empty"
    assert made.count("```") == 2
    cells = markdown([Table(("a", "b"), [("- x", "-0.5"), ("1. y", "# z")])])
    assert cells.splitlines()[2:] == ["\\- x | -0.5", "1\\. y | # z"]
    fenced = markdown([Code("a\n````\nb")])
    assert fenced.startswith("`````text\n")


def card_of(version: str = "lr.1@300") -> Card:
    task = make_task()
    history, _, driver = history_of(task)
    model = driver.models[0]
    text = task.models[0].describe()
    specification = Specification(
        model.spec,
        text,
        "a manifest",
        task.features.digest,
        "r1",
        "river 1",
        "",
        declared(task.features),
        "So.",
    )
    return Card(
        task.name, task.question, task.kind, version, "lr", "cards.log", 900, specification, "served 1", "shadow",
        StateFacts("a manifest", 298, 0, -1, "3..7", "d1"), training_facts(history, 0), measured_parts(history),
    )  # fmt: skip


def test_a_card_says_what_is_not_known_and_from_which_offset_it_was_made() -> None:
    card = card_of()
    full = markdown(card_blocks(card))
    assert "Made from cards.log before offset 900" in full
    for words in ("Will it hold?", "3..7", "examples learned | 298", "country=DE", "what it weighs"):
        assert words in full
    assert "git commit of the task file | not known" in full
    assert "The topic of alerts has no episode about this revision or its task." in full
    bare = replace(card, specification=Specification(), state=StateFacts("no snapshot"), measured=())
    shown = markdown(card_blocks(bare))
    assert "examples learned | not known" in shown
    assert "log offsets left out by command | not known" in shown
    assert "The features of this dictionary are not known" in shown
    assert "No score of this revision has a label." in shown
    cut = markdown(card_blocks(replace(card, training=training_facts(history_of(make_task())[0], 100))))
    assert "The log begins at offset 100" in cut


def test_a_card_has_the_rollout_of_its_model_where_the_gate_has_decided_something() -> None:
    gate = {
        "gate": "better",
        "gain": "+0.0400 (+0.0300 to +0.0500)",
        "matured": 1234,
        "state": "waits for approval",
        "waits for": "an approval of p-1",
        "decision": {"at": "2026-11-29 10:00:00"},
    }
    plain = card_of()
    assert "# Rollout" not in markdown(card_blocks(plain))
    text = markdown(card_blocks(replace(plain, gate=gate)))
    assert "## Rollout" in text
    for shown in ("+0.0400 (+0.0300 to +0.0500)", "1234", "an approval of p-1", "2026-11-29 10:00:00"):
        assert shown in text


def contest_of(gate: Any, since: int = 0) -> tuple[Loop, ContestFacts]:
    """Play requests on which `b` is better; gives the loop, and what a card says of its gate."""
    loop = Loop(scripted(gate)).run(events(1500, lambda n, draw: (0.3, 0.5)))
    fold = contest_fold(loop.driver.task, 0, [], {})
    assert fold is not None
    for offset, entry in enumerate(loop.driver.log):
        fold.apply(offset, entry)
    return loop, contest_facts(fold, fold.promotion.roles, since)


def test_a_card_has_each_challenger_with_its_gain_and_all_that_the_gate_has_said() -> None:
    loop, contest = contest_of(quick(margin=0.01))
    assert contest.leaderboard == ()
    (line,) = contest.challengers
    assert [each["offset"] for each in contest.decisions] == [each.offset for each in loop.gate.decisions()]
    text = markdown(card_blocks(replace(card_of(), contest=contest)))
    assert f"The gate of the task file, {loop.gate.gate.digest}, at the end of the log: Brier" in text
    assert "at least 200 matured requests" in text
    assert "within 0.01 two models are equivalent; steps 10 %, 100 %; no step needs an approval." in text
    assert "deleted" not in text
    test = loop.gate.promotion.tests[line["model"]]
    gain = f"{line['gain']:+.4f} ({line['low']:+.4f} to {line['high']:+.4f})"
    assert test.n > 300
    for shown in (line["challenger"], gain, f"| {test.n:,} |", line["waits_for"], "1970-01-09 to 1970-01-16"):
        assert shown in text
    assert f"{line['e_value']:.3g} of {1 / test.alpha:.3g}" in text
    assert "share 10 %, better | b.1 against a.1 | +0." in text
    assert "promote 100 %, better | b.1 against a.1 | +0." in text
    assert "entries were deleted" in markdown(
        card_blocks(replace(card_of(), contest=contest_of(quick(), 7)[1]))
    )
    data = json.loads(json.dumps(replace(card_of(), contest=contest).data(), allow_nan=True))
    assert data["contest"]["challengers"][0]["verdict"] == line["verdict"]


def test_a_card_has_the_leaderboard_of_a_race() -> None:
    _, contest = contest_of(Race(least=100, recent=100))
    assert [each["model"] for each in contest.leaderboard] == ["b", "a"]
    text = markdown(card_blocks(replace(card_of(), contest=contest)))
    assert "## Race" in text
    assert "the lowest mean answers" in text
    leads, other = contest.leaderboard
    assert f"b | leads | {leads['loss']:.4f} |" in text
    assert f"a | {other['status']} | {other['loss']:.4f} | {other['gain']:+.4f} |" in text
    assert text.count("promote 100 %, continue | b.1 against a.1 | +0.") == 1


def test_a_gate_that_begins_behind_the_log_s_beginning_has_the_roles_of_there() -> None:
    loop, _ = contest_of(quick())
    log = loop.driver.log
    commands = [(at, each) for at, each in enumerate(log) if each.command is not None]
    audits = [Control("audit", each.command, each.ts, each.entry_id) for _, each in commands if each.command]
    offsets = {each.entry_id: at for at, each in commands}
    last = commands[-1][0]
    fold = contest_fold(loop.driver.task, last + 1, audits, offsets)
    before = contest_fold(loop.driver.task, last, audits, offsets)
    assert fold is not None
    assert before is not None
    assert (before.promotion.incumbent, fold.promotion.incumbent) == ("a", "b")
    assert before.promotion.roles.answering == {"a": 900_000, "b": 100_000}
    fold.apply(last + 1, log[last + 1])
    assert contest_fold(replace(loop.driver.task, gate=None), 0, [], {}) is None


def test_a_comparison_lists_each_kind_of_difference_and_only_those() -> None:
    one = card_of()
    assert [row for row in compare(one, one) if not row.equal] == []
    task = make_task()
    changed = task.features.features[0]
    features = Dictionary(replace(changed, purpose="a guess"), Number(name="y"), *task.features.features[2:])
    text = one.specification.text.replace("lr()", "lr(rate=2)").replace("OnArrival", "Never")
    text = text.replace("StandardScaler", "MinMaxScaler")
    specification = replace(one.specification, text=text, features=declared(features), runtime="r2")
    assert one.state is not None
    state = replace(one.state, left_out="", learned=299)
    other = replace(one, specification=specification, state=state, measured=one.measured[:1])
    rows = {(row.section, row.name): (row.one, row.other) for row in compare(one, other) if not row.equal}
    assert rows["parameters", "rate"] == ("absent", "2")
    assert rows["specification", "policy"] == ("OnArrival()", "Never()")
    differing = rows["specification", "pipeline, differing lines"]
    assert ["StandardScaler" in each for each in differing] == [True, False]
    assert ["LogisticRegression" in each for each in differing] == [False, False]
    assert rows["specification", "runtime"] == ("r1", "r2")
    assert "a guess" in rows["dictionary", "x"][1]
    assert rows["dictionary", "country"][1] == rows["dictionary", "y"][0] == "absent"
    assert ("dictionary", "guest") not in rows
    assert rows["training", "left out"] == ("3..7", "nothing")
    assert rows["training", "learned"] == ("298", "299")
    assert rows["metrics", "accuracy (served, later versions)"][1] == "absent"
    assert ("metrics", "accuracy (served, earlier versions)") not in rows
    known = replace(specification, features=stored(SCHEMA, task.features), only_types=True)
    found = {
        row.name: (row.one, row.other)
        for row in compare(one, replace(one, specification=known))
        if row.section == "dictionary" and not row.equal
    }
    assert found == {
        "country": ("category", "absent"),
        "guest": ("category", "absent"),
        "gone": ("absent", "integer; may be missing"),
    }
    present = replace(one, training=None, state=None, measured=())
    assert not {row.section for row in compare(one, present)} & {"training", "metrics"}


def test_the_data_of_a_card_is_plain() -> None:
    import json

    found = json.loads(json.dumps(card_of().data(), allow_nan=True))
    assert found["specification"]["policy"] == "OnArrival()"
    assert found["measured"][0]["metrics"][0]["name"] == "accuracy"
    assert found["specification"]["features"][0]["owner"] == "scales"


def test_a_card_has_the_validations_of_its_model_and_the_checks_of_the_newest() -> None:
    def audit(number: int, model: str, entry_id: str = "e", **check: Any) -> Control:
        about = {
            "version": f"{model}.1@{number}",
            "at": str(number),
            "configuration": "c",
            "verdict": "failed",
        }
        evidence = json.dumps(
            {"checks": [{"name": NASTY, "passed": False, "judged": True, "text": f"loss {number}"} | check]}
        )
        command = Command(VALIDATION, model, about, "ada", f"loss {number}", f"v-{number}", evidence=evidence)
        return Control("audit", command, number, entry_id, "" if entry_id else "older")

    audits = [*(audit(number, "lr") for number in range(30)), audit(30, "other"), audit(31, "lr", "")]
    found = validations(audits, "lr")
    assert [each.at for each in found] == list(range(10, 30)), "the newest, of this model, that the log has"
    assert decisions(audits, "lr", {}) == (), "they are no decisions"
    text = markdown(card_blocks(replace(card_of(), validations=found)))
    assert "## Validations" in text
    assert "The checks at log offset 29" in text
    few = validations([audit(40, "lr", passed=True, judged=False)], "lr")
    assert "| not judged | loss 40" in markdown(card_blocks(replace(card_of(), validations=few)))
    assert "<script>" not in text
