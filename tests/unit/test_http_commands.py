"""Commands over HTTP: by a token with a name, decided by the log's owner, once for each id."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from agents.http.access import secret_of
from agents.settings import Settings
from infra.clock import now_ms
from infra.commands import Commands, Progress
from schemas.records import Command, Control, Entry
from streams.commands import decide
from streams.rollout_checks import Situation
from tests.unit.http_worker import Client, HeldWriter, Reply, make_http_task, serving

NAMED, PLAIN = "ada:t-0123456789abcdef", "t-fedcba9876543210"
PATH, ROLES = "/tasks/stay/commands", "/tasks/stay/models"
FREEZE = {"command": "freeze", "model": "lr", "reason": "odd outcomes since noon", "id": "c-1"}


async def post(client: Client, data: Any, token: str = NAMED) -> Reply:
    secret, _ = secret_of(token)
    return await client.post(PATH, data, headers={"Authorization": f"Bearer {secret}"})


def decided(monkeypatch: pytest.MonkeyPatch, progress: Progress) -> list[tuple[Command, int]]:
    """Replace the owner's decision; returns the commands that were followed, and from which offset."""
    followed = list[tuple[Command, int]]()

    async def follow(commands: Commands, command: Command, start: int, timeout_s: float) -> Progress:
        followed.append((command, start))
        return progress

    monkeypatch.setattr(Commands, "follow", follow)
    return followed


def test_a_command_is_asked_for_in_the_name_of_the_token_and_answered_when_it_is_done(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    task, writer = make_http_task(), HeldWriter()
    followed = decided(monkeypatch, Progress("done", entry_id="stay/command/c-1"))
    entry = Entry("stay/command/c-1", "command", 5, command=Command("freeze", "lr", author="ada"))
    for fold in task.server.models:
        fold.apply(7, entry)

    async def run() -> tuple[Reply, Reply]:
        async with serving(task, writer, Settings(http_token=f"{NAMED} {PLAIN}")) as client:
            return await post(client, FREEZE), await client.get(ROLES)

    reply, roles = asyncio.run(run())
    assert (reply.status, reply.data) == (
        200,
        {
            "id": "c-1",
            "command": "freeze",
            "state": "done",
            "entry_id": "stay/command/c-1",
            "log_offset": 7,
        },
    )
    (record,) = writer.records
    control = task.context.codec.decode_control(record.value)
    assert record.topic == task.context.topics.control
    assert isinstance(control, Control)
    command = control.command
    assert (control.kind, command.name, command.model, command.author) == ("request", "freeze", "lr", "ada")
    assert (command.authentication, command.id, command.reason) == ("token", "c-1", FREEZE["reason"])
    assert command.asked == control.ts > 0
    assert followed == [(command, 0)], "the audit of a repeated id lies before the request"
    lr, other = roles.data["models"]
    assert (lr["model"], lr["role"], lr["share"], lr["frozen_at"], lr["version"]) == (
        "lr",
        "served",
        1,
        7,
        "lr.1@0",
    )
    assert (other["model"], other["role"], other["frozen_at"]) == ("other", "shadow", None)
    assert [each["name"] for each in roles.data["commands"]] == ["freeze", "revision", "revision"]


@pytest.mark.parametrize(
    ("progress", "status", "reason"),
    [(Progress("rejected", "lr is frozen already"), 409, "command_rejected"), (Progress(), 202, None)],
)
def test_a_rejected_command_says_why_and_an_undecided_one_says_so(
    progress: Progress, status: int, reason: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    decided(monkeypatch, progress)

    async def run() -> Reply:
        async with serving(make_http_task(), HeldWriter(), Settings(http_token=NAMED)) as client:
            return await post(client, FREEZE)

    reply = asyncio.run(run())
    assert (reply.status, reply.reason, reply.data["id"]) == (status, reason, "c-1")
    assert reply.data.get("detail", "") == progress.why
    assert reply.data.get("state") == (None if reason else "asked")


def test_a_command_needs_a_token_with_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    decided(monkeypatch, Progress("done", entry_id="e"))
    writer = HeldWriter()

    async def run() -> list[Reply]:
        async with serving(make_http_task(), writer, Settings(http_token=f"{NAMED} {PLAIN}")) as client:
            return [await post(client, FREEZE, token) for token in (PLAIN, "t-0000000000000000", NAMED[:12])]

    replies = asyncio.run(run())
    assert [(each.status, each.reason) for each in replies] == [
        (403, "token_without_name"),
        (401, "token_needed"),
        (401, "token_needed"),
    ]
    assert writer.records == []


def test_a_worker_without_tokens_calls_the_author_anonymous(monkeypatch: pytest.MonkeyPatch) -> None:
    followed = decided(monkeypatch, Progress())

    async def run() -> None:
        async with serving(make_http_task(), HeldWriter()) as client:
            assert (await client.post(PATH, FREEZE)).status == 202

    asyncio.run(run())
    assert (followed[0][0].author, followed[0][0].authentication) == ("anonymous", "none")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ([FREEZE], "malformed"),
        (FREEZE | {"author": "bob"}, "malformed"),
        (FREEZE | {"reason": " "}, "missing_field"),
        ({"reason": "x"}, "missing_field"),
        (FREEZE | {"command": "revision"}, "out_of_range"),
        (FREEZE | {"model": 5}, "wrong_type"),
        (FREEZE | {"dry_run": 1}, "wrong_type"),
        ({"command": "share", "shares": {"lr": "1"}, "reason": "x"}, "wrong_type"),
        (FREEZE | {"id": "c" * 201}, "out_of_range"),
        (FREEZE | {"reason": "r" * 1001}, "out_of_range"),
    ],
)
def test_a_wrong_request_asks_for_nothing(data: Any, reason: str) -> None:
    writer = HeldWriter()

    async def run() -> Reply:
        async with serving(make_http_task(), writer) as client:
            return await client.post(PATH, data)

    reply = asyncio.run(run())
    assert (reply.status, reply.reason) == (422, reason)
    assert writer.records == []


def test_a_dry_run_shows_roles_before_and_after_and_asks_for_nothing() -> None:
    writer = HeldWriter()
    share = {"command": "share", "shares": {"lr": 0.9, "other": 0.1}, "reason": "first step", "dry_run": True}

    async def run() -> tuple[Reply, Reply]:
        async with serving(make_http_task(), writer) as client:
            wrong = share | {"shares": {"lr": 0.9, "other": 0.2}}
            return await client.post(PATH, share), await client.post(PATH, wrong)

    reply, wrong = asyncio.run(run())
    assert [
        (each["model"], each["before"]["share"], each["after"]["share"]) for each in reply.data["models"]
    ] == [
        ("lr", 1.0, 0.9),
        ("other", 0.0, 0.1),
    ]
    assert (wrong.status, wrong.data["detail"]) == (409, "the shares add up to 1.1, not to 1")
    assert writer.records == []


def test_a_rollback_names_its_mode_version_and_intervals_and_wrong_ones_are_rejected(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    task, writer = make_http_task(), HeldWriter()
    decided(monkeypatch, Progress("asked"))
    rollback = {"command": "rollback", "model": "lr", "reason": "the feed was wrong", "mode": "rebuild"}
    wrong = rollback | {"leave_out": ["200..100"]}

    async def run() -> list[Reply]:
        async with serving(task, writer, Settings(http_token=NAMED)) as client:
            right = rollback | {"leave_out": ["100..200", "2016-03-01..2016-03-02"]}
            return [await post(client, each) for each in (right, wrong, rollback | {"leave_out": [1]})]

    done, backwards, number = asyncio.run(run())
    assert done.status == 202
    (record,) = writer.records
    control = task.context.codec.decode_control(record.value)
    assert isinstance(control, Control)
    text = '[["event",1456790400000,1456963199999,"",""],["log",100,200,"",""]]'
    assert control.command.arguments == {"mode": "rebuild", "left_out": text}
    assert (backwards.status, number.status) == (422, 422)
    assert "ends before it begins" in backwards.data["detail"]


def test_a_proposal_an_approval_and_a_broken_glass_are_asked_for_with_their_fields(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    followed = decided(monkeypatch, Progress("done", entry_id="e"))
    about = {"reason": "the evidence is clear"}
    asked = [
        about | {"command": "propose", "model": "other", "shares": {"lr": 0.9, "other": 0.1}, "valid_s": 60},
        about | {"command": "approve", "proposal": "p-1", "digest": "d1"},
        about | {"command": "pause", "end": True},
        about | {"command": "promote", "model": "other", "break_glass": True},
        about | {"command": "verdict", "model": "other"},
    ]

    async def run() -> list[int]:
        async with serving(make_http_task(), HeldWriter(), Settings(http_token=NAMED)) as client:
            return [(await post(client, each)).status for each in asked]

    assert asyncio.run(run()) == [200, 200, 200, 200, 422]
    assert [(command.name, command.model, dict(command.arguments)) for command, _ in followed] == [
        ("propose", "other", {"share.lr": "0.9", "share.other": "0.1", "valid_ms": "60000"}),
        ("approve", "", {"proposal": "p-1", "digest": "d1"}),
        ("pause", "", {"end": "true"}),
        ("promote", "other", {"break_glass": "true"}),
    ]


def test_a_worker_shows_proposals_and_a_dry_run_shows_what_an_approval_sets_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    task = make_http_task()
    folds = {fold.model.name: fold for fold in task.server.models}
    propose = Command("propose", "other", {}, "bob", "better", "p-1", "token")
    proposed = decide(propose, task.server.roles, folds, at=Situation(now_ms()))
    for fold in task.server.models:
        fold.apply(7, Entry("stay/command/p-1", "command", 5, command=proposed))
    digest = task.server.roles.rollout.proposals["p-1"].digest
    asked = {"command": "approve", "proposal": "p-1", "digest": digest, "reason": "yes", "dry_run": True}

    async def run() -> tuple[Reply, Reply]:
        async with serving(task, HeldWriter(), Settings(http_token=NAMED)) as client:
            return await client.get(ROLES), await post(client, asked)

    roles, plan = asyncio.run(run())
    assert [each["id"] for each in roles.data["proposals"]] == ["p-1"]
    assert plan.status == 200
    assert [(each["model"], each["after"]["share"]) for each in plan.data["models"]] == [
        ("lr", 0),
        ("other", 1),
    ]
