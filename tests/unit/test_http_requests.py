"""What became of a request, over HTTP: who may ask, and what the answer is while the index is being made."""

from __future__ import annotations

import asyncio
import threading
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest

from agents.settings import Settings
from infra.audit.index import IndexProgress
from schemas.errors import BrokerError
from tests.unit.http_worker import HeldWriter, Reply, make_http_task, serving

TOKEN = "t-0123456789abcdef"
PATH = "/tasks/stay/requests/"
EMPTY: dict[str, Any] = {
    **{name: [] for name in ("requests", "predictions", "outcomes", "entries", "dead_letters", "skipped")},
    "answered": None,
}


class Audit:
    """In place of the audit that reads Kafka."""

    open_gate: ClassVar[threading.Event] = threading.Event()
    error: ClassVar[Exception | None] = None
    updates: ClassVar[int] = 0

    def __init__(self, *about: object) -> None:
        self.index = SimpleNamespace(progress=IndexProgress(3, 40), stopping=False)

    def update(self) -> bool:
        assert Audit.open_gate.wait(20)
        Audit.updates += 1
        if Audit.error is not None:
            raise Audit.error
        return True

    def find(self, request_id: str) -> dict[str, Any]:
        outcomes = [{"at": "stay.outcomes[0]@7", "arrived": 5, "ts": 4, "value": True}]
        found = {"task": "stay", "request_id": request_id, "found": request_id == "a/b"}
        return found | EMPTY | ({"outcomes": outcomes} if request_id == "a/b" else {})

    def close(self) -> None:
        """Nothing is open."""


@pytest.fixture(autouse=True)
def fake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agents.http.requests.RequestAudit", Audit)
    Audit.open_gate = threading.Event()
    Audit.open_gate.set()
    Audit.error, Audit.updates = None, 0


def ask(*names: str, token: str = "", **settings: Any) -> list[Reply]:
    async def run() -> list[Reply]:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        async with serving(make_http_task(), HeldWriter(), Settings(**settings)) as client:
            return [await client.get(PATH + name, headers=headers) for name in names]

    return asyncio.run(run())


def test_a_request_is_found_by_its_id_and_an_unknown_one_is_a_problem() -> None:
    found, unknown = ask("a/b", "other")
    assert (found.status, found.data["request_id"], found.data["outcomes"][0]["value"]) == (200, "a/b", True)
    assert (unknown.status, unknown.data["reason"]) == (404, "unknown_request")
    assert Audit.updates == 2, "each call takes in what was written before it"


@pytest.mark.parametrize("setting", ["http_token", "serve_token"])
def test_where_any_token_is_set_one_is_needed(setting: str) -> None:
    (without,) = ask("a/b", **{setting: TOKEN})
    assert (without.status, without.data["reason"]) == (401, "token_needed")
    (with_it,) = ask("a/b", token=TOKEN, **{setting: TOKEN})
    assert with_it.status == 200


def test_while_the_index_is_being_made_the_answer_says_how_far_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("agents.http.requests.WAIT_S", 0.2)
    Audit.open_gate.clear()

    async def run() -> tuple[Reply, Reply, Reply]:
        async with serving(make_http_task(), HeldWriter(), Settings()) as client:
            first = await client.get(PATH + "a/b")
            second = await client.get(PATH + "a/b")
            Audit.open_gate.set()
            await asyncio.sleep(0.1)
            return first, second, await client.get(PATH + "a/b")

    first, second, third = asyncio.run(run())
    for each in (first, second):
        assert (each.status, each.data["reason"]) == (503, "index_not_ready")
        assert "3 of 40 offsets" in each.data["detail"]
    assert third.status == 200


def test_a_cluster_that_does_not_answer_is_a_problem_and_asked_again() -> None:
    Audit.error = BrokerError("no Kafka cluster answers")
    first, second = ask("a/b", "a/b")
    assert (first.status, first.data["detail"]) == (503, "no Kafka cluster answers")
    assert second.status == 503
    assert Audit.updates == 2
