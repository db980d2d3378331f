"""People are told in words, with the command to run; an address that fails is tried again, and is never shown."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest

from infra.notify.config import People
from infra.notify.people import Messenger
from infra.notify.webhook import Outcome
from schemas.errors import UsageError
from streams.notify.events import Event
from streams.notify.people import text, title
from tests.mailbox import receiving_mail
from tests.receiver import Receiver, receiving

# Of a module that Apprise looks for, on Python 3.11 and 3.12.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")
HIDDEN = "hidden-token"


def decision(kind: str = "decision.propose", **more: Any) -> Event:
    data: dict[str, Any] = {
        "task": "hotel",
        "command": kind.partition(".")[2],
        "model": "lr",
        "result": "done",
        "actor": "ann",
    }
    data |= {"reason": "a\nb", "from": {"lr": 1.0}, "to": {"lr": 0.9, "ht": 0.1}, "id": "3f1c"}
    return Event("evt_1", kind, 0, data | {"audit_number": 3, "audit_hash": "ff"} | more)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as found:
        yield found


def route(receiver: Receiver, *paths: str) -> Messenger:
    host = receiver.url.removeprefix("http://")
    addresses = tuple(f"json://user:{HIDDEN}@{host}/{path}" for path in paths)
    return Messenger(People(name="team", addresses=addresses), "task.py")


def test_people_are_told_what_happened_and_what_to_run(receiver: Receiver) -> None:
    assert route(receiver, "a").send(decision()) == Outcome()
    (call,) = receiver.calls
    assert call.body["title"] == "hotel: propose lr, done"
    assert call.body["message"].splitlines() == [
        "By ann: a\\nb",
        "Answering: lr 100% -> lr 90%, ht 10%",
        "Audit record 3, hash ff",
        "Run: riverloop models approve task.py 3f1c --reason '...'",
        "Event: evt_1",
    ]


@pytest.mark.parametrize(
    ("address", "path", "said"),
    [
        (f"ntfy://user:{HIDDEN}@HOST/loops", "/", {"topic": "loops"}),
        (f"gotify://HOST/{HIDDEN}", "/message", {"priority": 5}),
    ],
    ids=["ntfy", "gotify"],
)
def test_push_services_have_title_and_text(
    receiver: Receiver, address: str, path: str, said: dict[str, Any]
) -> None:
    receiver.answer = lambda received: (200, {})
    people = People(name="team", addresses=(address.replace("HOST", receiver.url.removeprefix("http://")),))
    assert Messenger(people, "task.py").send(decision()) == Outcome()
    (call,) = receiver.calls
    assert call.path.partition("?")[0] == path
    assert call.body == said | {"title": title(decision()), "message": text(decision(), "task.py").strip()}
    receiver.answer = lambda received: (503, {})
    # Another one: between two messages of one, Apprise keeps to the service's rate.
    assert Messenger(people, "task.py").send(decision()).failure == "1 of 1 addresses failed"


def test_a_mail_has_what_happened_and_one_that_is_refused_is_a_failure() -> None:
    with receiving_mail() as mailbox:
        host = f"{mailbox.address}?smtp=127.0.0.1&mode=insecure&from=riverloop@example.com"
        people = People(name="team", addresses=(f"mailto://{host}&to=ann@example.com",))
        assert Messenger(people, "task.py").send(decision()) == Outcome()
        (mail,) = mailbox.mails
        assert (mailbox.to, mail["subject"]) == (["ann@example.com"], title(decision()))
        body = mail.get_body(("plain",))
        assert body is not None
        found = "\n".join(body.get_content().splitlines())
        assert text(decision(), "task.py").strip() in found
        mailbox.refuses = True
        assert Messenger(people, "task.py").send(decision()).failure == "1 of 1 addresses failed"
        assert len(mailbox.mails) == 1


def test_only_an_address_that_failed_is_tried_again_and_the_next_event_goes_to_all(
    receiver: Receiver,
) -> None:
    messenger = route(receiver, "a", "b")
    receiver.answer = lambda received: (500 if "b" in received.path else 200, {})
    assert messenger.send(decision()) == Outcome("1 of 2 addresses failed")
    receiver.answer = lambda received: (200, {})
    assert messenger.send(decision()) == Outcome()
    assert [each.path.strip("/") for each in receiver.calls] == ["a", "b", "b"]
    assert messenger.send(Event("evt_2", "hook.test", 0, {"task": "hotel"})) == Outcome()
    assert len(receiver.calls) == 5


def test_no_address_is_in_a_log_or_an_error(receiver: Receiver, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    receiver.answer = lambda received: (500, {})
    outcome = route(receiver, "a").send(decision())
    assert outcome.failure == "1 of 1 addresses failed"
    with pytest.raises(UsageError) as caught:
        Messenger(People(name="team", addresses=(f"nothing://{HIDDEN}",)), "task.py")
    assert "address 1" in str(caught.value)
    assert HIDDEN not in f"{caplog.text}{caught.value}"


def test_each_kind_has_words_and_a_command() -> None:
    alert = {"task": "hotel", "title": "Worse", "severity": "warning", "state": "opened", "text": "It rose."}
    event = Event("evt_1", "alert.opened", 0, alert | {"runbook": "docs/operations/runbooks/loss-episode.md"})
    assert title(event) == "hotel: Worse (warning, opened)"
    assert "runbooks/loss-episode.md\nRun: riverloop status task.py" in text(event, "task.py")
    failed = decision("validation.failed", command="validation")
    assert title(failed) == "hotel: validation of lr failed"
    assert "Run: riverloop models card task.py lr" in text(failed, "task.py")
    assert "--command promote" in text(decision("decision.promote"), "task.py")
