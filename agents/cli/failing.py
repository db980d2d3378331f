"""How a command says what has failed: in one line, and with `--debug` with the traceback."""

from __future__ import annotations

import sys
import traceback
from typing import Final

from schemas.errors import RiverloopError
from schemas.escaped import harmless

FLAG: Final = "--debug"
MAX_TEXT: Final = 500
"""Characters of an exception's message that are shown."""
_debugged = False


def take_flag(arguments: list[str]) -> list[str]:
    """Return a command's arguments without `--debug`, which may stand anywhere before `--`, and note it."""
    global _debugged  # noqa: PLW0603  one command line, one process
    end = arguments.index("--") if "--" in arguments else len(arguments)
    _debugged = FLAG in arguments[:end]
    return [each for each in arguments[:end] if each != FLAG] + arguments[end:]


def is_debugged() -> bool:
    """Whether the command shows tracebacks."""
    return _debugged


def show_traceback(error: BaseException) -> None:
    """Write the traceback to standard error, if that is wanted."""
    if _debugged:
        traceback.print_exception(error, file=sys.stderr)


def in_one_line(error: BaseException) -> str:
    r"""Say what an exception is and where it was raised.

    Examples
    --------
    >>> in_one_line(ValueError("no\nnumber"))
    'ValueError: no number'
    """
    if isinstance(error, RiverloopError):
        return str(error)
    text = " ".join(str(error).split())
    text = text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}…"
    name = type(error).__name__
    said = f"{name}: {text}" if text else name
    frames = traceback.extract_tb(error.__traceback__)
    at = f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
    return harmless(said + at)
