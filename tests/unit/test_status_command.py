"""`riverloop status`: what it prints of a state, and what it says when nobody answers."""

from __future__ import annotations

import asyncio
import io

import pytest
from click.testing import CliRunner
from rich.console import Console

from agents.cli.main import riverloop
from agents.cli.status import ask, drawn
from schemas.alert import Alert, Evidence
from schemas.errors import BrokerError, UsageError
from streams.skipped import SkippedEntry, Stopped
from tests.unit.test_live_page import Live, Sent, living


def printed(state: dict[str, object]) -> str:
    console = Console(file=io.StringIO(), width=110)
    console.print(drawn(state))
    reported = console.file.getvalue()  # type: ignore[attr-defined]  # a StringIO, as made above
    assert isinstance(reported, str)
    return reported


async def asked(found: Live, task: str = "stay") -> dict[str, object]:
    url = str(found.client.make_url("/"))
    return await asyncio.get_running_loop().run_in_executor(None, ask, url, task)


def test_it_prints_the_stages_the_models_and_what_is_open() -> None:
    async def run() -> None:
        async with living() as found:
            feed = found.feed
            evidence = Evidence("ADWIN", "difference of means", 0.3, 0.2, 0.1, 100, 0.4, 50)
            text = "It is wrong \x1b[31m more often [bold]."
            reported = (
                "opened",
                "warning",
                "drift",
                "error",
                "up",
                "lr",
                "lr.1@4",
                "",
                evidence,
                1,
                False,
                4,
                70,
                50,
            )
            alert = Alert("stay/drift@4", *reported, text)  # type: ignore[arg-type]  # in the order of its fields
            found.topics.put(Sent(feed.context.topics.alerts, feed.context.codec.encode(alert)))
            found.metric(1234.0, 1)
            out = printed(await asked(found))
        assert "stay  Will this booking be cancelled?" in out
        assert any(line.split()[:2] == ["waiting", "1,234"] for line in out.splitlines())
        assert "lr.1@0" in out
        assert r"warning drift  It is wrong \x1b[31m more often [bold]." in out

    asyncio.run(run())


def test_it_says_which_models_pass_entries_over_have_stopped_and_fail() -> None:
    async def run() -> None:
        async with living() as found:
            first, second = found.feed.view.server.models
            found.metric(1.0, 1)
            calm = printed(await asked(found))
            for n in range(3):
                first.learner.skip(SkippedEntry(n, f"r{n}", "OverflowError"), 1000)
            second.learner.skip(SkippedEntry(7, "r7", "OverflowError"), 1000)
            second.learner.stopped = Stopped(1234, "its code raised")
            found.feed.view.server.failures["other"] = 56
            reported = await asked(found)
        assert row(calm, "lr.1@0")[:5] == ["lr.1@0", "served", "0", "0", "0"]
        out = printed(reported)
        assert row(out, "lr.1@0")[:9] == ["lr.1@0", "served", "0", *["3,", "3", "of", "the", "last", "1,000"]]
        other = ["other.1@1", "shadow", "0", *["1,", "stopped", "at", "offset", "1,234"], "56"]
        assert row(out, "other.1@1")[:9] == other
        assert (
            "other (shadow) has stopped learning: At log offset 1234: its code raised. (model-stopped.md)"
            in (" ".join(out.split()))
        )

    asyncio.run(run())


def row(out: str, first: str) -> list[str]:
    return next(line.split() for line in out.splitlines() if line.split()[:1] == [first])


def test_a_task_that_the_worker_does_not_run_and_a_worker_that_does_not_answer_are_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(BrokerError, match=r"no worker answers at http://127\.0\.0\.1:9"):
        ask("http://127.0.0.1:9", "stay")
    for name in ("RIVERLOOP_WORKER_URL", "RIVERLOOP_HTTP_PORT"):
        monkeypatch.delenv(name, raising=False)
    for arguments, says in (
        ((), "no worker: set --worker-url"),
        (("--worker-url", "file:///etc/passwd"), "must begin with http"),
        (("--watch", "--json"), "exclude each other"),
    ):
        done = CliRunner().invoke(riverloop, ["status", "stay", *arguments])
        assert isinstance(done.exception, UsageError)
        assert says in str(done.exception)
