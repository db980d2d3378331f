"""Names and pages: a page elsewhere can make a browser call a port of this machine, but not this worker."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from agents.http.origin import Origins
from agents.settings import Settings
from schemas.errors import UsageError
from tests.unit.http_worker import TOLD, Client, HeldWriter, Reply, make_http_task, serving

REPORT = "/tasks/stay/outcomes"
PAGE = "https://app.example.com"
OPEN = Settings(http_host="0.0.0.0", allow_unauthenticated_http=True)


def report(headers: dict[str, str], settings: Settings, method: str = "POST") -> tuple[Reply, int]:
    """Report an outcome; gives the answer and how much was written."""

    async def run() -> tuple[Reply, int]:
        writer = HeldWriter()
        async with serving(make_http_task(), writer, settings) as client:
            reply = await (client.post(REPORT, TOLD, headers=headers) if method == "POST" else ask(client))
        return reply, len(writer.records)

    async def ask(client: Client) -> Reply:
        return await client.get("/tasks/stay/status", headers=headers)

    return asyncio.run(run())


@pytest.mark.parametrize("method", ["POST", "GET"])
@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "EVIL.example:80",
        "localhost.evil.example",
        "127.0.0.1.nip.io",
        "192.168.1.7:8080",
        "::1",
        "user@127.0.0.1",
        "127.0.0.1/evil.example",
        "127.0.0.1:many",
        "[::1",
        "0.0.0.0",
        "localhost#",
        "2130706433",
    ],
)
def test_a_loopback_worker_takes_no_foreign_name(host: str, method: str) -> None:
    reply, written = report({"Host": host, "Origin": f"http://{host}"}, Settings(), method)
    assert (reply.status, reply.reason, written) == (421, "unknown_host", 0)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.9.9.9:1", "localhost", "LOCALHOST:8080", "localhost.", "[::1]:8080", "[::1]"]
)
def test_a_loopback_worker_is_known_by_every_name_of_the_loopback_interface(host: str) -> None:
    for headers in ({"Host": host}, {"Host": host, "Origin": f"http://{host}"}):
        reply, written = report(headers, Settings())
        assert (reply.status, written) == (202, 1)


def test_names_that_are_set_are_taken_and_beyond_the_machine_then_no_others() -> None:
    named = Settings(http_hosts="riverloop.example.com worker-1")
    for host in ("riverloop.example.com", "WORKER-1:8080", "127.0.0.1:8080"):
        assert report({"Host": host}, named)[0].status == 202
    assert report({"Host": "evil.example"}, named)[0].status == 421
    assert report({"Host": "10.0.0.5:8080"}, named)[0].status == 421
    for host in ("evil.example", "10.0.0.5:8080", "worker-1"):
        assert report({"Host": host}, OPEN)[0].status == 202  # which names it has there, nobody said
    beyond = Settings(http_host="::", allow_unauthenticated_http=True, http_hosts="worker-1")
    for host in ("worker-1:8080", "10.0.0.5:8080", "[2001:db8::1]:8080", "localhost"):
        assert report({"Host": host}, beyond)[0].status == 202
    assert report({"Host": "evil.example"}, beyond)[0].status == 421


@pytest.mark.parametrize("settings", [Settings(), OPEN, Settings(http_origins=PAGE)])
@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:3000"},
        {"Origin": "http://127.0.0.1:8081"},
        {"Origin": "http://127.0.0.1:8080.evil.example"},
        {"Origin": "ftp://127.0.0.1:8080"},
        {"Origin": "http://127.0.0.1:many"},
        {"Origin": "https://app.example.com.evil.example"},
        {"Origin": "http://app.example.com"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"},
        {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "no-cors"},
        {"Sec-Fetch-Site": "cross-site"},
    ],
)
def test_a_page_of_elsewhere_may_not_call(headers: dict[str, str], settings: Settings) -> None:
    for method in ("POST", "GET"):
        reply, written = report({"Host": "127.0.0.1:8080"} | headers, settings, method)
        assert (reply.status, reply.reason, written) == (403, "foreign_origin", 0)
        assert "Access-Control-Allow-Origin" not in reply.headers


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "http://127.0.0.1:8080"},
        {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors", "Origin": "http://127.0.0.1:8080"},
        {"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"},
    ],
)
def test_its_own_pages_links_and_clients_that_are_no_browsers_may_call(headers: dict[str, str]) -> None:
    reply, _ = report({"Host": "127.0.0.1:8080"} | headers, Settings(), "GET")
    assert reply.status == 200


def test_a_proxy_that_ends_tls_and_passes_the_name_on_needs_only_the_name() -> None:
    headers = {"Host": "riverloop.example.com", "Origin": "https://riverloop.example.com"}
    assert report(headers, Settings(http_hosts="riverloop.example.com"))[0].status == 202


# ---------------------------------------------------------------------- CORS


def test_a_page_that_is_set_may_call_and_read_whatever_is_answered() -> None:
    settings = Settings(http_origins=f"{PAGE} http://localhost:3000")
    for headers in (
        {"Origin": PAGE},
        {"Origin": PAGE, "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors"},
    ):
        reply, written = report(headers, settings)
        assert (reply.status, written) == (202, 1)
        assert reply.headers["Access-Control-Allow-Origin"] == PAGE
        assert reply.headers["Vary"] == "Origin"

    async def run() -> None:
        async with serving(make_http_task(), HeldWriter(), settings) as client:
            origin: dict[str, Any] = {"headers": {"Origin": "http://localhost:3000"}}
            miss = await client.get("/nothing", **origin)
            bad = await client.post(REPORT, data=b"no JSON", **origin)
            for reply, status in ((miss, 404), (bad, 400)):
                assert reply.status == status
                assert reply.headers["Access-Control-Allow-Origin"] == "http://localhost:3000"
            assert "Access-Control-Allow-Origin" not in (await client.get("/live")).headers

    asyncio.run(run())


def test_a_preflight_is_answered_for_pages_that_are_set_and_no_others() -> None:
    async def run() -> None:
        asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
        async with serving(make_http_task(), HeldWriter(), Settings(http_origins=PAGE)) as client:
            async with client.request("OPTIONS", REPORT, headers=asked | {"Origin": PAGE}) as answer:
                assert (answer.status, await answer.read()) == (204, b"")
                assert answer.headers["Access-Control-Allow-Origin"] == PAGE
                assert answer.headers["Access-Control-Allow-Methods"] == "POST"
                allowed = answer.headers["Access-Control-Allow-Headers"].lower()
                assert {"authorization", "content-type"} <= set(allowed.split(", "))
            evil = await client.call("OPTIONS", REPORT, headers=asked | {"Origin": "http://evil.example"})
            assert (evil.status, evil.reason) == (403, "foreign_origin")
            plain = await client.call("OPTIONS", REPORT, headers={"Origin": PAGE})
            assert (plain.status, plain.headers["Allow"]) == (405, "POST")
        async with serving(make_http_task(), HeldWriter()) as client:
            unset = await client.call("OPTIONS", REPORT, headers=asked | {"Origin": PAGE})
            assert (unset.status, unset.reason) == (403, "foreign_origin")

    asyncio.run(run())


# ---------------------------------------------------------------------- settings


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("http_origins", "*"),
        ("http_origins", "app.example.com"),
        ("http_origins", "https://app.example.com/"),
        ("http_origins", "https://app.example.com https://b.example/page"),
        ("http_hosts", "http://worker-1"),
        ("http_hosts", "worker-1:8080"),
        ("http_hosts", "*"),
        ("http_port", "65536"),
        ("http_port", "-1"),
        ("max_body", "0"),
        ("max_body", "99999999999"),
        ("max_list", "0"),
        ("http_connections", "3"),
        ("live_pages_per_client", "0"),
        ("live_pages_per_client", "101"),
    ],
)
def test_a_setting_out_of_its_bounds_is_rejected_with_a_sentence(name: str, value: str) -> None:
    with pytest.raises(UsageError, match=f"RIVERLOOP_{name.upper()}"):
        Settings.load(env={f"RIVERLOOP_{name.upper()}": value})


def test_what_the_settings_allow_is_taken() -> None:
    env = {"RIVERLOOP_HTTP_ORIGINS": f"{PAGE}\nhttp://[::1]:3000", "RIVERLOOP_HTTP_HOSTS": "worker-1 fe80::1"}
    settings = Settings.load(env=env)
    origins = Origins(settings)
    assert all(map(origins.allows, (PAGE, "HTTP://[::1]:3000")))
