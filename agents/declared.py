"""How a setting is declared, and how a value is checked against its declaration."""

from __future__ import annotations

import re
from dataclasses import Field, field
from typing import Any, Final

from schemas.errors import UsageError

MIN_KEY: Final = 16
"""Characters below which a key could be guessed by trying."""
NAME: Final = r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}"
"""Of what becomes part of a file's and of a transactional id's name."""


def setting(
    default: Any,
    says: str,
    *,
    unit: str = "",
    secret: bool = False,
    within: tuple[int, int] | None = None,
    one_of: tuple[str, ...] = (),
    pattern: str = "",
    characters: int = 0,
    each: str = "",
) -> Any:
    """Declare a setting.

    Parameters
    ----------
    within
        The least and the largest number.
    one_of
        All texts that it may be.
    pattern
        A regular expression that all of the text must match; an empty text is the default's business.
    characters
        The least length of a text that is not empty.
    each
        A regular expression that each word of the text must match.
    """
    bounds = {"within": within, "one_of": one_of, "pattern": pattern, "characters": characters, "each": each}
    return field(
        default=default, repr=not secret, metadata={"says": says, "unit": unit, "secret": secret, **bounds}
    )


def allowed(declared: Any) -> str:
    """Return the bounds of a setting as a reader sees them; empty when any value of its type will do."""
    told = declared.metadata
    if told["within"]:
        return "{:,} to {:,}".format(*told["within"])
    if told["one_of"]:
        return ", ".join(told["one_of"])
    if told["characters"]:
        return f"{told['characters']} characters or more"
    return "up to 100 letters, digits, dots, dashes, underscores" if told["pattern"] else ""


def environment_name(name: str) -> str:
    """Give the name of a setting in the environment."""
    return f"RIVERLOOP_{name.upper()}"


def check(declared: Field[Any], value: Any) -> None:
    """Check a value against the bounds that its setting declares.

    Raises
    ------
    UsageError
        Naming the setting and its bounds; a secret is not repeated.
    """
    name = declared.name
    told, where = declared.metadata, f"--{name.replace('_', '-')} ({environment_name(name)})"
    if told["within"] and not told["within"][0] <= value <= told["within"][1]:
        low, high = told["within"]
        raise UsageError(f"{where} must be from {low:,} to {high:,}, not {value:,}")
    if told["one_of"] and value not in told["one_of"]:
        raise UsageError(f"{where} must be one of {', '.join(told['one_of'])}, not {value[:60]!r}")
    # Empty is the default of a slot and no name of a group.
    if told["pattern"] and value != declared.default and not re.fullmatch(told["pattern"], value):
        raise UsageError(
            f"{where} must have {allowed(declared)} and begin with a letter or digit: {value[:60]!r}"
        )
    for word in value.split() if told["each"] else ():
        if not re.fullmatch(told["each"], word):
            raise UsageError(f"{where}: {word[:100]!r} is not of the form {told['each']}")
    if told["characters"] and 0 < len(value) < told["characters"]:
        raise UsageError(
            f"{environment_name(name)} is shorter than {told['characters']} characters and could be guessed; make "
            'a key with: python -c "import secrets; print(secrets.token_urlsafe(32))"'
        )


def convert(name: str, text: str, kind: type) -> Any:
    """Convert a text from the environment to a setting's type.

    Raises
    ------
    UsageError
        Naming the variable.
    """
    if kind is bool:
        known = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
        if text.lower() not in known:
            raise UsageError(f"{name}={text!r} must be true or false")
        return known[text.lower()]
    if kind is int:
        try:
            return int(text)
        except ValueError:
            raise UsageError(f"{name}={text!r} must be a whole number") from None
    return text
