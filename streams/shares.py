"""Shares of the requests: what the models get of the unit interval, and where in it a request lies."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from decimal import Decimal, InvalidOperation
from typing import Final, NamedTuple

UNIT: Final = 1_000_000
"""Shares are whole numbers of this unit, so that they add up exactly."""
SALT: Final = "salt"
"""Argument of `share`: it goes into each draw."""
SHARE: Final = "share."
"""Begins the arguments of `share`: each names a model."""


class Part(NamedTuple):
    """A part of the unit interval, from the end of the part before, and the model that answers there."""

    end: int
    model: str


def place_of(task: str, salt: str, key: str) -> int:
    """Return where in the unit interval a key lies, in millionths.

    Examples
    --------
    >>> place_of("orders", "c-1", "customer-7")
    394274
    """
    # The lengths keep apart what would read the same when joined.
    text = f"{len(task)} {len(salt)} {task}{salt}{key}"
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8]) * UNIT >> 64


def moved(parts: tuple[Part, ...], shares: Mapping[str, int]) -> tuple[Part, ...]:
    """Share the unit interval out anew, moving as little of it as possible.

    A model that grows keeps all it has, one that shrinks gets nothing: so raising a share moves only new keys.

    Examples
    --------
    >>> moved((Part(1_000_000, "lr"),), {"lr": 900_000, "tree": 100_000})
    (Part(end=900000, model='lr'), Part(end=1000000, model='tree'))
    """
    kept, free = list[tuple[int, int, str]](), list[tuple[int, int]]()
    left, start = dict(shares), 0
    for end, model in parts:
        taken = min(end - start, left.get(model, 0))
        if taken:
            kept.append((start, start + taken, model))
            left[model] -= taken
        if start + taken < end:
            free.append((start + taken, end))
        start = end
    if not parts:
        free.append((0, UNIT))
    return tuple(_joined(sorted([*kept, *_filled(free, left)])))


def _filled(free: list[tuple[int, int]], wanted: Mapping[str, int]) -> Iterator[tuple[int, int, str]]:
    """Give free parts to models that want more, in the order of their names."""
    left = dict(sorted(each for each in wanted.items() if each[1]))
    for start, end in free:
        at = start
        while at < end:
            model = next(iter(left))
            taken = min(end - at, left[model])
            yield at, at + taken, model
            at, left[model] = at + taken, left[model] - taken
            if not left[model]:
                del left[model]


def _joined(pieces: list[tuple[int, int, str]]) -> Iterator[Part]:
    for number, (_, end, model) in enumerate(pieces):
        if number + 1 == len(pieces) or pieces[number + 1][2] != model:
            yield Part(end, model)


def shares_of(arguments: Mapping[str, str]) -> dict[str, int]:
    """Read the shares of a command, in millionths.

    Raises
    ------
    ValueError
        A share is no number with at most six digits after the point, or they do not add up to 1.

    Examples
    --------
    >>> shares_of({"share.lr": "0.9", "share.tree": "0.1", "salt": "c-1"})
    {'lr': 900000, 'tree': 100000}
    """
    shares: dict[str, int] = {}
    for name, text in arguments.items():
        if name.startswith(SHARE):
            shares[name.removeprefix(SHARE)] = share_of(text)
    if sum(shares.values()) != UNIT:
        raise ValueError(f"the shares add up to {Decimal(sum(shares.values())) / UNIT}, not to 1")
    return {name: share for name, share in shares.items() if share}


def share_of(text: str) -> int:
    """Read a share, in millionths.

    Raises
    ------
    ValueError
        It is no number from 0 to 1 with at most six digits after the point.
    """
    try:
        share = Decimal(text) * UNIT
    except InvalidOperation:
        share = Decimal("nan")
    if not (share.is_finite() and 0 <= share <= UNIT and share == share.to_integral_value()):
        raise ValueError(f"the share {text!r:.40} is not a number from 0 to 1 with at most six decimals")
    return int(share)
