"""Health checks while steps hold the event loop: answered in time, and nothing else is lost or answered twice."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any, TypeVar, cast

import pytest
from aiohttp import web
from aiohttp.http_parser import HttpRequestParser
from hypothesis import given
from hypothesis import strategies as st

from agents.http import status
from agents.http.address import bind
from agents.http.probe import MOST_BYTES, PATHS, Probe, read_probe
from agents.http.routes import add_routes
from agents.http.server import HttpServer
from agents.http.task import HttpTask
from agents.settings import Settings
from infra.turns import Turns
from tests.unit.http_worker import SENT, HeldWriter, make_http_task

T = TypeVar("T")
STEP_S = 0.3
"""Of pure Python, as one prediction of a slow model."""
HEALTH_S = 0.1
HOLD_S = 2.0
SOON_S = 1.5
"""On a busy machine: before the end of a hold of that length. What is answered later was answered by the loop."""
PROBES = 200
"""Of each path."""
HOST = b"Host: 127.0.0.1\r\n"
LIVE = b"GET /livez HTTP/1.1\r\n" + HOST + b"\r\n"

# Asks in a process of its own, so that it does not wait for this one's interpreter.
PROBER = """
import json, socket, sys, threading, time

port, count, kept = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "kept"
found = {}


def ask(path):
    took, bad, wire = [], [], None
    for number in range(count):
        time.sleep(0.01 + 0.007 * (number % 7))
        began = time.monotonic()
        if wire is None:
            wire = socket.create_connection(("127.0.0.1", port), 30)
        end = "" if kept else "Connection: close\\r\\n"
        wire.sendall(f"GET {path} HTTP/1.1\\r\\nHost: 127.0.0.1\\r\\n{end}\\r\\n".encode())
        answer = b""
        while b"}" not in answer or answer.count(b"{") != answer.count(b"}"):
            more = wire.recv(65536)
            if not more:
                break
            answer += more
        took.append(time.monotonic() - began)
        if b" 200 OK" not in answer:
            bad.append(answer.decode())
        if not kept or b"Connection: close" in answer:
            wire.close()
            wire = None
    found[path] = {"took": took, "bad": bad}


threads = [threading.Thread(target=ask, args=(path,)) for path in ("/livez", "/readyz", "/healthz")]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(json.dumps(found))
"""


@asynccontextmanager
async def serving(
    task: HttpTask, *, most: int = 64, watched: bool = True
) -> AsyncIterator[tuple[HttpServer, int]]:
    app = web.Application()
    pages = add_routes(app, {"stay": task}, HeldWriter(), Settings())
    sockets = bind("127.0.0.1", 0)
    server = HttpServer(app, sockets, most, pages.probes if watched else None)
    port = sockets[0].getsockname()[1]
    await server.start()
    try:
        yield server, port
    finally:
        await server.stop()


def busy(step_s: float) -> Iterator[None]:
    """Hold the interpreter as a model in Python does, step by step, for ever."""
    while True:
        until = time.thread_time() + step_s
        while time.thread_time() < until:
            pass
        yield


@asynccontextmanager
async def slow(turns: Turns, step_s: float = STEP_S) -> AsyncIterator[None]:
    """Take steps as serving does, as long as the block lasts."""
    running = asyncio.create_task(turns.run(busy(step_s)))
    try:
        yield
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


async def probe(port: int, kept: bool) -> dict[str, Any]:
    asking = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PROBER, str(port), str(PROBES), "kept" if kept else "new"),
        stdout=asyncio.subprocess.PIPE,
    )
    reported, _ = await asking.communicate()
    found: dict[str, Any] = json.loads(reported)
    return found


def sent(port: int, *messages: bytes) -> socket.socket:
    wire = socket.create_connection(("127.0.0.1", port), 10)
    for message in messages:
        wire.sendall(message)
    return wire


def rest(wire: socket.socket) -> bytes:
    """Read until the end of the connection."""
    found = b""
    with wire, contextlib.suppress(ConnectionError):
        while more := wire.recv(65536):
            found += more
    return found


async def blocked(task: HttpTask, *calls: Callable[[], T], at_least_s: float = HOLD_S) -> list[T]:
    """Make calls in threads of their own while one step holds the event loop; gives what they gave.

    With a bound of 0 the step lasts until all calls are answered.
    """
    with ThreadPoolExecutor(len(calls)) as threads:

        def hold() -> list[Future[T]]:
            until = time.monotonic() + (at_least_s or 30.0)
            time.sleep(0.2)  # the watchman has noticed by then
            calling = [threads.submit(call) for call in calls]
            while time.monotonic() < until and (at_least_s or not all(each.done() for each in calling)):
                time.sleep(0.005)
            return calling

        (calling,) = await task.turns.run(hold() for _ in range(1))
        return [await asyncio.wrap_future(each) for each in calling]


def call(port: int, *messages: bytes, pause_s: float = 0.02) -> tuple[float, bytes]:
    """Send a call, in parts; gives when the answer began to come, and all that comes."""
    wire = socket.create_connection(("127.0.0.1", port), 20)
    for at, message in enumerate(messages):
        time.sleep(pause_s if at else 0.0)
        wire.sendall(message)
    began = time.monotonic()
    first = wire.recv(65536)
    return time.monotonic() - began, first + rest(wire)


@contextmanager
def waits() -> Iterator[list[float]]:
    """Measure how long a thread of this process waits for processor and interpreter, as long as the block lasts."""
    found, ended = list[float](), threading.Event()

    def wait() -> None:
        while not ended.is_set():
            began = time.monotonic()
            time.sleep(0.01)
            found.append(time.monotonic() - began - 0.01)

    thread = threading.Thread(target=wait)
    thread.start()
    try:
        yield found
    finally:
        ended.set()
        thread.join()


@pytest.mark.timeout(180)
@pytest.mark.parametrize("kept", [False, True], ids=["a-connection-each", "kept-connections"])
def test_probes_are_answered_in_time_while_a_model_takes_300_ms_a_prediction(kept: bool) -> None:
    async def run() -> tuple[dict[str, Any], list[float]]:
        task = make_http_task()
        async with serving(task) as (_, port), slow(task.turns):
            with waits() as late:
                return await probe(port, kept), late

    found, late = asyncio.run(run())
    # An answer takes some eight waits for the interpreter: here at most 1 ms each, on a busy machine much more.
    late.sort()
    allowed = HEALTH_S + 8 * late[len(late) * 95 // 100]
    assert found.keys() == {"/livez", "/readyz", "/healthz"}
    for path, reported in found.items():
        assert not reported["bad"], (path, reported["bad"][:3])
        took = sorted(reported["took"])
        assert len(took) == PROBES
        assert took[PROBES * 95 // 100] < allowed, (path, allowed, took[-20:])


LAST = b"Connection: close\r\n\r\n"
JSON = json.dumps(SENT).encode()
HEAD = (
    b"POST /tasks/stay/predictions HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\n"
    b"Content-Length: %d\r\n" % len(JSON) + LAST
)
CHECK = LIVE.removesuffix(b"\r\n") + LAST


def test_other_calls_that_come_meanwhile_are_handed_on_and_answered_once_each() -> None:
    calls: dict[str, tuple[tuple[bytes, ...], int]] = {
        "whole": ((HEAD + JSON,), 200),
        "head and body": ((HEAD, JSON), 200),
        "in pieces": ((HEAD[:9], HEAD[9:50], HEAD[50:] + JSON[:5], JSON[5:]), 200),
        "nothing there": ((b"GET /livezz HTTP/1.1\r\n" + HOST + LAST,), 404),
        "another method": ((b"POST /livez HTTP/1.1\r\n" + HOST + b"Content-Length: 0\r\n" + LAST,), 405),
        "another's page": ((LIVE.removesuffix(b"\r\n") + b"Origin: http://evil.example\r\n" + LAST,), 403),
        "another's name": ((b"GET /livez HTTP/1.1\r\nHost: evil.example\r\n" + LAST,), 421),
        "no HTTP": ((b"hello\r\n\r\n",), 400),
        "a query": ((b"GET /livez?a=b HTTP/1.1\r\n" + HOST + LAST,), 200),
        "two hosts": ((LIVE.removesuffix(b"\r\n") + HOST + LAST,), 400),
    }

    async def run() -> list[tuple[float, bytes]]:
        task = make_http_task()
        async with serving(task) as (_, port):
            made = [partial(call, port, *messages) for messages, _ in calls.values()]
            return await blocked(task, *made)

    found = asyncio.run(run())
    for (name, (_, wanted)), (took_s, answer) in zip(calls.items(), found, strict=True):
        assert answer.count(b"HTTP/1.") == 1, (name, answer)
        assert int(answer.split()[1]) == wanted, (name, answer)
        assert took_s > SOON_S, f"{name}: answered although the loop was held"


def test_checks_that_come_in_pieces_and_behind_each_other_are_answered_once_each() -> None:
    async def run() -> list[tuple[float, bytes]]:
        task = make_http_task()
        async with serving(task) as (_, port):
            pieces = partial(call, port, CHECK[:7], CHECK[7:30], CHECK[30:])
            behind = partial(call, port, LIVE + LIVE + CHECK)
            mixed = partial(call, port, LIVE + HEAD + JSON)
            head = partial(call, port, CHECK.replace(b"GET", b"HEAD"))
            old = partial(call, port, CHECK.replace(b"1.1", b"1.0"))
            return await blocked(task, pieces, behind, mixed, head, old)

    pieces, behind, mixed, head, old = asyncio.run(run())
    assert pieces[0] < SOON_S, pieces
    assert pieces[1].count(b'"status":"live"') == 1
    assert (behind[0] > SOON_S, behind[1].count(b'"status":"live"')) == (True, 3)
    assert (mixed[0] > SOON_S, mixed[1].count(b" 200 OK")) == (True, 2)
    assert mixed[1].index(b'"status":"live"') < mixed[1].index(b'"request_id":"b-1"')
    assert (head[0] < SOON_S, head[1].endswith(b"\r\n\r\n")) == (True, True)
    assert (old[0] < SOON_S, old[1].count(b'"status":"live"')) == (True, 1)


def test_a_kept_connection_is_answered_again_and_again_unless_it_has_brought_anything_else() -> None:
    def kept(port: int) -> socket.socket:
        # On a busy machine the loop is late by itself now and then: a newcomer's connection ends with the answer.
        while True:
            wire = sent(port, LIVE)
            if b"Connection: close" not in wire.recv(65536):
                return wire
            wire.close()

    def again(wire: socket.socket, message: bytes) -> float:
        began = time.monotonic()
        wire.sendall(message)
        assert b'"status":"live"' in wire.recv(65536)
        return time.monotonic() - began

    async def run() -> None:
        task = make_http_task()
        async with serving(task) as (_, port):
            checks, calls = [await asyncio.to_thread(kept, port) for _ in range(2)]
            call = HEAD.replace(LAST, b"\r\n") + JSON
            await asyncio.to_thread(calls.sendall, call)
            assert b"b-1" in await asyncio.to_thread(calls.recv, 65536)
            for _ in range(2):
                twice = lambda: [again(checks, LIVE), again(checks, LIVE)]  # noqa: E731
                first, other = await blocked(task, twice, lambda: [again(calls, LIVE)])
                assert max(first) < SOON_S, first
                assert min(other) > SOON_S, other
            again_after = await asyncio.to_thread(again, checks, LIVE)
            assert again_after < SOON_S
            for wire in (checks, calls):
                wire.close()

    asyncio.run(run())


def test_the_body_of_a_call_that_looks_like_a_check_is_no_check() -> None:
    async def run() -> tuple[float, bytes]:
        task = make_http_task()
        async with serving(task) as (_, port):
            head = HEAD.replace(b"%d" % len(JSON), b"%d" % len(LIVE))
            wire = sent(port, head)
            await asyncio.sleep(0.2)  # the loop has the head

            def body() -> tuple[float, bytes]:
                began = time.monotonic()
                wire.sendall(LIVE)
                first = wire.recv(65536)
                return time.monotonic() - began, first + rest(wire)

            return (await blocked(task, body))[0]

    took_s, answer = asyncio.run(run())
    assert took_s > SOON_S
    assert answer.startswith(b"HTTP/1.1 400 "), answer


def test_readiness_is_as_of_now_says_for_how_long_the_loop_is_held_and_ends_with_patience(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def asked(port: int, path: str) -> tuple[int, Any]:
        answer = call(port, CHECK.replace(b"/livez", path.encode()))[1]
        head, _, body = answer.partition(b"\r\n\r\n")
        return int(head.split()[1]), json.loads(body)

    async def run() -> None:
        task = make_http_task()
        async with serving(task) as (_, port):

            def look() -> None:
                status_code, reported = asked(port, "/readyz")
                assert (status_code, reported["tasks"]) == (200, {"stay": {"ready": True}})
                assert 0.05 < reported["blocked_s"] < 5.0
                task.readiness.cluster.silent("the Kafka cluster does not answer")
                status_code, reported = asked(port, "/ready")
                assert (status_code, reported["reason"]) == (503, "not_ready")
                assert reported["tasks"]["stay"]["reasons"] == ["the Kafka cluster does not answer"]
                assert asked(port, "/healthz")[1]["ready"] is False
                task.readiness.cluster.answered()
                monkeypatch.setattr(status, "BLOCKED_S", 0.01)
                status_code, reported = asked(port, "/readyz")
                assert status_code == 503
                assert "has blocked the worker's event loop for" in reported["detail"]
                assert asked(port, "/livez")[1]["status"] == "live"
                monkeypatch.setattr(status, "HANGS_S", 0.01)
                for path in ("/live", "/livez", "/healthz"):
                    status_code, reported = asked(port, path)
                    assert (status_code, reported["reason"]) == (503, "blocked")

            await blocked(task, look, at_least_s=0.0)
            assert (await asyncio.to_thread(asked, port, "/readyz")) == (
                200,
                {"status": "ready", "tasks": {"stay": {"ready": True}}},
            )
            scraped = (await asyncio.to_thread(call, port, CHECK.replace(b"/livez", b"/metrics")))[1].decode()
        assert 'riverloop_http_requests_total{route="/readyz",status="200"} 2.0' in scraped
        assert 'riverloop_http_requests_total{route="/livez",status="503"} 1.0' in scraped
        (line,) = [
            each
            for each in scraped.splitlines()
            if each.startswith("riverloop_event_loop_blocked_seconds_total")
        ]
        assert float(line.split()[1]) > 0.1

    asyncio.run(run())


def test_callers_that_say_nothing_or_too_much_keep_no_check_from_its_answer_and_are_bounded() -> None:
    async def run() -> None:
        task = make_http_task()
        async with serving(task, most=8) as (server, port):

            def crowd() -> list[socket.socket]:
                silent = [sent(port) for _ in range(40)]
                slow = [sent(port, CHECK[:20]) for _ in range(40)]
                many = [sent(port, HEAD + JSON) for _ in range(40)]
                took_s, answer = call(port, CHECK)
                assert (took_s < SOON_S, b'"status":"live"' in answer) == (True, True)
                return silent + slow + many

            (wires,) = await blocked(task, crowd, at_least_s=0.0)
            await asyncio.sleep(0.2)
            assert len(server) <= 8
            answers = [await asyncio.to_thread(rest, wire) for wire in wires[80:]]
            served = [each for each in answers if b'"request_id":"b-1"' in each]
            rejected = [each for each in answers if b"too_many_connections" in each]
            assert len(served) == 8
            assert len(served) + len(rejected) == 40, [
                each for each in answers if each not in served + rejected
            ]
            for wire in wires:
                wire.close()

    asyncio.run(run())


def test_the_watchman_leaves_nothing_behind() -> None:
    before = threading.active_count(), sys.getswitchinterval()

    async def run() -> None:
        task = make_http_task()
        async with serving(task) as (_, port):
            await blocked(task, partial(call, port, CHECK), at_least_s=0.0)
            assert threading.active_count() > before[0]

    asyncio.run(run())
    assert (threading.active_count(), sys.getswitchinterval()) == before


# ---------------------------------------------------------------------- what a plain check is

FIELDS = [HOST, b"User-Agent: kube-probe/1.30\r\n", b"Accept: */*\r\n", b"Connection: close\r\n"]


def test_every_beginning_of_a_check_may_become_one_and_what_follows_is_none() -> None:
    assert set(PATHS) == status.HEALTH.keys()
    for path in PATHS:
        whole = f"GET {path} HTTP/1.1\r\n".encode() + b"".join(FIELDS) + b"\r\n"
        assert all(read_probe(whole[:end]) == "partial" for end in range(1, len(whole)))
        assert read_probe(whole) == Probe(path, "127.0.0.1", True, True)
        assert read_probe(whole + b"G") is None


@pytest.mark.parametrize(
    "field",
    [
        b"Content-Length: 0",
        b"Transfer-Encoding: chunked",
        b"Expect: 100-continue",
        b"Upgrade: h2c",
        b"Origin: null",
        b"Sec-Fetch-Site: cross-site",
        b"Host: 127.0.0.1",
        b"Connection: upgrade",
        b"no colon",
        b"Folded: a\r\n b",
        b"X: \xff",
        b"X: a\nY: b",
        b"X: a\rY: b",
        b"X : a",
        b": a",
        b"X: " + b"a" * MOST_BYTES,
    ],
)
def test_a_check_with_anything_that_could_change_its_meaning_is_left_to_the_web_server(field: bytes) -> None:
    assert read_probe(LIVE.removesuffix(b"\r\n") + field + b"\r\n\r\n") is None


@given(st.integers(0, len(CHECK) - 1), st.binary(max_size=6), st.integers(0, 6))
def test_a_check_with_other_bytes_in_it_is_read_as_aiohttp_reads_it_or_not_at_all(
    at: int, other: bytes, gone: int
) -> None:
    data = CHECK[:at] + other + CHECK[at + gone :]
    found = read_probe(data)
    if not isinstance(found, Probe):
        return

    async def read() -> Any:
        loop = asyncio.get_running_loop()
        return HttpRequestParser(
            cast(Any, None), loop, 2**16, max_line_size=8190, max_field_size=8190
        ).feed_data(data)

    ((message, body),), upgraded, tail = asyncio.run(read())
    assert (message.path, message.headers.getall("Host")) == (found.path, [found.host])
    assert (message.method, message.should_close) == ("GET" if found.body else "HEAD", found.close)
    assert (body.is_eof(), upgraded, tail) == (True, False, b"")
