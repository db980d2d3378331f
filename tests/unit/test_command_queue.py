"""Which requests the log's owner decides next."""

from __future__ import annotations

from schemas.records import Command, Control, Entry
from streams.command_queue import CommandQueue
from streams.commands import decide_revision
from streams.positions import ACCEPTED
from streams.roles import Roles

LOG = "t.log"


def asked(name: str, model: str, command_id: str) -> Control:
    arguments = {"spec": "s", "runtime": "r", "dictionary": "d"} if name == "revision" else {}
    return Control("request", Command(name, model, arguments, "ada", "why", command_id), 1)  # type: ignore[arg-type]


def ids(found: list[Control]) -> list[str]:
    return [each.command.id for each in found]


def test_revisions_of_several_models_are_decided_together_and_before_other_commands() -> None:
    queue, roles = CommandQueue(LOG), Roles("t")
    for offset, record in enumerate(
        [
            asked("promote", "b", "c-1"),
            asked("revision", "a", "c-2"),
            asked("revision", "b", "c-3"),
            asked("revision", "a", "c-4"),
        ]
    ):
        queue.take(offset, record)
    first = queue.next(roles, ready=True)
    assert ids(first) == ["c-2", "c-3"]
    assert queue.offset(first) == 0, "the promotion is not decided yet"
    for number, each in enumerate(first):
        command = decide_revision(each.command, roles)
        roles.apply(number, Entry(f"t/{command.model}/1", "command", 1, command=command))
        queue.decided(each.command.id, f"t/{command.model}/1")
    assert ids(queue.next(roles, ready=False)) == ["c-4"]
    queue.decided("c-4", "")
    assert queue.next(roles, ready=False) == [], "an owner without an open revision promotes nothing"
    promotion = queue.next(roles, ready=True)
    assert ids(promotion) == ["c-1"]
    assert queue.offset(promotion) == 4


def test_a_decision_waits_for_the_one_before_unless_the_log_was_made_again() -> None:
    queue, roles = CommandQueue(LOG), Roles("t")
    done = asked("revision", "a", "c-1").command
    queue.take(0, Control("audit", done, 1, entry_id="t/a/revision/1"))
    queue.take(1, asked("revision", "a", "c-2"))
    assert queue.next(roles, ready=False) == []
    for topic, found in (("t.metrics", []), (LOG, ["c-2"])):
        accepted = Command(ACCEPTED, "", {"topic": topic, "topic_id": "id-2"})
        queue.take(queue.next_offset, Control("audit", accepted, 1))
        assert ids(queue.next(roles, ready=False)) == found
