"""The history that audits give: which models answered when, by whose decision, and what a model left out."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.applied import Applied
from schemas.audit_link import AuditLink
from schemas.records import Command, Control
from streams.audit import AuditChain
from streams.audit_history import AuditHistory

COMMANDS: list[tuple[Any, str, dict[str, str]]] = [
    ("revision", "lr", {"revision": "1", "schema.Entry": "{}"}),
    ("revision", "tree", {"revision": "1"}),
    ("share", "", {"share.lr": "0.9", "share.tree": "0.1", "salt": "c-2"}),
    ("freeze", "tree", {}),
    ("resume", "tree", {"mode": "skip", "revision": "2"}),
    ("promote", "tree", {}),
    ("freeze", "lr", {}),
    ("resume", "lr", {"mode": "catch-up"}),
    ("retire", "lr", {}),
    ("restore", "lr", {"revision": "2"}),
]
"""Each at ten times its number in the log, and at a thousand times in ms."""


@pytest.fixture
def history() -> AuditHistory:
    """The commands as done by ada, a rejected one, one that is not decided, and the workers' reports."""
    chain, found = AuditChain(), AuditHistory("orders")

    def take(record: Control | Applied | AuditLink | None) -> None:
        found.take(record, chain.take(record, b"x"))

    for number, (name, model, arguments) in enumerate(COMMANDS):
        command = Command(
            name, model, arguments, "ada", f"reason {number}", f"c-{number}", evidence="report 12"
        )
        take(Control("request", command, 1000 * number - 5))
        take(Control("audit", command, 1000 * number, f"orders/command/c-{number}"))
        take(Applied("w-1", 10 * number, 1000 * number + 9, {f"orders/command/c-{number}": 10 * number}))
    rejected = Command("promote", "tree", {}, "bob", "again", "c-90")
    take(Control("request", rejected, 20_000))
    take(Control("audit", rejected, 20_001, rejected="tree answers all requests already"))
    take(Control("request", Command("freeze", "lr", {}, "bob", "why not", "c-91"), 20_002))
    take(None)
    return found


def shares(found: dict[str, Any]) -> dict[str, float]:
    return {each["model"]: each["share"] for each in found["models"]}


@pytest.mark.parametrize(
    ("offset", "expected"),
    [
        (-1, {}),
        (0, {"lr": 1.0}),
        (19, {"lr": 1.0, "tree": 0.0}),
        (20, {"lr": 0.9, "tree": 0.1}),
        (49, {"lr": 0.9, "tree": 0.1}),
        (50, {"lr": 0.0, "tree": 1.0}),
        (10**6, {"lr": 0.0, "tree": 1.0}),
    ],
)
def test_who_answered_follows_from_the_commands_below_an_offset_or_before_a_time(
    history: AuditHistory, offset: int, expected: dict[str, float]
) -> None:
    assert shares(history.at(offset=offset)) == expected
    assert shares(history.at(when=100 * offset if offset >= 0 else -1)) == expected


def test_the_command_that_put_a_model_there_is_named(history: AuditHistory) -> None:
    by = {each["model"]: each for each in history.at(offset=45)["models"]}
    put = by["tree"]["put_there_by"]
    assert (put["command"], put["author"], put["reason"], put["evidence"], put["log_offset"], put["ts"]) == (
        *("share", "ada", "reason 2", "report 12"),
        *(20, 2000),
    )
    assert (by["tree"]["revision"], by["tree"]["revision_by"]["reason"]) == (2, "reason 4")
    assert by["lr"]["revision_by"]["arguments"] == {"revision": "1"}, "schemas are not repeated"
    opening = history.opening("tree", 2)
    assert opening is not None
    assert opening["command"] == "resume"
    assert history.opening("tree", 3) is None
    assert [history.revision("tree", offset) for offset in (9, 10, 39, 40)] == [None, 1, 1, 2]


@pytest.mark.parametrize(
    ("model", "kept", "left_out"),
    [("tree", (15, 29, 40, 99), (30, 35)), ("lr", (5, 60, 65, 75, 90, 99), (80, 85))],
)
def test_what_a_model_leaves_out_by_command_is_known(
    history: AuditHistory, model: str, kept: tuple[int, ...], left_out: tuple[int, ...]
) -> None:
    assert [history.left_out(model, offset) for offset in kept] == [False] * len(kept)
    assert [history.left_out(model, offset) for offset in left_out] == [True] * len(left_out)


def test_every_record_is_listed_with_its_result(history: AuditHistory) -> None:
    rows = list(history.rows())
    assert [each["number"] for each in rows] == list(range(len(rows)))
    assert [each["kind"] for each in rows[:3]] == ["request", "audit", "applied"]
    assert [(each["kind"], each.get("result")) for each in rows[-4:]] == [
        ("request", "decided"),
        ("audit", "rejected: tree answers all requests already"),
        ("request", "asked"),
        ("unreadable", None),
    ]
