"""The decisions about a task's models, from `T.control`, as data for the page."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import Any, Final

from infra.past import PREFIX, SPEC_TEXT
from schemas.applied import Applied
from schemas.records import Command, Control, Entry
from streams.commands import DECIDED
from streams.roles import Roles
from streams.rollout import DIGEST, EXPIRES, PROPOSAL, STAMPS, VALIDATION
from streams.shares import SALT, UNIT

REVISION: Final = "revision"
NAMES: Final = frozenset({REVISION, *DECIDED})
"""The commands about models; others have audits as well."""
STAMP: Final = ("spec", "runtime", "dictionary")
"""Arguments of a revision: digests of what fixes it."""
INNER: Final = frozenset({*STAMP, SPEC_TEXT, SALT, *(set(STAMPS) - {PROPOSAL}), DIGEST, EXPIRES, "revisions"})
"""Arguments that are shown elsewhere, or not at all."""
MOST: Final = 100
"""Decisions that are shown, newest first."""
MOST_REVISIONS: Final = 20
"""Revisions of a model that are shown, newest first."""


class Decisions:
    """Requests, audits and workers' reports about the models of a task, in the order of `T.control`.

    All workers of a task read the same records, so their pages are equal, also after a restart.

    Parameters
    ----------
    task
        The task's name.
    """

    def __init__(self, task: str) -> None:
        self._roles: Roles | None = Roles(task)
        """By offsets of `T.control`; None when its beginning was not read."""
        self._rows: dict[str, dict[str, Any]] = {}
        """By id of the command, or of the entry that nobody asked for."""
        self._since: dict[str, dict[str, Any]] = {}
        """By model: the decision by which it does what it does."""
        self._revisions: dict[str, list[dict[str, Any]]] = {}
        self._texts: dict[str, str] = {}
        """By digest of a specification: its text."""
        self._offsets: dict[str, int] = {}
        """By entry id: the offset in the training log."""
        self._applied: dict[str, int] = {}
        """By slot: the last offset of the training log that a worker has reported."""

    def take(self, offset: int, record: Control | Applied) -> None:
        """Take a record of `T.control`."""
        if isinstance(record, Applied):
            self._offsets.update(record.commands)
            self._applied[record.slot] = max(record.log_offset, self._applied.get(record.slot, -1))
        elif record.command.name not in NAMES or record.command.name == VALIDATION:
            self._apply_quietly(offset, record)
        elif record.kind == "request":
            self._add(record, "asked")
        elif record.rejected:
            self._add(record, "rejected")
        elif not self._is_done(record):
            before = self._state()
            self._apply(offset, record)
            self._done(record, before, self._state())

    def _apply_quietly(self, offset: int, record: Control) -> None:
        """Take what the timeline leaves out: there are many validations, and they have a list of their own."""
        if record.command.name == VALIDATION and record.kind == "audit" and not record.rejected:
            self._apply(offset, record)

    def _is_done(self, record: Control) -> bool:
        known = self._rows.get(_key(record))
        return known is not None and known["state"] == "done"

    def _apply(self, offset: int, record: Control) -> None:
        if self._roles is not None:
            entry = Entry(record.entry_id, "command", record.ts, command=record.command)
            try:
                self._roles.apply(offset, entry)
            except (KeyError, ValueError):
                self._roles = None

    def _state(self) -> dict[str, tuple[int, int, int]]:
        found = self._roles.models if self._roles is not None else {}
        return {name: (each.share, each.frozen_at, each.retired_at) for name, each in found.items()}

    def _done(
        self,
        record: Control,
        before: Mapping[str, tuple[int, int, int]],
        after: Mapping[str, tuple[int, int, int]],
    ) -> None:
        row = self._add(record, "done")
        shares = [{name: state[0] / UNIT for name, state in of.items() if state[0]} for of in (before, after)]
        row["before"], row["after"] = shares if shares[0] != shares[1] else (None, None)
        for name, state in after.items():
            if before.get(name) != state:
                self._since[name] = row
        command = record.command
        if REVISION in command.arguments:
            self._opened(command, row)

    def _opened(self, command: Command, row: dict[str, Any]) -> None:
        given = command.arguments
        if text := given.get(SPEC_TEXT):
            self._texts[given.get("spec", "")] = text
        opened = {name: given.get(name, "") for name in STAMP}
        revisions = self._revisions.setdefault(command.model, [])
        revisions.append({REVISION: given[REVISION], "row": row} | opened)

    def _add(self, record: Control, state: str) -> dict[str, Any]:
        command, key = record.command, _key(record)
        row = self._rows.get(key)
        if row is None:
            row = self._rows[key] = {"id": command.id, "state": "", "why": "", "entry_id": "", "at": 0}
        elif state == "asked" or row["state"] == "done":
            return row
        row |= {
            "state": state,
            "command": command.name,
            "model": command.model,
            "arguments": _shown(command.arguments),
            "author": command.author,
            "authentication": command.authentication,
            "reason": command.reason,
            "evidence": command.evidence,
            "asked": command.asked,
            "at": record.ts,
            "why": record.rejected,
            "entry_id": record.entry_id,
            "before": None,
            "after": None,
        }
        while len(self._rows) > MOST:
            del self._rows[next(iter(self._rows))]
        return row

    # ------------------------------------------------------------------ what is shown

    def as_data(
        self, live: Collection[str] | None, here: Mapping[str, int], texts: Mapping[str, str]
    ) -> dict[str, Any]:
        """Return the decisions in JSON's types.

        Parameters
        ----------
        live
            Slots of the live workers; None while they are unknown.
        here
            Log offsets by entry id, as this worker knows them.
        texts
            Texts of specifications by their digests, from elsewhere.
        """
        offsets = self._offsets | dict(here)

        def shown(row: Mapping[str, Any]) -> dict[str, Any]:
            offset = offsets.get(row["entry_id"])
            active = self._active(offset, live) if row["state"] == "done" else None
            return dict(row) | {"offset": offset, "workers": active}

        newest = sorted(self._rows.values(), key=lambda row: int(row["at"]))[::-1]
        return {
            "rows": [shown(row) for row in newest],
            "since": {name: _brief(shown(row)) for name, row in self._since.items()},
            "revisions": {
                name: self._changes(revisions, offsets, dict(texts) | self._texts)
                for name, revisions in self._revisions.items()
            },
        }

    def _active(self, offset: int | None, live: Collection[str] | None) -> dict[str, list[str]] | None:
        """Return the live workers that have applied a command, and those that have not."""
        if live is None:
            return None
        applied = {slot for slot, at in self._applied.items() if offset is not None and at >= offset}
        return {"active": sorted(applied & set(live)), "waiting": sorted(set(live) - applied)}

    @staticmethod
    def _changes(
        revisions: list[dict[str, Any]], offsets: Mapping[str, int], texts: Mapping[str, str]
    ) -> list[dict[str, Any]]:
        found = []
        for number, each in enumerate(revisions[-MOST_REVISIONS:], max(0, len(revisions) - MOST_REVISIONS)):
            row, earlier = each["row"], revisions[number - 1] if number else None
            text, before = texts.get(each["spec"]), texts.get(earlier["spec"]) if earlier else None
            brief = _brief(dict(row) | {"offset": offsets.get(row["entry_id"])})
            changed = [name for name in STAMP if earlier and earlier[name] != each[name]]
            differs = text is not None and before is not None and text != before
            found.append(
                brief
                | {name: each[name] for name in (REVISION, *STAMP)}
                | {
                    "changed": changed,
                    "text": text if each is revisions[-1] else None,
                    "lines": differences(before or "", text or "") if differs else [],
                }
            )
        return found[::-1]


def _key(record: Control) -> str:
    return record.command.id or record.entry_id


def _brief(row: Mapping[str, Any]) -> dict[str, Any]:
    names = ("command", "author", "authentication", "reason", "at", "entry_id", "offset")
    return {name: row[name] for name in names}


def _shown(arguments: Mapping[str, str]) -> dict[str, str]:
    return {
        name: text for name, text in arguments.items() if name not in INNER and not name.startswith(PREFIX)
    }


@lru_cache(256)
def differences(before: str, after: str) -> list[str]:
    r"""Return the lines of two texts that differ, with one line around them, each after `-`, `+` or a blank.

    Examples
    --------
    >>> differences("LogisticRegression(", "LogisticRegression(")
    []
    >>> differences("a\nl2=0.\nb", "a\nl2=0.1\nb")
    [' a', '-l2=0.', '+l2=0.1', ' b']
    """
    lines = list(difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=1))
    return [line for line in lines[2:] if not line.startswith("@@")]
