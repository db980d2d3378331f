"""The file that says where events go: TOML, without secrets, which lie in files or the environment."""

from __future__ import annotations

import os
import re
import tomllib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from schemas.errors import UsageError
from streams.notify.events import KINDS, Event
from streams.notify.people import features_of
from streams.notify.signature import secrets_of

NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,49}")
MOST_BYTES: Final = 65_536
_SOURCES: Final = ("", "_env", "_file")


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination(ABC):
    """Where events go."""

    name: str
    """Unique in the file, and part of a consumer group's name."""
    events: tuple[str, ...] = KINDS
    """Kinds or types of events."""

    @property
    @abstractmethod
    def shown(self) -> str:
        """Where it leads, without anything secret."""

    def wants(self, event: Event) -> bool:
        """Whether an event goes there."""
        return event.kind in self.events or event.type in self.events


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook(Destination):
    """An HTTP address that takes signed webhooks."""

    url: str = field(repr=False)
    """May be secret as a whole, like a chat's."""
    secrets: tuple[bytes, ...] = field(repr=False)
    private: bool = False
    """Whether it may be a private address, and plain HTTP."""

    @property
    def shown(self) -> str:
        """The host alone."""
        return urlsplit(self.url).hostname or ""


@dataclass(frozen=True, slots=True, kw_only=True)
class People(Destination):
    """People whom Apprise reaches."""

    addresses: tuple[str, ...] = field(repr=False)
    """Apprise's URLs, which have tokens and passwords."""
    owner: str = ""
    """As the dictionary names them; empty: for what belongs to no other route."""
    features: frozenset[str] = frozenset({""})
    """Features whose events go there; the empty name stands for events about none."""

    @property
    def shown(self) -> str:
        """The owner, and how many addresses there are."""
        return f"{self.owner or 'people'} ({len(self.addresses)} addresses)"

    def wants(self, event: Event) -> bool:
        """Whether an event goes there."""
        # Not super(): a dataclass with slots is another class than the one that its methods were defined in.
        return Destination.wants(self, event) and event.feature in self.features


def read_config(
    file: Path, owner_of: Mapping[str, str], env: Mapping[str, str] | None = None
) -> list[Destination]:
    """Read the destinations of a file.

    Parameters
    ----------
    owner_of
        By feature: the owner whom the dictionary names.
    env
        Where variables are looked up; by default the process's environment.

    Raises
    ------
    UsageError
        Naming the destination and the key; values are not repeated.
    """
    try:
        tables = tomllib.loads(_text_of(file, str(file)))
    except tomllib.TOMLDecodeError as error:
        # Its message names the place, and at most one character of it.
        raise UsageError(f"{file} is not valid TOML: {error}") from None
    reader = _Reader(file.parent, os.environ if env is None else env)
    found: list[Destination] = []
    for kind, rows in tables.items():
        make = reader.makers.get(kind)
        if make is None or not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise UsageError(
                f"{file} has {kind!r:.60}: write {', '.join(f'[[{each}]]' for each in reader.makers)}"
            )
        for number, row in enumerate(rows, start=1):
            found.append(make(dict(row), f"{file}, {kind} {number}"))
    names = [each.name for each in found]
    if not found or len(set(names)) < len(names):
        raise UsageError(f"{file} needs destinations, each with a name of its own")
    return _routed(found, owner_of)


def _routed(found: list[Destination], owner_of: Mapping[str, str]) -> list[Destination]:
    """Give people the features of their owner."""
    owners = [each.owner for each in found if isinstance(each, People)]
    for each in owners:
        if each and each not in owner_of.values():
            raise UsageError(f"the dictionary names no owner {each!r:.60}")
    return [
        replace(each, features=features_of(each.owner, owners, owner_of))
        if isinstance(each, People)
        else each
        for each in found
    ]


class _Reader:
    """Makes destinations of tables.

    Parameters
    ----------
    folder
        Relative files are looked up there.
    """

    def __init__(self, folder: Path, env: Mapping[str, str]) -> None:
        self._folder, self._env = folder, env
        self.makers: Mapping[str, Callable[[dict[str, Any], str], Destination]] = {
            "webhooks": self.webhook,
            "people": self.people,
        }

    def webhook(self, row: dict[str, Any], where: str) -> Webhook:
        """Make a webhook."""
        about = self._common(row, where)
        where = f"{where} ({about['name']})"
        private = row.pop("private", False)
        url, secret = self._value(row, "url", where), self._value(row, "secret", where, plain=False)
        _none_left(row, where)
        try:
            parts = urlsplit(url)
            wrong = not parts.hostname or parts.port == 0 or "@" in parts.netloc
        except ValueError:
            parts, wrong = urlsplit(""), True
        if wrong or parts.scheme not in {"https", "http"} or type(private) is not bool:
            raise UsageError(
                f"{where}: url is http:// or https:// and a host, without a login; private is a boolean"
            )
        if parts.scheme == "http" and not private:
            raise UsageError(f"{where}: plain http needs private = true")
        return Webhook(**about, url=url, secrets=secrets_of(secret, where), private=private)

    def people(self, row: dict[str, Any], where: str) -> People:
        """Make a route to people."""
        about = self._common(row, where)
        where = f"{where} ({about['name']})"
        owner = row.pop("owner", "")
        addresses = self._value(row, "addresses", where, plain=False)
        _none_left(row, where)
        if not isinstance(owner, str):
            raise UsageError(f"{where}: owner is a text")
        return People(**about, addresses=tuple(addresses.split()), owner=owner)

    def _common(self, row: dict[str, Any], where: str) -> dict[str, Any]:
        name, events = row.pop("name", None), row.pop("events", list(KINDS))
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise UsageError(f"{where}: name has up to 50 lower-case letters, digits, dashes")
        texts = isinstance(events, list) and all(isinstance(each, str) for each in events)
        if not texts or not all(each.partition(".")[0] in KINDS for each in events):
            raise UsageError(
                f"{where} ({name}): events are {', '.join(KINDS)}, or types such as alert.opened"
            )
        return {"name": name, "events": tuple(events)}

    def _value(self, row: dict[str, Any], key: str, where: str, *, plain: bool = True) -> str:
        """Take a value that is given itself, or by a variable or a file; a secret is never in the file itself."""
        given = {each: row.pop(f"{key}{each}") for each in _SOURCES if f"{key}{each}" in row}
        if len(given) != 1 or not isinstance(next(iter(given.values())), str) or ("" in given and not plain):
            ways = " or ".join(f"{key}{each}" for each in _SOURCES if plain or each)
            raise UsageError(f"{where}: set one of {ways}")
        if "" in given:
            return str(given[""])
        if "_env" in given:
            name = given["_env"]
            if not (value := self._env.get(name, "").strip()):
                raise UsageError(f"{where}: the variable of {key}_env is empty or not set")
            return value
        value = _text_of(self._folder / given["_file"], f"{where}: the file of {key}_file").strip()
        if not value:
            raise UsageError(f"{where}: the file of {key}_file is empty")
        return value


def _none_left(row: Mapping[str, Any], where: str) -> None:
    if row:
        raise UsageError(f"{where} has unknown keys: {', '.join(sorted(row))[:200]}")


def _text_of(file: Path, what: str) -> str:
    try:
        with file.open("rb") as opened:
            data = opened.read(MOST_BYTES + 1)
        if len(data) > MOST_BYTES:
            raise UsageError(f"{what} has more than {MOST_BYTES:,} bytes")
        return data.decode()
    except OSError as error:
        raise UsageError(f"{what} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{what} is not valid UTF-8") from None
