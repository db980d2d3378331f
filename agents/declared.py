"""The declaration of a setting, and the check of a value against it."""

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
    description: str,
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
        default=default,
        repr=not secret,
        metadata={"description": description, "unit": unit, "secret": secret, **bounds},
    )


def allowed(declared: Any) -> str:
    """Return the bounds of a setting as a reader sees them; empty when any value of its type will do."""
    bounds = declared.metadata
    if bounds["within"]:
        return "{:,} to {:,}".format(*bounds["within"])
    if bounds["one_of"]:
        return ", ".join(bounds["one_of"])
    if bounds["characters"]:
        return f"{bounds['characters']} characters or more"
    return "up to 100 letters, digits, dots, dashes, underscores" if bounds["pattern"] else ""


def environment_name(name: str) -> str:
    """Return the environment variable of a setting."""
    return f"RIVERLOOP_{name.upper()}"


def check(declared: Field[Any], value: Any) -> None:
    """Check a value against the bounds that its setting declares.

    Raises
    ------
    UsageError
        Naming the setting and its bounds; a secret is not repeated.
    """
    name = declared.name
    bounds, where = declared.metadata, f"--{name.replace('_', '-')} ({environment_name(name)})"
    if bounds["within"] and not bounds["within"][0] <= value <= bounds["within"][1]:
        low, high = bounds["within"]
        raise UsageError(f"{where} must be from {low:,} to {high:,}, not {value:,}")
    if bounds["one_of"] and value not in bounds["one_of"]:
        raise UsageError(f"{where} must be one of {', '.join(bounds['one_of'])}, not {value[:60]!r}")
    # Empty is the default of a slot and no name of a group.
    if bounds["pattern"] and value != declared.default and not re.fullmatch(bounds["pattern"], value):
        raise UsageError(
            f"{where} must have {allowed(declared)} and begin with a letter or digit: {value[:60]!r}"
        )
    for word in value.split() if bounds["each"] else ():
        if not re.fullmatch(bounds["each"], word):
            raise UsageError(f"{where}: {word[:100]!r} is not of the form {bounds['each']}")
    if bounds["characters"] and 0 < len(value) < bounds["characters"]:
        raise UsageError(
            f"{environment_name(name)} is shorter than {bounds['characters']} characters and could be guessed; "
            "make "
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
