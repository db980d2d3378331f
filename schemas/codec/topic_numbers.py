"""The topics that positions name, as numbers on the wire: a name is longer than the rest of its position."""

from __future__ import annotations

from typing import Final

from schemas.codec import wire
from schemas.topics import TaskTopics

KEPT: Final = 300
"""Numbers whose names are kept ready: those of a hundred topics under each name."""


class TopicNumbers:
    """Numbers of the topics that a task's loop reads, and their names.

    0 is T.requests, 1 T.predictions, 2 T.outcomes. The second topic of a name, which positions call `T.outcomes~2`,
    has a number higher by three, and so on. Any other topic goes by its name.

    Examples
    --------
    >>> numbers = TopicNumbers("shop")
    >>> [numbers.number(name) for name in ("shop.requests", "shop.outcomes~2", "other")]
    [0, 5, None]
    >>> numbers.name(5)
    'shop.outcomes~2'
    """

    def __init__(self, task: str) -> None:
        names = TaskTopics(task)
        self._names = (names.requests, names.predictions, names.outcomes)
        self.written: Final = _Written(self)
        """By name: the bytes of the union of number and name."""
        self.read: Final = _Read(self)
        """By number: the name."""

    def number(self, topic: str) -> int | None:
        """Give a topic's number; None when it has none."""
        name, tilde, made = topic.partition("~")
        if name not in self._names or (
            tilde and not (made.isascii() and made.isdecimal() and made[0] != "0")
        ):
            return None
        age = int(made) if tilde else 1
        if tilde and age < 2:
            return None
        return self._names.index(name) + 3 * (age - 1)

    def name(self, number: int) -> str:
        """Give the name of a topic.

        Raises
        ------
        Malformed
            For a negative number.
        """
        if number < 0:
            raise wire.Malformed(f"no topic has the number {number}")
        age, index = divmod(number, 3)
        return f"{self._names[index]}~{age + 1}" if age else self._names[index]


class _Written(dict[str, bytes]):
    def __init__(self, numbers: TopicNumbers) -> None:
        super().__init__()
        self._numbers = numbers

    def __missing__(self, topic: str) -> bytes:
        number = self._numbers.number(topic)
        if number is None or number >= 2**31:
            return b"\2" + wire.text(topic)
        data = b"\0" + wire.LONGS[number]
        if number < KEPT:
            self[topic] = data
        return data


class _Read(dict[int, str]):
    def __init__(self, numbers: TopicNumbers) -> None:
        super().__init__()
        self._numbers = numbers

    def __missing__(self, number: int) -> str:
        name = self._numbers.name(number)
        if number < KEPT:
            self[number] = name
        return name
