"""Filling a freshly built model with a stored state.

The stored form and the fresh model, the template, are walked together from their roots. An object of the template
is filled in where it stands, so that whatever refers to it goes on to do so. Other objects are made without a call
of their class, of listed classes only, and their fields are assigned. No function, class or method comes from the
file.
"""

from __future__ import annotations

import collections
import functools
import types
from typing import Any, Final

from schemas.errors import SnapshotError
from streams.snapshot import make
from streams.snapshot.atoms import atom
from streams.snapshot.classes import CODE_KINDS, Classes
from streams.snapshot.code import Template
from streams.snapshot.fields import fields_of, set_fields
from streams.snapshot.nodes import Node
from streams.snapshot.pairing import PLAIN_KEYS, check_place, same_type, twins_of
from streams.snapshot.parts import CODE
from streams.snapshot.write import partial_of

MAX_DEPTH: Final = 50
"""How deep tuples may lie in tuples."""
MAX_KEY: Final = 1_000
"""Most values in a key of a dict or a member of a set: their hash is computed from all of them."""
MAX_LARGE_KEYS: Final = 1_000
"""Most whole numbers beyond 60 bits among the keys of a state."""

UNSEEN, SEEN, OPEN, DONE = range(4)
_SHELLS: Final[dict[str, type]] = {
    "object": object,
    "list": list,
    "dict": dict,
    "set": set,
    "deque": collections.deque,
    "ordered": collections.OrderedDict,
    "counter": collections.Counter,
    "defaultdict": collections.defaultdict,
} | {
    f"object {name}": kind
    for name, kind in (
        *(("list", list), ("dict", dict), ("set", set), ("deque", collections.deque)),
        *(("ordered", collections.OrderedDict), ("counter", collections.Counter)),
        ("defaultdict", collections.defaultdict),
    )
}
"""Kinds that are made empty and filled later, so that they may refer to one another; what `__new__` makes them."""


class Filling:
    """Fills a template with the objects that nodes describe."""

    def __init__(self, nodes: list[Node], template: Template, classes: Classes) -> None:
        self.template, self.classes = template, classes
        classes.add(template)
        self.nodes = nodes
        self.claimed: set[int] = set()
        """Objects of the template that have been filled, by id: the template keeps them alive."""
        self.order: list[Node] = []
        self.large_keys = 0

    def root(self) -> Any:
        """Make the root and all that it refers to."""
        self._discover(self.nodes[0], self.template.root)
        for node in self.order:
            if node.kind in _SHELLS:
                self._fill(node)
            else:
                self._value(node)
        return self._value(self.nodes[0])

    # ------------------------------------------------------------------ pairing with the template

    def _discover(self, root: Node, twin: Any) -> None:
        """Pair each node with the template's object at its place, and make what is filled later."""
        ahead: list[tuple[Node, Any]] = [(root, twin)]
        while ahead:
            node, twin = ahead.pop()
            if twin is not None:
                check_place(node, twin)
            if node.state != UNSEEN:
                continue
            node.state = SEEN
            self.order.append(node)
            node.twin = twin
            if node.kind in _SHELLS:
                self._shell(node)
            ahead.extend(reversed(self._children(node)))

    def _shell(self, node: Node) -> None:
        base: Any = _SHELLS[node.kind]
        if (node.cls is None) == node.kind.startswith("object"):
            raise SnapshotError(f"the snapshot is damaged: a {node.kind} with a class or without one")
        kind = base
        if node.cls is not None:
            kind = self.classes.find(node.cls)
            self.classes.check(kind, node.fields)
        twin = node.twin
        if type(twin) is kind and id(twin) not in self.claimed and _same_bound(node, twin):
            self.claimed.add(id(twin))
            node.made = twin
        else:
            node.made = base.__new__(kind)
            if base is collections.deque:
                collections.deque.__init__(node.made, (), node.values[0])
        if node.cls is not None:
            node.keeps = make.unstored(node.made, node.fields)

    def _children(self, node: Node) -> list[tuple[Node, Any]]:
        twin, out = node.twin, []
        own = fields_of(twin) if node.fields and twin is not None else {}
        for name, value in node.fields.items():
            part = own.get(name)
            if part is not None and value is not None and not same_type(value, part):
                raise SnapshotError(
                    f"the snapshot has another type of {name!r:.60} than the {type(twin).__qualname__} of the model"
                )
            if type(value) is Node:
                out.append((value, part))
                if part is None and value.kind in CODE_KINDS and node.cls is not None:
                    value.function = self.classes.own(self.classes.find(node.cls), name, value.values[0])
        if twin is None:
            out += [(value, None) for value in node.values if type(value) is Node]
        else:
            pairs = zip(node.values, twins_of(node, twin), strict=True)
            out += [(value, part) for value, part in pairs if type(value) is Node]
        return out

    # ------------------------------------------------------------------ making

    def _fill(self, node: Node) -> None:
        made, values = node.made, [self._part(value) for value in node.values]
        if node.cls is not None:
            set_fields(made, {name: self._part(value) for name, value in node.fields.items()}, node.keeps)
        base = _SHELLS[node.kind]
        if base is list:
            list.clear(made)
            list.extend(made, values)
        elif base is collections.deque:
            collections.deque.clear(made)
            collections.deque.extend(made, values[1:])
        elif base is set:
            set.clear(made)
            for value in values:
                self._check_key(value)
                set.add(made, value)
        elif base is not object:
            if base is collections.defaultdict:
                made.default_factory = self._factory(values[0])
                del values[0]
            self._fill_dict(made, base, values)

    def _fill_dict(self, made: Any, base: type, values: list[Any]) -> None:
        like: Any = base if base is collections.OrderedDict else dict
        clear, put = like.clear, like.__setitem__
        clear(made)
        for key, value in zip(values[::2], values[1::2], strict=True):
            self._check_key(key)
            put(made, key, value)

    def _factory(self, factory: Any) -> Any:
        if factory is not None and not callable(factory):
            raise SnapshotError(f"the snapshot has {factory!r:.60} as the factory of a defaultdict")
        return factory

    def _part(self, value: Any) -> Any:
        return self._value(value) if type(value) is Node else value

    def _value(self, node: Node, depth: int = 0) -> Any:
        """Give a node's object; what cannot be made empty is made here, after what it holds."""
        if node.state == DONE or node.kind in _SHELLS:
            return node.made
        if node.state == OPEN or depth > MAX_DEPTH:
            raise SnapshotError("the snapshot is damaged: tuples are nested too deeply, or hold themselves")
        node.state = OPEN
        if node.kind in {"vector", "generator"}:
            self._fill_below(node, depth)
        values = [self._value(value, depth + 1) if type(value) is Node else value for value in node.values]
        node.made = self._made(node, values)
        node.state = DONE
        return node.made

    def _fill_below(self, node: Node, depth: int) -> None:
        """Fill what an object copies when it is made."""
        for value in node.values:
            if type(value) is Node and value.kind in {"dict", "set"}:
                if depth > MAX_DEPTH:
                    raise SnapshotError("the snapshot is damaged: a generator is nested too deeply")
                self._fill_below(value, depth + 1)
                self._fill(value)

    def _made(self, node: Node, values: list[Any]) -> Any:
        kind = node.kind
        if kind == "code":
            return (
                node.twin if isinstance(node.twin, CODE) else node.function or self.template.code(values[0])
            )
        if kind == "partial":
            return self._partial(node, values)
        if kind == "method":
            name, owner = values
            same = isinstance(node.twin, types.MethodType) and node.twin.__self__ is owner
            return node.twin if same else _bound(node.function or self.template.function(name), owner)
        if kind in {"tuple", "object tuple"}:
            return tuple(values) if node.cls is None else tuple.__new__(self._cls(node), values)
        if kind in {"frozenset", "object frozenset"}:
            for value in values:
                self._check_key(value)
            return frozenset(values) if node.cls is None else frozenset.__new__(self._cls(node), values)
        cls = make.BUILT_IN.get(node.cls or "") or (self._cls(node) if node.cls is not None else None)
        return make.MAKERS[kind](cls, values, node.twin)

    def _cls(self, node: Node) -> Any:
        kind = self.classes.find(node.cls or "")
        if node.fields:
            raise SnapshotError(f"the snapshot has a {kind.__qualname__} with fields, which it does not have")
        return kind

    def _partial(self, node: Node, values: list[Any]) -> Any:
        """Give the model's own partial, whose parts were filled in where they stand."""
        if not isinstance(node.twin, functools.partial):
            raise SnapshotError("the snapshot has a partial with a state, which the model's does not have")
        for made, own in zip(values, partial_of(node.twin), strict=True):
            if made is not own and (atom(own) is None or atom(made) != atom(own)):
                raise SnapshotError("the snapshot has a partial with other arguments than the model's")
        return node.twin

    def _check_key(self, key: Any) -> None:
        """Keys are plain data: their hash and their comparison run no code and end soon."""
        left = MAX_KEY
        ahead = [key]
        while ahead:
            each = ahead.pop()
            left -= 1
            if left < 0:
                raise SnapshotError(
                    "the snapshot has a key of a dict, or a member of a set, that is too large"
                )
            if type(each) in {tuple, frozenset}:
                ahead.extend(each)
            elif type(each) not in PLAIN_KEYS and not isinstance(each, make.PLAIN):
                raise SnapshotError(
                    f"the snapshot has a {type(each).__qualname__} as a key of a dict or a member of a set"
                )
            elif type(each) is int and not -(1 << 60) < each < 1 << 60:
                self.large_keys += 1  # those can be made to have one hash
                if self.large_keys > MAX_LARGE_KEYS:
                    raise SnapshotError("the snapshot has too many whole numbers beyond 60 bits as keys")


def _same_bound(node: Node, twin: Any) -> bool:
    """Whether a deque of the template has the length that the stored one may have."""
    return not isinstance(twin, collections.deque) or twin.maxlen == node.values[0]


def _bound(function: Any, owner: Any) -> Any:
    """Bind a function to an object whose class defines it as a method."""
    for each in type(owner).__mro__:
        if callable(function) and vars(each).get(function.__name__) is function:
            bind: Any = types.MethodType
            return bind(function, owner)
    raise SnapshotError(
        f"the snapshot has a method of a {type(owner).__qualname__} that the model does not have"
    )
