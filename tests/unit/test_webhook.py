"""One attempt at a webhook: signed as the specification says, bounded, and silent about secrets."""

from __future__ import annotations

import base64
import logging
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial

import pytest

from infra.notify import webhook
from infra.notify.config import Webhook
from infra.notify.webhook import Outcome, send
from streams.notify.events import trial as make_event
from streams.notify.signature import secrets_of
from tests.receiver import KEY, SECRET, Received, Receiver, receiving

EVENT = make_event("hotel", 1_700_000_000_000)
HIDDEN = "/services/hidden-token"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as found:
        yield found


def to(url: str, *, private: bool = True, secrets: tuple[bytes, ...] = (KEY,)) -> Webhook:
    return Webhook(name="ci", url=url, secrets=secrets, private=private)


def test_a_webhook_is_signed_with_each_secret_and_keeps_its_id_and_body(receiver: Receiver) -> None:
    newer = b"n" * 24
    hook = to(receiver.url + HIDDEN, secrets=(newer, *secrets_of(SECRET, "here")))
    assert send(hook, EVENT) == send(hook, EVENT) == Outcome()
    first, second = receiver.calls
    assert (first.valid, first.signatures, first.path) == (True, 2, HIDDEN)
    assert (first.id, first.body) == (second.id, second.body)
    assert first.id == EVENT.id
    assert "." not in first.id
    assert first.body == {
        "type": "hook.test",
        "timestamp": "2023-11-14T22:13:20.000Z",
        "data": {"task": "hotel"},
    }


def test_another_secret_is_no_valid_signature(receiver: Receiver) -> None:
    send(to(receiver.url, secrets=(b"x" * 32,)), EVENT)
    assert [each.valid for each in receiver.calls] == [False]


@pytest.mark.parametrize("status", [199 + 101, 302, 307, 400, 410, 500, 503])
def test_only_2xx_is_a_delivery_and_no_redirect_is_followed(receiver: Receiver, status: int) -> None:
    receiver.answer = lambda received: (status, {"location": f"{receiver.url}/elsewhere"})
    assert send(to(receiver.url), EVENT) == Outcome(f"it answered {status}")
    assert [each.path for each in receiver.calls] == ["/"]


@pytest.mark.parametrize(
    ("text", "seconds"), [("17", 17.0), ("Wed, 21 Oct 2026 07:28:00 GMT", 0.0), ("-1", 0.0)]
)
def test_a_receiver_may_ask_for_time(receiver: Receiver, text: str, seconds: float) -> None:
    receiver.answer = lambda received: (429, {"retry-after": text})
    assert send(to(receiver.url), EVENT).asked_s == seconds


def test_a_slow_receiver_is_given_up_in_time(receiver: Receiver) -> None:
    ended = threading.Event()
    receiver.answer = lambda received: (204 if ended.wait(10) else 500, {})
    began = time.monotonic()
    assert send(to(receiver.url), EVENT, timeout_s=0.3) == Outcome("no answer within 0.3 s")
    assert time.monotonic() - began < 5
    ended.set()


def test_an_answer_that_drips_is_given_up_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        ended = threading.Event()

        def drip() -> None:
            connection, _ = server.accept()
            with connection, suppress(OSError):
                connection.sendall(b"HTTP/1.1 200 OK\r\n")
                while not ended.wait(0.05):
                    connection.sendall(b"x-more: 1\r\n")

        thread = threading.Thread(target=drip)
        thread.start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        outcome = send(to(url), EVENT, timeout_s=0.5)
        ended.set()
        thread.join()
    assert outcome == Outcome("no answer within 0.5 s")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "0x7f.1", "0.0.0.0"])
def test_a_private_address_is_called_only_where_that_is_allowed(receiver: Receiver, host: str) -> None:
    port = receiver.url.rpartition(":")[2]
    refused = send(to(f"http://{host}:{port}", private=False), EVENT)
    assert refused.failure == "its address is private, and private = true is not set"
    assert receiver.calls == []


def test_what_cannot_be_reached_fails_without_its_address() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    outcome = send(to(f"http://127.0.0.1:{port}{HIDDEN}"), EVENT)
    assert outcome.failure == "it cannot be reached (ClientConnectorError)"


def _answered(status: int, received: Received) -> tuple[int, dict[str, str]]:
    return status, {}


def test_neither_secrets_nor_the_address_are_in_a_log_or_a_repr(
    receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    hook = to(receiver.url + HIDDEN)
    for status in (204, 500):
        receiver.answer = partial(_answered, status)
        outcome = send(hook, EVENT)
        said = f"{caplog.text}{hook!r}{hook.shown}{outcome!r}"
        for secret in (HIDDEN, SECRET, KEY.decode(), base64.b64encode(KEY).decode(), repr(KEY)):
            assert secret not in said
    assert hook.shown == "127.0.0.1"


def test_the_time_out_is_that_of_the_specification() -> None:
    assert 15 <= webhook.TIMEOUT_S <= 30
