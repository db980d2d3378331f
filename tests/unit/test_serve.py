"""A worker serves by the roles at the offset that it has applied."""

from __future__ import annotations

import asyncio

import pytest

from schemas.errors import ModelMissing
from schemas.records import Command, Entry, Features, Request
from streams.model import ModelFold
from streams.serve import Server
from tests.unit.http_worker import HeldWriter, Reply, make_http_task, make_task, serving


def test_a_worker_without_the_model_that_answers_answers_nothing_and_says_why() -> None:
    """A command may reach a worker whose task file is older in the middle of a batch."""
    task, writer = make_http_task(), HeldWriter()
    newer = Command("revision", "newer", {"revision": "1", "spec": "s", "runtime": "r"})
    promote = Command("promote", "newer", {}, "ada", "better", "c-1")
    for offset, command in enumerate((newer, promote), 2):
        for fold in task.server.models:
            fold.apply(offset, Entry(f"c/{offset}", "command", 5, command=command))
    assert task.server.missing == ["newer"]
    features: Features = {"LeadTime": 3, "Rate": 1.5, "Meal": "BB"}
    with pytest.raises(ModelMissing, match="model newer answers"):
        task.server.predict(Request("r-1", 1_700_000_000_000, features))

    async def run() -> tuple[Reply, Reply]:
        async with serving(task, writer) as client:
            sent = {"request_id": "r-1", "features": features}
            return await client.post("/tasks/stay/predictions", sent), await client.get("/ready")

    reply, ready = asyncio.run(run())
    assert (reply.status, reply.reason, ready.status) == (503, "not_ready", 503)
    assert "task file has no such model" in reply.data["detail"]
    assert writer.records == []


def test_before_the_log_opens_a_revision_the_file_s_first_model_answers() -> None:
    task = make_task("stay")
    server = Server(task, [ModelFold(task, model) for model in task.models])
    prediction = server.predict(Request("r-1", 1_700_000_000_000, {"LeadTime": 3, "Meal": "BB"}))
    assert [score.model for score in prediction.scores] == ["lr", "other"]
    assert (prediction.propensity, prediction.log_offset) == (1.0, -1)
