"""Reading a pickle without running it: every name it uses, every call it would make, checked first.

Pickle is a small stack machine. `check` follows it with kinds in place of objects: which stack places hold a
named class, which an object made here, which plain data. So a snapshot is refused before any of it runs, and
refused for *what it does* with a name, not only for naming it.
"""

from __future__ import annotations

from collections.abc import Container, Set
from typing import Any, Final

from schemas.errors import SnapshotError
from streams.allowed import CALLED, FUNCTIONS, INSTANTIATED

Pair = tuple[str, str]

OURS: Final = "streams.restoring"

# Opcodes that push plain data: how many bytes follow, or (negative) how many bytes tell the length.
_PLAIN: Final[dict[int, int]] = {
    **dict.fromkeys(b"N\x88\x89)", 0),  # None, True, False, ()
    **{ord("K"): 1, ord("M"): 2, ord("J"): 4, ord("G"): 8},  # int, int, int, float
    **{0x8A: -1, 0x8B: -4, ord("C"): -1, ord("B"): -4, 0x8E: -8, 0x96: -8},  # long, bytes, bytearray
}
_TEXT: Final[dict[int, int]] = {0x8C: 1, ord("X"): 4, 0x8D: 8}
_MAX_WEIGHT: Final = 1 << 24
_LONG_TEXT: Final = 400  # no name is longer


class _Kind:
    """What a stack place holds, as far as it matters; a tuple is held as its weight, other plain data as None."""

    __slots__ = ("built", "pair", "what")

    def __init__(self, what: str, pair: Pair = ("", "")) -> None:
        self.what = what
        self.pair = pair
        self.built = False


_LIST: Final = _Kind("list")
_DICT: Final = _Kind("dict")
_SET: Final = _Kind("set")


def check(data: bytes, allowed: Set[Pair] = frozenset()) -> frozenset[str]:
    """Check a pickle against the allow-list.

    Parameters
    ----------
    data
        The pickle: protocol 5 as `streams.snapshot.dump` writes it.
    allowed
        More (module, name) pairs of classes that it may make objects of.

    Returns
    -------
    frozenset of str
        The names that it takes from the task file.

    Raises
    ------
    SnapshotError
        Naming the pair that is not on the list, or what the pickle tries that snapshots never do.
    """
    if data[:2] != b"\x80\x05":
        raise SnapshotError("this is no snapshot: it does not begin as one (pickle protocol 5)")
    try:
        return _Machine(data, allowed).run()
    except (IndexError, UnicodeDecodeError):
        raise SnapshotError("the snapshot is cut off or damaged") from None


class _Machine:
    def __init__(self, data: bytes, allowed: Set[Pair]) -> None:
        self.data = data
        self.allowed = allowed
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []
        self.memo: list[Any] = []
        self.globals: dict[Pair, _Kind] = {}
        self.from_task: set[str] = set()

    def run(self) -> frozenset[str]:  # noqa: PLR0912, PLR0915  one branch per opcode, in one loop for speed
        data, stack, memo = self.data, self.stack, self.memo
        end, at = len(data), 2
        while True:
            code = data[at]
            at += 1
            size = _PLAIN.get(code)
            if size is not None:
                if size < 0:
                    size, at = int.from_bytes(data[at : at - size], "little"), at - size
                at += size
                stack.append(None)
            elif code == 0x94:  # MEMOIZE
                memo.append(stack[-1])
            elif code == 0x68:  # BINGET
                stack.append(memo[data[at]])
                at += 1
            elif code in _TEXT:
                size = _TEXT[code]
                start = at + size
                at = start + int.from_bytes(data[at:start], "little")
                if at > end:
                    raise IndexError
                short = at - start <= _LONG_TEXT
                stack.append(data[start:at].decode("utf-8", "surrogatepass") if short else None)
            elif code == 0x6A:  # LONG_BINGET
                stack.append(memo[int.from_bytes(data[at : at + 4], "little")])
                at += 4
            elif code in b"\x85\x86\x87":  # TUPLE1, TUPLE2, TUPLE3
                count = code - 0x84
                parts = [stack.pop() for _ in range(count)]
                both = count == 2 and type(parts[0]) is str and type(parts[1]) is str
                stack.append((parts[1], parts[0]) if both else _weight(parts))
            elif code == 0x28:  # MARK
                self.below.append(stack)
                stack = []
            elif code in b"tue\x90\x91":  # TUPLE, SETITEMS, APPENDS, ADDITEMS, FROZENSET
                parts, stack = stack, self.below.pop()
                if code in b"t\x91":
                    stack.append(_weight(parts))
                else:
                    self._fill(stack[-1], code)
            elif code in b"sa":  # SETITEM, APPEND
                del stack[-2 if code == 0x73 else -1 :]
                self._fill(stack[-1], code)
            elif code in b"]}\x8f":  # EMPTY_LIST, EMPTY_DICT, EMPTY_SET
                stack.append(_LIST if code == 0x5D else _DICT if code == 0x7D else _SET)
            elif code == 0x93:  # STACK_GLOBAL
                name, module = stack.pop(), stack.pop()
                stack.append(self._named(module, name))
            elif code in b"\x81\x92":  # NEWOBJ, NEWOBJ_EX
                del stack[-1 if code == 0x81 else -2 :]
                stack.append(self._made(stack.pop()))
            elif code == 0x52:  # REDUCE
                stack.pop()
                stack.append(self._called(stack.pop()))
            elif code == 0x62:  # BUILD
                stack.pop()
                self._build(stack[-1])
            elif code == 0x51:  # BINPERSID
                stack.append(self._task_name(stack.pop()))
            elif code == 0x95:  # FRAME
                at += 8
            elif code == 0x30:  # POP
                if stack:
                    stack.pop()
                else:
                    stack = self.below.pop()
            elif code == 0x31:  # POP_MARK
                stack = self.below.pop()
            elif code == 0x2E:  # STOP
                if at != end or self.below or len(stack) != 1:
                    raise SnapshotError("the snapshot is damaged: its end is not where it says")
                return frozenset(self.from_task)
            else:
                raise SnapshotError(f"the snapshot uses pickle opcode 0x{code:02x}, which none of ours has")
            if at > end:
                raise IndexError

    def _named(self, module: Any, name: Any) -> _Kind:
        if type(module) is not str or type(name) is not str:
            raise SnapshotError("the snapshot makes up a name as it goes")
        pair = (module, name)
        known = self.globals.get(pair)
        if known is None:
            if not is_listed(pair, self.allowed):
                raise SnapshotError(f"the snapshot names {pair}, which is not on the allow-list")
            known = self.globals[pair] = _Kind("global", pair)
        return known

    def _made(self, target: Any) -> _Kind:
        if type(target) is _Kind and target.what == "task":
            return _Kind("object", target.pair)
        if (
            type(target) is not _Kind
            or target.what != "global"
            or not (target.pair in INSTANTIATED or target.pair in self.allowed)
            or target.pair[0].startswith(
                "river._river_rust"
            )  # making one runs code; ours checks what it asks
        ):
            raise SnapshotError(f"the snapshot makes an instance of {_shown(target)}, which is not allowed")
        return _Kind("object", target.pair)

    def _called(self, target: Any) -> _Kind:
        if (
            type(target) is not _Kind
            or target.what != "global"
            or not (target.pair in CALLED or target.pair[0] == OURS)
        ):
            raise SnapshotError(f"the snapshot calls {_shown(target)}, which is not allowed")
        made = _Kind("object", target.pair)
        # What our own functions give is complete, but for a distribution's fields.
        made.built = target.pair[0] == OURS and target.pair[1] != "unseeded"
        return made

    def _build(self, target: Any) -> None:
        # Twice is how a state smuggles in a `__setstate__` of its own, which the second would call.
        if type(target) is not _Kind or target.what != "object" or target.built:
            raise SnapshotError(f"the snapshot sets the state of {_shown(target)}, which snapshots never do")
        target.built = True

    def _fill(self, target: Any, code: int) -> None:
        literal = {0x75: _DICT, 0x73: _DICT, 0x65: _LIST, 0x61: _LIST, 0x90: _SET}[code]
        unbuilt = type(target) is _Kind and target.what == "object" and not target.built
        if target is not literal and not (unbuilt and code != 0x90):
            raise SnapshotError(f"the snapshot adds items to {_shown(target)}, which snapshots never do")

    def _task_name(self, told: Any) -> _Kind:
        if type(told) is not tuple or told[0] != "task" or not told[1].isidentifier():
            raise SnapshotError(f"the snapshot refers to something outside itself: {told!r:.80}")
        self.from_task.add(told[1])
        return _Kind("task", told)


def _weight(parts: list[Any]) -> int:
    """Give how many values a tuple has with those of the tuples in it, shared ones counted each time.

    Hashing one walks them all: sixty bytes of tuples, each twice in the next, would take for ever.
    """
    weight = 1 + len(parts)
    for part in parts:
        if type(part) is int:
            weight += part
    if weight > _MAX_WEIGHT:
        raise SnapshotError("the snapshot has tuples that are nested without end")
    return weight


def is_listed(pair: Pair, allowed: Container[Pair] = frozenset()) -> bool:
    """Whether a snapshot may name this pair at all."""
    return pair in INSTANTIATED or pair in CALLED or pair in FUNCTIONS or pair in allowed


def _shown(target: Any) -> str:
    if type(target) is not _Kind:
        return "plain data"
    if target.pair == ("", ""):
        return f"a {target.what}"
    return str(target.pair) if target.what == "global" else f"an object of {target.pair}"
