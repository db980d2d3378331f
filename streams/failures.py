"""What code of a task file raises: which exceptions are its own, and how they are named."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from schemas.codec.checks import MAX_NUMBER
from schemas.errors import RiverloopError

MAX_TEXT: Final = 300
"""Characters of a description."""


class NotFinite(RiverloopError):
    """A model's score is not a finite number."""


class NoCopy(RiverloopError):
    """An example failed where no copy of the state before it was kept: the fold has to begin again, with copies."""


class NoLabel(RiverloopError):
    """A policy has given something that is no label of this kind of task."""


def is_own(error: BaseException) -> bool:
    """Whether an exception is a failure of the code that was called.

    A want of memory and an interrupt are the process's: nothing says that another one would see them. A panic
    of a library written in Rust is no `Exception`, and is one of the code's.

    Examples
    --------
    >>> is_own(OverflowError()), is_own(KeyboardInterrupt()), is_own(MemoryError())
    (True, False, False)
    """
    if isinstance(error, MemoryError):
        return False
    return isinstance(error, Exception | SystemExit) or type(error).__name__ == "PanicException"


def describe(error: BaseException) -> str:
    """Name an exception: its type, and the module and line that raised it.

    Not its message, which may quote a person's features: failures are shown in logs, metrics and answers.

    Examples
    --------
    >>> describe(NotFinite("the score is nan"))
    'NotFinite: the score is nan'
    >>> describe(OverflowError("of Ada Lovelace"))
    'OverflowError'
    """
    name = type(error).__name__
    if isinstance(error, NotFinite | NoLabel):
        text = f"{name}: {error}"
    else:
        at = error.__traceback__
        while at is not None and at.tb_next is not None:
            at = at.tb_next
        text = f"{name} in {at.tb_frame.f_globals.get('__name__')}:{at.tb_lineno}" if at is not None else name
    return text.encode(errors="replace").decode()[:MAX_TEXT]


def type_of(failure: str) -> str:
    """Give the exception's type of a description.

    Examples
    --------
    >>> type_of("OverflowError in river.stats.var:88"), type_of("NotFinite: the score is nan")
    ('OverflowError', 'NotFinite')
    """
    return failure.partition(" ")[0].rstrip(":")


def check_finite(score: Any) -> None:
    """Check that a score is None, a usable number, or a mapping to usable numbers: finite, and its square, too.

    Raises
    ------
    NotFinite
        When it is not.
    """
    if type(score) is float and -MAX_NUMBER < score < MAX_NUMBER:
        return
    for number in score.values() if isinstance(score, Mapping) else (score,):
        if number is not None and not -MAX_NUMBER < number < MAX_NUMBER:  # also true of NaN
            raise NotFinite(f"the score is {float(number)}")
