"""The types of features: each knows its canonical form, and how a text file spells it."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final, Literal

from schemas.errors import BadRecord
from schemas.records import FeatureValue

INT64 = range(-(2**63), 2**63)
MAX_TEXT = 10_000
WHOLE: Final = re.compile(r"[+-]?[0-9]+")
DECIMAL: Final = re.compile(
    r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|[+-]?(?:nan|inf|infinity)", re.I
)
PersonalData = Literal["none", "left_out", "tokenised"]


def decimal(text: str) -> float:
    """Read a number in decimal notation, also `nan` and `inf`. Python's `1_000` is none.

    Examples
    --------
    >>> decimal(" 1.5e3 ")
    1500.0
    >>> decimal("1_000")
    Traceback (most recent call last):
    ...
    ValueError: not a decimal number
    """
    if not DECIMAL.fullmatch(text.strip()):
        raise ValueError("not a decimal number")
    return float(text)


def shown(value: Any) -> str:
    """Return a value as a message shows it: short, and lists or objects by that word only.

    Their own form may be nested as deep as Python allows, so that writing it out fails.
    """
    return f"{value!r:.60}" if isinstance(value, str | int | float | None) else "a list or object"


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """What every feature says about itself.

    Parameters
    ----------
    name
        Letters, digits, underscore: the field's name on the wire and the key in a model's `x`.
    unit
        Unit of measure, empty for a category.
    optional
        Whether the value may be missing. A missing feature has no key in `x`.
    missing
        A value that stands for a missing one: then the model always sees the key.
    owner, purpose
        Who answers for it, and what it is used for.
    personal_data
        `none`; `left_out` (never stored, never scored); `tokenised` (a keyed hash is stored and scored).
    column
        Its name in data files, where that differs.
    max_missing
        The share of requests, 0 to 1, that may come without it; None: about as many as in the reference.
    stale_after_s
        Seconds of event time without a change of its value after which an alarm is raised; None: never.
    watch
        Whether an alarm is raised when its values are distributed otherwise than they were. False for what
        moves by its nature, like a month.
    """

    avro: ClassVar[str] = ""
    word: ClassVar[str] = ""

    name: str
    unit: str = ""
    optional: bool = False
    missing: FeatureValue | None = None
    owner: str = ""
    purpose: str = ""
    personal_data: PersonalData = "none"
    column: str = ""
    max_missing: float | None = None
    stale_after_s: float | None = None
    watch: bool = True

    def convert(self, value: Any) -> FeatureValue | None:
        """Return the canonical form of a present value; None when it stands for a missing one."""
        raise NotImplementedError

    def parse(self, text: str) -> Any:
        """Read the value from a cell of a text file."""
        raise NotImplementedError

    def canonical(self, value: Any) -> FeatureValue | None:
        """Return the canonical form of a value or of its absence (None).

        Raises
        ------
        BadRecord
            `missing_field`, `wrong_type` or `out_of_range`, naming the feature.
        """
        found = None if value is None else self.convert(value)
        if found is None:
            if self.missing is not None:
                return self.missing
            if not self.optional:
                raise BadRecord("missing_field", f"feature {self.name} is required", f"features.{self.name}")
        return found

    def wrong(self, value: Any, wanted: str) -> BadRecord:
        """Make the error for a value of the wrong type."""
        given = "a personal value" if self.personal_data != "none" else shown(value)
        return BadRecord(
            "wrong_type",
            f"feature {self.name} must be {wanted}, not {given} ({type(value).__name__})",
            f"features.{self.name}",
        )

    def outside(self, value: Any, wanted: str) -> BadRecord:
        """Make the error for a value outside its range."""
        given = "a personal value" if self.personal_data != "none" else shown(value)
        return BadRecord(
            "out_of_range", f"feature {self.name} must be {wanted}, not {given}", f"features.{self.name}"
        )

    @property
    def rejects(self) -> bool:
        """Whether a value of the right type may be rejected."""
        return False

    def lenient(self) -> Feature:
        """Return the same feature, rejecting no value of the right type."""
        return self

    def outlies(self, value: FeatureValue) -> bool:
        """Whether a canonical value lies outside the range or the levels."""
        return False

    @property
    def stand_in(self) -> FeatureValue | None:
        """The value that can only mean that the real one was missing; None when there is no such value.

        A number inside the range may as well be meant.
        """
        return None

    @property
    def nullable(self) -> bool:
        """Whether the stored form may be null."""
        return self.optional and self.missing is None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ranged(Feature):
    low: float | None = None
    high: float | None = None
    on_range: Literal["mark", "reject"] = "mark"
    """What happens outside [low, high]: it is taken as it is (`mark`), or is a dead letter (`reject`)."""

    @property
    def rejects(self) -> bool:
        """Whether a value of the right type may be rejected."""
        return self.on_range == "reject"

    def lenient(self) -> Feature:
        """Return the same feature, rejecting no value of the right type."""
        return replace(self, on_range="mark")

    def in_range(self, value: float) -> bool:
        """Whether the value lies in [low, high]."""
        return (self.low is None or value >= self.low) and (self.high is None or value <= self.high)

    def outlies(self, value: FeatureValue) -> bool:
        """Whether a canonical value lies outside the range."""
        return isinstance(value, int | float) and not self.in_range(value)

    @property
    def stand_in(self) -> FeatureValue | None:
        """`missing`, where it lies outside the range."""
        return self.missing if self.missing is not None and self.outlies(self.missing) else None

    def _checked(self, value: Any) -> Any:
        if self.on_range == "reject" and not self.in_range(value):
            raise self.outside(value, f"between {self.low} and {self.high}")
        return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Number(_Ranged):
    """A real number: stored as a double. NaN counts as missing, -0.0 becomes 0.0, infinities are rejected."""

    avro: ClassVar[str] = "double"
    word: ClassVar[str] = "number"

    def convert(self, value: Any) -> FeatureValue | None:
        """Return a float; see `Feature.convert`."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.wrong(value, "a number")
        try:
            number = float(value)
        except OverflowError:
            raise self.outside(value, "a finite number") from None
        if math.isnan(number):
            return None
        if math.isinf(number):
            raise self.outside(value, "a finite number")
        checked: float = self._checked(number)
        return checked + 0.0  # -0.0 + 0.0 is 0.0

    def parse(self, text: str) -> Any:
        """Read the value from a cell of a text file."""
        return decimal(text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Integer(_Ranged):
    """A whole number: stored as a long. A float with a whole value is taken, any other is rejected."""

    avro: ClassVar[str] = "long"
    word: ClassVar[str] = "integer"

    def convert(self, value: Any) -> FeatureValue | None:
        """Return an int; see `Feature.convert`."""
        if isinstance(value, float):
            if math.isnan(value):
                return None
            if not value.is_integer():
                raise self.wrong(value, "a whole number")
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.wrong(value, "a whole number")
        if value not in INT64:
            raise self.outside(value, "a 64-bit whole number")
        checked: int = self._checked(value)
        return checked

    def parse(self, text: str) -> Any:
        """Read the value from a cell of a text file."""
        return int(text) if WHOLE.fullmatch(text.strip()) else decimal(text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Boolean(Feature):
    """True or false."""

    avro: ClassVar[str] = "boolean"
    word: ClassVar[str] = "boolean"

    def convert(self, value: Any) -> FeatureValue | None:
        """Return a bool; see `Feature.convert`."""
        if not isinstance(value, bool):
            raise self.wrong(value, "true or false")
        return value

    def parse(self, text: str) -> Any:
        """Read the value from a cell of a text file."""
        known = {"true": True, "1": True, "false": False, "0": False}
        return known.get(text.strip().lower(), text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Category(Feature):
    """A short text out of a known or open set of levels."""

    avro: ClassVar[str] = "string"
    word: ClassVar[str] = "category"
    levels: tuple[str, ...] = ()
    """The known levels; empty: an open set."""
    on_new_level: Literal["mark", "reject"] = "mark"

    @property
    def rejects(self) -> bool:
        """Whether a value of the right type may be rejected."""
        return self.on_new_level == "reject"

    def lenient(self) -> Feature:
        """Return the same feature, rejecting no value of the right type."""
        return replace(self, on_new_level="mark")

    def outlies(self, value: FeatureValue) -> bool:
        """Whether a canonical value is none of the known levels."""
        return bool(self.levels) and value not in self.levels and value != self.missing

    @property
    def stand_in(self) -> FeatureValue | None:
        """`missing`, where it is none of the levels."""
        return None if self.missing in self.levels else self.missing

    def convert(self, value: Any) -> FeatureValue | None:
        """Return a str; see `Feature.convert`."""
        if not isinstance(value, str):
            raise self.wrong(value, "text")
        if len(value) > MAX_TEXT:
            raise self.outside(value, f"at most {MAX_TEXT} characters long")
        if not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError:
                raise self.wrong(value, "valid Unicode text") from None
        if self.levels and self.on_new_level == "reject" and value not in self.levels:
            raise self.outside(value, "one of " + ", ".join(self.levels))
        return value

    def parse(self, text: str) -> Any:
        """Read the value from a cell of a text file."""
        return text
