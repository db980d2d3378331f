"""Canonical digest of a state: equal for equal knowledge, whatever process, hash seed or restore.

Pickle's bytes cannot serve: they depend on which equal strings are one object, on the order of sets and on
caches, so that identical twins dump differently. Here a state is walked as a value:

- dict entries and sets without their order, lists and `OrderedDict` with it; floats by their bits;
- random generators by their state, arrays by dtype, shape and bytes;
- **empty defaults as absent**: an entry of a defaultdict, Counter or VectorDict that equals what the dict
  would give without it is left out, so that a prediction which merely touched a key changes nothing;
- functions and classes by name; everything else as pickle would see it, without caches;
- whether two fields hold one object or two equal ones makes no difference, for restoring may split what a
  process happened to share. An object that refers back to one around it is written as such.

The walk keeps a stack of its own: a chain of a million nodes is no deeper for Python than one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any

from schemas.errors import NotReproducible
from streams.atoms import atom
from streams.canonical import NOTHING, Parts, take_apart
from streams.garbage import without_collection


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


class _Open:
    """An object whose parts are being walked."""

    __slots__ = ("index", "loops", "low", "parts", "rest")

    def __init__(self, index: int, parts: Parts) -> None:
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
            parts = take_apart(value)
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

    def _seal(self, parts: Parts) -> bytes:
        return b"#" + hashlib.blake2b(self._written(parts, {}), digest_size=24).digest()

    def _seal_component(self, members: dict[int, Parts], root: int, loops: bool) -> None:
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
                    "members of a set, or keys of a dict, refer back to it: they have no order"
                )
            ahead.extend(reversed(inside))
        whole = hashlib.blake2b(digest_size=24)
        for each in numbers:
            whole.update(self._written(members[each], numbers))
        for each, name in numbers.items():
            self.tokens[each] = b"#" + hashlib.blake2b(whole.digest() + name, digest_size=24).digest()

    def _written(self, parts: Parts, numbers: dict[int, bytes]) -> bytes:
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
