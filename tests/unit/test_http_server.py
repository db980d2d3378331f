"""What one caller may hold of a worker's HTTP, and for how long; and what is no HTTP at all."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
import logging
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.cli import status
from agents.http import body as bodies
from agents.http import pages
from agents.http.address import authority, bind
from agents.http.clients import Streams, Waits
from agents.http.connection import Connection
from agents.http.listeners import Listener
from agents.http.problems import Problem
from agents.http.routes import add_routes
from agents.http.server import HttpServer
from agents.settings import Settings
from schemas.codec import json_form
from schemas.errors import UsageError
from tests.unit.http_worker import SENT, HeldWriter, make_http_task, serving

LIVE = b"GET /live HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
PREDICT = "/tasks/stay/predictions"
Wire = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Listening(HttpServer):
    """A server whose port is known."""

    port: int


@asynccontextmanager
async def listening(host: str = "127.0.0.1", most: int = 256, **more: float) -> AsyncIterator[Listening]:
    app = web.Application()
    add_routes(app, {"stay": make_http_task()}, HeldWriter(), Settings(http_host=host))

    async def large(request: web.Request) -> web.Response:
        return web.Response(body=bytes(50_000_000))

    async def broken(request: web.Request) -> web.Response:
        raise RuntimeError("an error of ours")

    app.router.add_get("/large", large)
    app.router.add_get("/broken", broken)
    sockets = bind(host, 0)
    server = Listening(app, sockets, most, None, **more)
    server.port = sockets[0].getsockname()[1]
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


@asynccontextmanager
async def connected(server: Listening, host: str = "127.0.0.1") -> AsyncIterator[Wire]:
    reader, writer = await asyncio.open_connection(host, server.port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def answer(wire: Wire, message: bytes) -> tuple[int, bytes]:
    """Send a message and read its answer; the connection may go on."""
    wire[1].write(message)
    head = await asyncio.wait_for(wire[0].readuntil(b"\r\n\r\n"), 10)
    fields = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:] if line)
    return int(head.split()[1]), await wire[0].readexactly(int(fields[b"Content-Length"]))


async def rest(wire: Wire) -> bytes:
    """Read until the worker closes the connection."""
    with contextlib.suppress(ConnectionError):
        return await asyncio.wait_for(wire[0].read(), 10)
    return b""


# ---------------------------------------------------------------------- connections and time


def test_a_further_connection_takes_the_place_of_the_one_that_has_waited_longest() -> None:
    async def run() -> None:
        async with listening(most=3) as server, contextlib.AsyncExitStack() as stack:
            wires = [await stack.enter_async_context(connected(server)) for _ in range(3)]
            for wire in wires:
                assert (await answer(wire, LIVE))[0] == 200
            assert (await answer(wires[0], LIVE))[0] == 200  # so that the second one has waited longest
            more = await stack.enter_async_context(connected(server))
            assert (await answer(more, LIVE))[0] == 200
            assert await rest(wires[1]) == b""
            for wire in (wires[0], wires[2], more):
                assert (await answer(wire, LIVE))[0] == 200

    asyncio.run(run())


def test_calls_under_way_keep_their_connections_and_a_further_one_gets_a_problem() -> None:
    async def run() -> None:
        async with listening(most=2) as server, contextlib.AsyncExitStack() as stack:
            waiting = [await stack.enter_async_context(connected(server)) for _ in range(2)]
            wait = b"GET /tasks/stay/versions?applied=99&wait_s=1.5 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
            calls = [asyncio.create_task(answer(wire, wait)) for wire in waiting]
            await asyncio.sleep(0.2)
            more = await stack.enter_async_context(connected(server))
            head, _, data = (await rest(more)).partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
            assert b"Retry-After: 1" in head
            assert json.loads(data)["reason"] == "too_many_connections"
            assert [(await call)[0] for call in calls] == [200, 200]

    asyncio.run(run())


def test_heads_that_do_not_end_are_cut_off_also_the_second_one_of_a_connection() -> None:
    async def run() -> None:
        async with listening(head_s=0.3) as server, contextlib.AsyncExitStack() as stack:
            wires = [await stack.enter_async_context(connected(server)) for _ in range(4)]
            silent, first, second, quiet = wires
            first[1].write(LIVE[:20])
            for wire in (second, quiet):
                assert (await answer(wire, LIVE))[0] == 200
            second[1].write(LIVE[:20])
            for wire in (silent, first, second):
                head, _, data = (await rest(wire)).partition(b"\r\n\r\n")
                assert (head.split()[1], json.loads(data)["reason"]) == (b"408", "slow_head")
            # A connection that has made a call and sends nothing is one of a client's pool.
            assert (await answer(quiet, LIVE))[0] == 200

    asyncio.run(run())


def test_a_call_that_takes_its_time_is_not_mistaken_for_a_head() -> None:
    async def run() -> None:
        async with listening(head_s=0.3) as server, connected(server) as wire:
            wait = b"GET /tasks/stay/versions?applied=99&wait_s=1.5 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
            assert (await answer(wire, wait))[0] == 200
            data = json.dumps(SENT).encode()
            head = f"POST {PREDICT} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            wire[1].write(f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data[:5])
            await asyncio.sleep(1.2)
            assert (await answer(wire, data[5:]))[0] == 200

    asyncio.run(run())


def test_whoever_takes_no_answer_loses_the_connection() -> None:
    async def run() -> None:
        async with listening(write_s=0.5) as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1)
            writer.write(b"GET /large HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            await asyncio.sleep(2.5)
            # The worker has let go of it, so that the rest never comes.
            assert len(server) == 0
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await asyncio.wait_for(reader.readexactly(50_000_000), 10)
            writer.transport.abort()

    asyncio.run(run())


def test_a_worker_stops_while_calls_are_under_way() -> None:
    async def run() -> None:
        async with listening() as server, connected(server) as idle:
            assert (await answer(idle, LIVE))[0] == 200
            async with asyncio.timeout(4):
                await server.stop()
            assert await rest(idle) == b""
            with pytest.raises(ConnectionError):
                await asyncio.open_connection("127.0.0.1", server.port)

    asyncio.run(run())


# ---------------------------------------------------------------------- what is no HTTP


def test_an_error_of_ours_is_logged_with_its_trace_and_answered_without(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def run() -> None:
        async with listening() as server, connected(server) as wire:
            status, data = await answer(wire, b"GET /broken HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            assert (status, json.loads(data)["reason"]) == (500, "internal")
            assert b"an error of ours" not in data

    asyncio.run(run())
    assert "an error of ours" in caplog.text


def test_an_expectation_that_nobody_knows_is_a_problem() -> None:
    async def run() -> None:
        async with listening() as server, connected(server) as wire:
            message = LIVE.replace(b"\r\n\r\n", b"\r\nExpect: wonders\r\n\r\n")
            status, data = await answer(wire, message)
            assert (status, json.loads(data)["reason"]) == (417, "bad_request")

    asyncio.run(run())


def test_a_broken_body_that_nobody_reads_leaves_one_line(caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        async with listening() as server, connected(server) as wire:
            head = LIVE.replace(b"GET", b"POST").replace(b"\r\n\r\n", b"\r\nContent-Encoding: gzip\r\n")
            assert (await answer(wire, head + b"Content-Length: 9\r\n\r\n"))[0] == 405
            wire[1].write(b"zz\r\nabc\r\n")
            await rest(wire)

    with caplog.at_level(logging.INFO):
        asyncio.run(run())
    (line,) = (each for each in caplog.records if each.name == "agents.http.server")
    assert line.getMessage().startswith("rejected 1 malformed HTTP messages, the last one from 127.0.0.1 (")
    assert [each for each in caplog.records if each.exc_info] == []


@pytest.mark.parametrize("hosts", [b"", b"Host: 127.0.0.1\r\nHost: evil.example\r\n"])
def test_a_message_has_one_host(hosts: bytes) -> None:
    async def run() -> None:
        async with listening() as server, connected(server) as wire:
            status, data = await answer(wire, b"GET /live HTTP/1.1\r\n" + hosts + b"\r\n")
            assert (status, json.loads(data)["reason"]) == (400, "bad_request")

    asyncio.run(run())


def test_a_target_with_a_foreign_name_is_a_foreign_name() -> None:
    async def run() -> None:
        async with listening() as server, connected(server) as wire:
            message = LIVE.replace(b"/live", b"http://evil.example/live")
            status, data = await answer(wire, message)
            assert (status, json.loads(data)["reason"]) == (421, "unknown_host")
            own = LIVE.replace(b"/live", b"http://localhost/live")
            assert (await answer(wire, own))[0] == 200
            old = b"GET /live HTTP/1.0\r\n\r\n"  # has no host; so do the checks of some balancers
            assert (await answer(wire, old))[0] == 200

    asyncio.run(run())


token = st.sampled_from(
    [
        b"GET",
        b"POST",
        b"OPTIONS",
        b" ",
        b"/live",
        b"*",
        b"http://[",
        b"//",
        b"HTTP/1.1",
        b"HTTP/1.0",
        b"\r\n",
        b"\n",
        b"\r\n\r\n",
        b"Host: 127.0.0.1",
        b"Content-Length: 5",
        b"Content-Length: -1",
        b"Content-Length: 9" + b"9" * 30,
        b"Transfer-Encoding: chunked",
        b"Transfer-Encoding: x, chunked",
        b"Connection: Upgrade",
        b"Upgrade: websocket",
        b"Expect: 100-continue",
        b"0\r\n\r\n",
        b"ffffffffffffffffff\r\n",
        b"5;x=y\r\nabcde\r\n",
        b":",
        b"\x00",
        b"\xff",
        b"Content-Encoding: gzip",
        b"Content-Encoding: br",
        b"Content-Type: application/json",
        b"?a=%zz",
        b"%00",
        PREDICT.encode(),
        b"Cookie: " + b"x" * 500,
        b"Accept: text/html",
        b"Range: bytes=9-1",
        b"\x16\x03\x01",
    ]
)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.lists(token | st.binary(max_size=20), min_size=1, max_size=14).map(b"".join)
        | st.lists(token, min_size=1, max_size=6).map(
            lambda lines: b"POST " + PREDICT.encode() + b" HTTP/1.1\r\n" + b"\r\n".join(lines) + b"\r\n\r\n{}"
        ),
        min_size=1,
        max_size=20,
    )
)
def test_whatever_bytes_come_no_trace_is_logged_and_others_are_answered(messages: list[bytes]) -> None:
    lines: list[logging.LogRecord] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record)

    async def run() -> None:
        failed: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: failed.append(context))
        async with listening(head_s=0.05) as server:
            for message in messages:
                async with connected(server) as (reader, writer):
                    writer.write(message)
                    with contextlib.suppress(TimeoutError, ConnectionError):
                        found = await asyncio.wait_for(reader.read(100), 0.02)
                        assert not found or found.startswith(b"HTTP/1.")
            async with connected(server) as wire:
                assert (await answer(wire, LIVE))[0] == 200
        assert failed == []

    keep = Keep()
    logging.getLogger().addHandler(keep)
    try:
        asyncio.run(run())
    finally:
        logging.getLogger().removeHandler(keep)
    assert [line.getMessage() for line in lines if line.exc_info or line.levelno >= logging.WARNING] == []


@pytest.mark.parametrize(
    "name",
    [
        "connection_made",
        "connection_lost",
        "data_received",
        "finish_response",
        "handle_error",
        "log_exception",
    ],
)
def test_what_a_connection_overrides_is_what_aiohttp_calls(name: str) -> None:
    mine, theirs = (inspect.signature(getattr(each, name)) for each in (Connection, web.RequestHandler))
    assert list(mine.parameters) == list(theirs.parameters)


# ---------------------------------------------------------------------- IPv6


@pytest.mark.parametrize(
    ("host", "reached"),
    [
        ("127.0.0.1", ["127.0.0.1"]),
        ("::1", ["::1"]),
        ("[::1]", ["::1"]),
        ("::", ["::1", "127.0.0.1"]),
        ("", ["::1", "127.0.0.1"]),
        ("0.0.0.0", ["127.0.0.1"]),
        ("localhost", ["127.0.0.1"]),
    ],
)
def test_a_worker_listens_on_addresses_of_both_kinds(host: str, reached: list[str]) -> None:
    async def run() -> None:
        async with listening(host) as server:
            for each in reached:
                async with connected(server, each) as wire:
                    message = LIVE.replace(b"127.0.0.1", authority(each, server.port).encode())
                    assert (await answer(wire, message))[0] == 200

    asyncio.run(run())


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_port_in_use_is_a_sentence_that_names_it(host: str) -> None:
    (first,) = bind(host, 0)
    with first:
        first.listen()
        port = first.getsockname()[1]
        with pytest.raises(UsageError) as caught:
            bind(host, port)
    assert str(caught.value).startswith(
        f"HTTP cannot listen on {authority(host, port)}: Address already in use; "
    )


@pytest.mark.parametrize(
    "host",
    ["192.0.2.1", "no-such-host.invalid", "::g", "[::g]", "no such host", "a" * 300, "256.1.1.1", "\0"],
)
def test_an_address_of_elsewhere_is_a_sentence(host: str) -> None:
    with pytest.raises(UsageError, match=r"HTTP cannot listen on .*--http-host"):
        bind(host, 0)


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("", "http://127.0.0.1:8080"),
        ("0.0.0.0", "http://127.0.0.1:8080"),
        ("::", "http://127.0.0.1:8080"),
        ("::1", "http://[::1]:8080"),
        ("worker-1", "http://worker-1:8080"),
    ],
)
def test_the_status_command_finds_the_worker_of_these_settings(
    host: str, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(status.URL, raising=False)
    monkeypatch.setenv("RIVERLOOP_HTTP_HOST", host)
    monkeypatch.setenv("RIVERLOOP_HTTP_PORT", "8080")
    assert status.url_of_worker(None) == url


# ---------------------------------------------------------------------- shares


def test_each_client_has_its_share_of_live_pages_and_its_oldest_one_goes() -> None:
    streams = Streams(5, 3)
    mine = [Listener(bytes) for _ in range(4)]
    for each in mine:
        streams.make_room("a")
        streams.add(each, "a")
    assert [each.replaced for each in mine] == [True, False, False, False]
    for client in "bcd":  # the fifth and sixth: one of those of `a` goes, who has most
        streams.make_room(client)
        streams.add(Listener(bytes), client)
    assert [each.replaced for each in mine] == [True, True, False, False]
    streams.make_room("e")
    streams.add(Listener(bytes), "e")
    assert [each.replaced for each in mine] == [True, True, True, False]
    with pytest.raises(Problem, match="5 live pages"):
        streams.make_room("f")
    assert len(streams) == 5


def test_waits_for_progress_are_bounded_for_each_client_and_for_all() -> None:
    waits = Waits(3, 2)
    with waits.hold("a"), waits.hold("b"):
        with waits.hold("a"):
            for client in "ac":
                with pytest.raises(Problem) as caught, waits.hold(client):
                    pass
                assert (caught.value.status, caught.value.reason) == (503, "too_many_waits")
        with waits.hold("c"), pytest.raises(Problem), waits.hold("a"):
            pass
    with waits.hold("a"), waits.hold("a"):
        pass


def test_a_caller_who_waits_holds_a_place_of_its_own_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "Waits", lambda: Waits(256, 1))

    async def run() -> None:
        async with serving(make_http_task(), HeldWriter()) as client:
            path = "/tasks/stay/versions?applied=99&wait_s=1"
            both = await asyncio.gather(client.get(path), client.get(path))
            assert sorted(each.status for each in both) == [200, 503]
            assert (await client.get("/tasks/stay/versions")).status == 200

    asyncio.run(run())


# ---------------------------------------------------------------------- bodies


def test_a_large_body_is_parsed_once_in_a_thread_and_a_small_one_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    parsed: list[tuple[int, bool]] = []

    def load(data: bytes) -> object:
        parsed.append((len(data), threading.current_thread() is threading.main_thread()))
        return json_form.load(data)

    monkeypatch.setattr(bodies, "load", load)
    monkeypatch.setattr(json_form, "parse", None)  # nothing else parses a body again

    async def run() -> None:
        async with serving(make_http_task(), HeldWriter()) as client:
            for size in (1_000, bodies.OFF_LOOP_BYTES, bodies.OFF_LOOP_BYTES + 1):
                reply = await client.post(PREDICT, data=json.dumps(SENT).encode().ljust(size))
                assert reply.status == 200

    asyncio.run(run())
    assert parsed == [(1_000, True), (65_536, True), (65_537, False)]


@pytest.mark.parametrize("listed", [False, True])
@pytest.mark.parametrize("path", [PREDICT, "/tasks/stay/outcomes"])
def test_the_json_of_a_call_is_parsed_once_and_never_written_and_parsed_again(
    path: str, listed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = SENT if path == PREDICT else {"request_id": "b-1", "ts": SENT["ts"], "value": True}
    body, calls = json.dumps([sent] if listed else sent).encode(), list[str]()

    def counted(name: str) -> Any:
        real = getattr(json, name)

        def call(*arguments: Any, **how: Any) -> Any:
            calls.append(name)
            return real(*arguments, **how)

        return call

    class Json:
        JSONDecodeError = json.JSONDecodeError
        loads, dumps = staticmethod(counted("loads")), staticmethod(counted("dumps"))

    async def run() -> None:
        async with serving(make_http_task(), HeldWriter()) as client:
            monkeypatch.setattr(json_form, "json", Json)
            monkeypatch.setattr(bodies, "json", Json)
            assert (await client.post(path, data=body)).status in {200, 202}

    asyncio.run(run())
    assert calls == ["loads"]


def test_a_key_given_twice_is_found_in_linear_time() -> None:
    def took_s(count: int) -> float:
        keys = [f'"k{number}":1' for number in range(count)]
        data = f"{{{','.join([*keys, keys[-1]])}}}".encode()

        async def run() -> float:
            clock = asyncio.get_running_loop().time
            async with serving(make_http_task(), HeldWriter()) as client:
                started = clock()
                assert (await client.post(PREDICT, data=data)).reason == "malformed"
                return clock() - started

        return asyncio.run(run())

    assert took_s(80_000) < 1.5  # it was 88 s
