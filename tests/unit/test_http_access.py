"""Who may call: tokens for what changes something, none beyond the machine without one."""

from __future__ import annotations

import asyncio
import hmac
import logging
from pathlib import Path

import pytest

from agents.http.access import check_exposure
from agents.http.pages import Pages
from agents.settings import Settings
from schemas.errors import UsageError
from tests.unit.http_worker import SENT, TOLD, Client, HeldWriter, Reply, make_http_task, serving

TOKEN, OTHER, SERVE = "t-0123456789abcdef", "t-fedcba9876543210", "s-0123456789abcdef"
PREDICT, REPORT, LOOK_UP = "/tasks/stay/predictions", "/tasks/stay/outcomes", "/tasks/stay/predictions/b-1"
WRONG = [
    {},
    {"Authorization": ""},
    {"Authorization": "Bearer"},
    {"Authorization": "Bearer "},
    {"Authorization": f"Bearer {TOKEN}x"},
    {"Authorization": f"Bearer {TOKEN[:-1]}"},
    {"Authorization": f"Bearer {TOKEN} {OTHER}"},
    {"Authorization": f"Basic {TOKEN}"},
    {"Authorization": TOKEN},
    {"Authorization": "Bearer té\udcff"},
    {"X-Token": TOKEN},
]


def bearer(token: str) -> dict[str, dict[str, str]]:
    return {"headers": {"Authorization": f"Bearer {token}"}}


async def report(client: Client, token: str) -> Reply:
    return await client.post(REPORT, TOLD, **bearer(token))


def test_whatever_changes_something_needs_a_token() -> None:
    routes = Pages({}, HeldWriter(), Settings(), 1.0).routes()
    assert all(each.needs for each in routes if each.changes)


@pytest.mark.parametrize("headers", WRONG)
def test_without_the_token_nothing_changes_and_the_body_is_not_read(headers: dict[str, str]) -> None:
    async def run() -> None:
        task, writer = make_http_task(), HeldWriter()
        async with serving(task, writer, Settings(http_token=TOKEN)) as client:
            reply = await client.post(REPORT, TOLD, headers=headers)
            garbage = await client.post(REPORT, data=b"no record", headers=headers)
        for each in (reply, garbage):
            assert (each.status, each.reason) == (401, "token_needed")
            assert each.headers["WWW-Authenticate"].startswith("Bearer")
            assert TOKEN not in str(each.data)
        assert writer.records == []

    asyncio.run(run())


def test_with_any_of_its_tokens_a_call_goes_through_and_looks_need_none() -> None:
    async def run() -> None:
        writer = HeldWriter()
        async with serving(make_http_task(), writer, Settings(http_token=f"{TOKEN}\n{OTHER}")) as client:
            for token in (TOKEN, OTHER):
                assert (await report(client, token)).status == 202
            lower = {"Authorization": f"bearer {TOKEN}"}
            assert (await client.post(REPORT, TOLD, headers=lower)).status == 202
            assert (await client.post(PREDICT, SENT)).status == 200
            for path in ("/live", "/ready", "/tasks", "/tasks/stay/status", "/tasks/stay/versions", LOOK_UP):
                assert (await client.get(path)).status == 200
        assert len(writer.records) == 4

    asyncio.run(run())


def test_serving_has_a_token_of_its_own_that_reports_no_outcomes() -> None:
    async def run() -> None:
        settings = Settings(http_token=TOKEN, serve_token=SERVE)
        async with serving(make_http_task(), HeldWriter(), settings) as client:
            for token, served, reported in ((SERVE, 200, 401), (TOKEN, 200, 202), (OTHER, 401, 401)):
                assert (await client.post(PREDICT, SENT, **bearer(token))).status == served
                assert (await client.get(LOOK_UP, **bearer(token))).status == served
                assert (await report(client, token)).status == reported
            assert (await client.post(PREDICT, SENT)).status == 401
            assert (await client.get("/ready")).status == 200

    asyncio.run(run())


def test_every_token_is_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[int, int]] = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((len(one), len(other)))
        return one == other

    monkeypatch.setattr(hmac, "compare_digest", compare)

    async def run() -> None:
        async with serving(make_http_task(), HeldWriter(), Settings(http_token=f"{TOKEN} {OTHER}")) as client:
            for token in (TOKEN, "", "x" * 5000):
                await report(client, token)

    asyncio.run(run())
    assert compared == [(32, 32)] * 6


def test_whoever_tries_tokens_does_not_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        async with serving(make_http_task(), HeldWriter(), Settings(http_token=TOKEN)) as client:
            for number in range(30):
                await report(client, f"guess-{number}")

    with caplog.at_level(logging.WARNING):
        asyncio.run(run())
    reported = [each.getMessage() for each in caplog.records if each.name == "agents.http.access"]
    assert [text.split()[1] for text in reported] == ["1", "10"]
    assert "guess" not in caplog.text


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "192.168.1.7", "worker-1", "2130706433"])
def test_no_worker_listens_beyond_its_machine_without_a_token(host: str) -> None:
    with pytest.raises(UsageError, match="RIVERLOOP_HTTP_TOKEN"):
        check_exposure(Settings(http_host=host))
    with pytest.raises(UsageError, match="RIVERLOOP_HTTP_TOKEN"):
        check_exposure(Settings(http_host=host, http_token=" \n", serve_token=SERVE))
    check_exposure(Settings(http_host=host, http_token=TOKEN))
    check_exposure(Settings(http_host=host, allow_unauthenticated_http=True))


def test_on_this_machine_nobody_is_asked() -> None:
    for host in ("127.0.0.1", "127.9.9.9", "::1", "localhost"):
        check_exposure(Settings(http_host=host))


def test_a_token_that_can_be_guessed_is_rejected_and_not_repeated() -> None:
    for settings in (Settings(http_token=f"{TOKEN} hunter2"), Settings(serve_token="hunter2")):
        with pytest.raises(UsageError, match="could be guessed") as caught:
            check_exposure(settings)
        assert "hunter2" not in str(caught.value)


def test_a_secret_comes_from_a_file_too(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    env = {"RIVERLOOP_HTTP_TOKEN_FILE": str(file), "RIVERLOOP_GROUP_FILE": str(file)}
    settings = Settings.load(env=env)
    assert settings.http_token == TOKEN
    assert settings.group == "riverloop"  # no secret: a file for it is nobody's wish
    assert TOKEN not in repr(settings)
    with pytest.raises(UsageError, match="both set"):
        Settings.load(env=env | {"RIVERLOOP_HTTP_TOKEN": TOKEN})


@pytest.mark.parametrize("content", [None, b"\xff" * 40, b"x" * 70_000])
def test_a_file_that_holds_no_secret_is_rejected_with_a_sentence(
    content: bytes | None, tmp_path: Path
) -> None:
    file = tmp_path / "key"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(UsageError, match="RIVERLOOP_SNAPSHOT_KEY_FILE") as caught:
        Settings.load(env={"RIVERLOOP_SNAPSHOT_KEY_FILE": str(file)})
    assert "xxxx" not in str(caught.value)
