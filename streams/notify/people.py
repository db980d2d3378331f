"""Messages about events, and their routes: an event about a feature goes to the feature's owner."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from schemas.escaped import line
from streams.notify.events import Event

MOST: Final = 500
"""Characters of a text that others have written."""
COMMANDS: Final[Mapping[str, str]] = {
    "decision.propose": "riverloop models approve {task} {id} --reason '...'",
    "validation.failed": "riverloop models card {task} {model}",
    "validation.passed": "riverloop models card {task} {model}",
    "alert": "riverloop status {task}",
    "decision": "riverloop audit list {task} --command {command}",
    "validation": "riverloop audit list {task} --command {command}",
    "hook": "riverloop hooks list {task}",
}
"""By type, else kind: the command to run next."""


def title(event: Event) -> str:
    """Return one line.

    Examples
    --------
    >>> title(Event("evt_1", "decision.promote", 0, {"task": "hotel", "model": "lr", "result": "done"}))
    'hotel: promote lr, done'
    """
    data = event.data
    if event.kind == "alert":
        return line(f"{data['task']}: {data['title']} ({data['severity']}, {data['state']})")
    if event.kind == "validation":
        return line(f"{data['task']}: validation of {data['model']} {event.type.partition('.')[2]}")
    if event.kind == "hook":
        return line(f"{data['task']}: test of hooks")
    what = f"{data['task']}: {event.type.partition('.')[2]} {data['model']}".rstrip()
    return line(f"{what}, {data['result']}")


def text(event: Event, reference: str) -> str:
    r"""Return some lines: what happened, by whom, and the command to run.

    Parameters
    ----------
    reference
        The task as commands name it.

    Examples
    --------
    >>> print(text(Event("evt_1", "hook.test", 0, {"task": "hotel"}), "task.py"))
    Run: riverloop hooks list task.py
    Event: evt_1
    """
    data, found = event.data, list[str]()
    if event.kind == "alert":
        found += [line(data["text"], MOST), f"Runbook: {data['runbook']}"]
    elif event.kind != "hook":
        found.append(f"By {line(data['actor'])}: {line(data['reason'] or 'no reason given', MOST)}")
        if data["from"] != data["to"]:
            found.append(f"Answering: {_shares(data['from'])} -> {_shares(data['to'])}")
        found.append(f"Audit record {data['audit_number']}, hash {data['audit_hash']}")
    command = COMMANDS.get(event.type, COMMANDS[event.kind])
    names = {key: line(str(data.get(key, ""))) for key in ("id", "model", "command")}
    return "\n".join([*found, f"Run: {command.format(task=reference, **names)}", f"Event: {event.id}"])


def _shares(shares: Mapping[str, float] | None) -> str:
    return ", ".join(f"{model} {share:.0%}" for model, share in (shares or {}).items()) or "unknown"


def features_of(owner: str, owners: Iterable[str], owner_of: Mapping[str, str]) -> frozenset[str]:
    """Return the features whose events go to a route; the empty name stands for events about none.

    Parameters
    ----------
    owner
        Of the route; empty: it takes what no other route's owner has.
    owners
        Of all routes.
    owner_of
        By feature: the owner whom the dictionary names.

    Examples
    --------
    >>> owner_of = {"price": "shop", "age": "", "channel": "web"}
    >>> sorted(features_of("shop", ["shop", ""], owner_of)), sorted(features_of("", ["shop", ""], owner_of))
    (['price'], ['', 'age', 'channel'])
    """
    if owner:
        return frozenset(name for name, each in owner_of.items() if each == owner)
    taken = {each for each in owners if each}
    return frozenset({"", *(name for name, each in owner_of.items() if each not in taken)})
