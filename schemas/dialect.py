"""How services write times and numbers in JSON, where it is not riverloop's own form: declared, never guessed."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal, get_args

from schemas.errors import BadRecord, TaskError
from schemas.event_time import hint, millis_of

TimeForm = Literal["s", "ms", "us", "ns", "iso8601"]
"""s, ms, µs or ns since 1970-01-01 UTC as a number, or ISO 8601 text with its offset from UTC."""
NumberForm = Literal["json", "text"]
PER_MS: Final = {"ms": 1, "us": 1_000, "ns": 1_000_000}
NUMBER: Final = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
"""A number as JSON has it: no thousands separator, no plus sign, no blank."""
WORDS: Final = {str: "text", bool: "a boolean", list: "a list", dict: "an object", type(None): "null"}
MAX_DIGITS: Final = 400


@dataclass(frozen=True, slots=True)
class JsonDialect:
    """How a service writes the times and numbers of its JSON records.

    Avro has types of its own and is not affected.

    Parameters
    ----------
    time
        Form of `ts`: `s`, `ms`, `us` or `ns`, a number since 1970-01-01 UTC; `iso8601`, text with its offset.
        A number of s may have a fraction; what is finer than a ms in other forms is cut.
    numbers
        `text`: numbers may also be text, such as "12.50", in features, `ts`, `revision` and the outcome's value.
        `json`: they may not.
    cloudevents
        Whether a record on a topic may be the data of a CloudEvent in binary mode: a field that it does not have is
        taken from a header. `ts` from `ce_time`; of a request `request_id` from `ce_id` and `entity_key` from
        `ce_subject`; of an outcome `request_id` from `ce_subject` and `reporter` from `ce_source`.

    Examples
    --------
    >>> JsonDialect(time="iso8601").millis("2024-01-01T12:00:00.250+01:00", "ts")
    1704106800250
    >>> JsonDialect(time="s", numbers="text").millis("1704106800.25", "ts")
    1704106800250
    """

    time: TimeForm = "ms"
    numbers: NumberForm = "json"
    cloudevents: bool = False

    def __post_init__(self) -> None:
        for name, allowed in (("time", get_args(TimeForm)), ("numbers", get_args(NumberForm))):
            if getattr(self, name) not in allowed:
                raise TaskError(
                    f"JsonDialect({name}={getattr(self, name)!r}) must be one of {', '.join(allowed)}"
                )

    @property
    def is_own(self) -> bool:
        """Whether it is riverloop's own form."""
        return self.time == "ms" and self.numbers == "json"

    def millis(self, value: Any, field: str) -> int:
        """Read a time, in ms since 1970-01-01 UTC.

        Parameters
        ----------
        field
            Its name, for messages.

        Raises
        ------
        BadRecord
            `wrong_type`, naming the field and the declared form.
        """
        if self.time == "iso8601":
            return self._iso(value, field)
        found = self.number(value, field)
        if type(found) not in (int, float):
            text = f"{field} must be a number{self._declared('time')}, not {_word(found)}"
            raise BadRecord("wrong_type", text, field)
        if self.time == "s":
            # A double holds today's time in s to less than 1 µs.
            ts = found * 1000 if isinstance(found, int) else _whole(found * 1000, field)
        else:
            whole = found if isinstance(found, int) else _whole(found, field, exactly=True)
            ts = whole // PER_MS[self.time]
        if self.time != "ms" and hint(ts):
            text = f"{field}={value} seems to be a time in another unit{self._declared('time')}"
            raise BadRecord("impossible_time", text, field)
        return ts

    def written(self, ts: int) -> int | float | str:
        """Write a time in ms in this form."""
        if self.time == "iso8601":
            moment = datetime.fromtimestamp(ts // 1000, UTC).replace(microsecond=ts % 1000 * 1000)
            return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        if self.time == "s":
            return ts // 1000 if ts % 1000 == 0 else ts / 1000
        return ts * PER_MS[self.time]

    def number(self, value: Any, field: str) -> Any:
        """Read a number that may be text; what is no text is left as it is.

        Raises
        ------
        BadRecord
            `wrong_type`, for text that is not a number.
        """
        if self.numbers != "text" or not isinstance(value, str):
            return value
        if len(value) > MAX_DIGITS or not NUMBER.fullmatch(value):
            raise BadRecord(
                "wrong_type",
                f"{field} must be a number, or one as text such as '12.5'{self._declared('numbers')}",
                field,
            )
        return int(value) if value.lstrip("-").isdigit() else float(value)

    def _iso(self, value: Any, field: str) -> int:
        declared = self._declared("time")
        if not isinstance(value, str):
            text = f"{field} must be ISO 8601 text{declared}, not {_word(value)}"
            raise BadRecord("wrong_type", text, field)
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            raise BadRecord(
                "wrong_type", f"{field} must be ISO 8601 text such as 2024-01-01T12:00:00Z{declared}", field
            ) from None
        if moment.tzinfo is None:
            raise BadRecord(
                "wrong_type", f"{field} must have an offset from UTC, such as Z or +01:00{declared}", field
            )
        return millis_of(moment)

    def _declared(self, name: str) -> str:
        return f" (the task declares {name}={getattr(self, name)!r})"


OWN: Final = JsonDialect()


def plain_reader(
    dialect: JsonDialect, numeric: frozenset[str], fields: tuple[str, ...]
) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """Return what turns a parsed record of a dialect into riverloop's own form; its input is not changed.

    Parameters
    ----------
    numeric
        The features that are numbers.
    fields
        Further fields that are numbers, beside `ts`.
    """

    def plain(found: Mapping[str, Any]) -> dict[str, Any]:
        out = dict(found)
        if out.get("ts") is not None:
            out["ts"] = dialect.millis(out["ts"], "ts")
        if dialect.numbers == "text":
            out |= {name: dialect.number(out[name], name) for name in fields if name in out}
            features = out.get("features")
            if isinstance(features, dict):
                out["features"] = {
                    name: dialect.number(value, f"features.{name}") if name in numeric else value
                    for name, value in features.items()
                }
        return out

    return plain


def _word(value: Any) -> str:
    return WORDS.get(type(value), "a number")


def _whole(value: float, field: str, *, exactly: bool = False) -> int:
    if not -(2.0**80) < value < 2.0**80:  # also what is no number
        raise BadRecord("impossible_time", f"{field} is no time", field)
    if exactly and not value.is_integer():
        raise BadRecord("wrong_type", f"{field} must be a whole number, not {value}", field)
    return round(value)
