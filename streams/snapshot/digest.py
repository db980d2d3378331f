"""Canonical digest of a state: equal for equal knowledge, whatever process, hash seed or restore.

Pickle's bytes cannot serve: they depend on which equal strings are one object, on the order of sets and on
caches, so that identical twins dump differently. Here a state is walked as a value:

- dict entries and sets without their order, lists and `OrderedDict` with it; floats by their bits;
- random generators by their state, arrays by dtype, shape and bytes;
- **empty defaults as absent**: an entry of a defaultdict, Counter or VectorDict that equals what the dict
  would give without it is left out, so that a prediction which merely touched a key changes nothing;
- functions and classes by name; objects by their fields, without caches;
- whether two fields hold one object or two equal ones makes no difference, for restoring may split what a
  process happened to share. An object that refers back to one around it is written as such.

The walk keeps a stack of its own: a chain of a million nodes is no deeper for Python than one.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable, Iterator
from typing import Any

from schemas.errors import NotReproducible
from streams.garbage import without_collection
from streams.snapshot.atoms import ATOMS, atom, name_of, text
from streams.snapshot.parts import NOT_KNOWLEDGE, NOTHING, Parts, take_apart


def state_digest(state: object) -> str:
    """Give the canonical digest of a state (64 hexadecimal digits).

    Parameters
    ----------
    state
        A River model, or the state of any fold.

    Raises
    ------
    NotReproducible
        When something in it has no state that could be written (a generator, an open file), or is a set or
        has dict keys whose members refer back to it.

    Notes
    -----
    Cost is linear in the number of objects. Components that have several references to one another (cycles)
    are found by Tarjan's algorithm (Tarjan 1972, "Depth-first search and linear graph algorithms").

    Examples
    --------
    >>> from river import linear_model, preprocessing
    >>> live = preprocessing.StandardScaler() | linear_model.LogisticRegression()
    >>> twin = preprocessing.StandardScaler() | linear_model.LogisticRegression()
    >>> for model in (live, twin):
    ...     model.learn_one({"x": 1.0}, True)
    >>> _ = live.predict_proba_one({"x": 1.0, "new": 2.0})
    >>> state_digest(live) == state_digest(twin)
    True
    >>> live.learn_one({"x": 2.0}, False)
    >>> state_digest(live) == state_digest(twin)
    False
    """
    return state_digests([state])[0]


def state_digests(states: Iterable[object]) -> list[str]:
    """Give the digest of each of several states, walking only once what one has in common with another."""
    walk = _Walk()
    with without_collection():
        return [hashlib.sha256(walk.token(state)).hexdigest() for state in states]


class _Tokens:
    """Parts in canonical order, atoms as the bytes that stand for them.

    What is still to be walked stands as the object itself, and is in `walked` as well.
    """

    __slots__ = ("absent", "bag", "header", "pairs", "seq", "walked")

    def __init__(self, parts: Parts) -> None:
        self.absent = parts.absent
        self.walked: list[Any] = []
        self.header = _header(parts.kind, parts.cls)
        if parts.plain:
            self.header += b"".join(_plain(each) for each in parts.plain)
        self.seq: list[Any] = []
        if parts.fields:
            ignored = _ignored(parts.cls)
            fields = parts.fields
            for name in sorted(fields):
                if name not in ignored:
                    self.seq.append(text(name))
                    self.seq.append(self._token(fields[name]))
        self.seq.extend(map(self._token, parts.items))
        self.pairs: list[tuple[Any, Any]] = []
        self.bag: list[Any] = [self._token(each) for each in parts.members] if parts.members else []
        if parts.kind.endswith("ordered"):
            self.seq.extend(self._token(each) for pair in parts.entries for each in pair)
        elif parts.entries:
            by_key = [(_part(key), value) for key, value in parts.entries]
            if all(type(key) is bytes for key, _ in by_key):
                by_key.sort(key=_key)  # in order before they are walked, so that a walk has one order
            else:
                self.walked.extend(key for key, _ in by_key if type(key) is not bytes)
            self.pairs = [(key, self._token(value)) for key, value in by_key]

    def _token(self, value: Any) -> Any:
        made = ATOMS.get(type(value))
        token = atom(value) if made is None else made(value)
        if token is None:
            self.walked.append(value)
            return value
        return token


def _part(value: Any) -> Any:
    found = atom(value)
    return value if found is None else found


def _key(pair: tuple[Any, Any]) -> Any:
    return pair[0]


def _plain(value: Any) -> bytes:
    found = atom(value)
    assert found is not None, value
    return found


@functools.lru_cache(maxsize=10_000)
def _header(kind: str, cls: type | None) -> bytes:
    return text(kind) if cls is None else text(kind) + name_of(cls.__module__, cls.__qualname__)


@functools.lru_cache(maxsize=10_000)
def _ignored(cls: type | None) -> frozenset[str]:
    return frozenset().union(*(NOT_KNOWLEDGE.get(each, frozenset()) for each in getattr(cls, "__mro__", ())))


class _Open:
    """An object whose parts are being walked."""

    __slots__ = ("index", "loops", "low", "parts", "rest")

    def __init__(self, index: int, parts: _Tokens) -> None:
        self.index = self.low = index
        self.loops = False
        self.parts = parts
        self.rest: Iterator[Any] = iter(parts.walked)


class _Walk:
    def __init__(self) -> None:
        self.tokens: dict[int, bytes] = {}
        self.kept: list[Any] = []  # an id is only good while its object lives

    def token(self, value: Any) -> bytes:
        """Give the self-delimiting bytes that stand for a value."""
        found = atom(value)
        if found is None:
            found = self.tokens.get(id(value))
        if found is None:
            self._walk(value)
            found = self.tokens[id(value)]
        return found

    def _walk(self, root: Any) -> None:
        tokens = self.tokens
        opened: dict[int, _Open] = {}
        path: list[tuple[int, _Open]] = []  # from the root to where we are
        waiting: list[int] = []  # walked, but part of a component that is not complete
        counter = 0

        def enter(value: Any) -> None:
            nonlocal counter
            parts = _Tokens(take_apart(value))
            self.kept.append(value)
            if not parts.walked:
                tokens[id(value)] = self._seal(parts)
                return
            self.kept.append(parts)  # it may have made parts of its own
            here = _Open(counter, parts)
            counter += 1
            opened[id(value)] = here
            waiting.append(id(value))
            path.append((id(value), here))

        enter(root)
        while path:
            number, here = path[-1]
            for part in here.rest:
                if id(part) in tokens:
                    continue
                back = opened.get(id(part))
                if back is None:
                    depth = len(path)
                    enter(part)
                    if len(path) > depth:
                        break
                else:
                    here.low = min(here.low, back.index)
                    here.loops = here.loops or back is here
            else:
                path.pop()
                if path:
                    above = path[-1][1]
                    above.low = min(above.low, here.low)
                if here.low == here.index:
                    at = len(waiting) - 1
                    while waiting[at] != number:
                        at -= 1
                    members = {each: opened.pop(each).parts for each in waiting[at:]}
                    del waiting[at:]
                    self._seal_component(members, number, here.loops)

    def _seal(self, parts: _Tokens) -> bytes:
        return b"#" + hashlib.blake2b(self._written(parts, {}), digest_size=24).digest()

    def _seal_component(self, members: dict[int, _Tokens], root: int, loops: bool) -> None:
        """Seal objects that reach one another: number them in the order in which the root reaches them."""
        if len(members) == 1 and not loops:
            self.tokens[root] = self._seal(members[root])
            return
        numbers: dict[int, bytes] = {}
        ahead = [root]
        while ahead:
            each = ahead.pop()
            if each in numbers:
                continue
            numbers[each] = b"@%d;" % len(numbers)
            parts = members[each]
            inside = [id(part) for part in parts.walked if id(part) in members]
            if any(id(part) in members for part in (*parts.bag, *(key for key, _ in parts.pairs))):
                raise NotReproducible(
                    "members of a set, or keys of a dict, refer back to it and have no order"
                )
            ahead.extend(reversed(inside))
        whole = hashlib.blake2b(digest_size=24)
        for each in numbers:
            whole.update(self._written(members[each], numbers))
        for each, name in numbers.items():
            self.tokens[each] = b"#" + hashlib.blake2b(whole.digest() + name, digest_size=24).digest()

    def _written(self, parts: _Tokens, numbers: dict[int, bytes]) -> bytes:
        tokens = self.tokens

        def name(part: Any) -> bytes:
            if type(part) is bytes:
                return part
            return (numbers and numbers.get(id(part))) or tokens[id(part)]

        out = [parts.header, b"("]
        out.extend(map(name, parts.seq) if parts.walked else parts.seq)
        if parts.pairs:
            pairs = [(name(key), name(value)) for key, value in parts.pairs]
            if parts.absent is not NOTHING:
                absent = self.token(parts.absent)
                pairs = [pair for pair in pairs if pair[1] != absent]
            pairs.sort()
            # Nothing at all for no entries: a dict of empty defaults is an empty dict.
            out.extend(map(b"=".join, pairs))
        if parts.bag:
            out.extend(sorted(map(name, parts.bag)))
        out.append(b")")
        return b"".join(out)
