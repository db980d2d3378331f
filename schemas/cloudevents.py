"""CloudEvents in Kafka's binary mode: attributes are headers, the value is the record."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from schemas.dialect import JsonDialect
from schemas.errors import BadRecord

PREFIX: Final = "ce_"
TAKEN: Final[Mapping[str, Mapping[str, str]]] = {
    "Request": {"request_id": "id", "ts": "time", "entity_key": "subject"},
    "Outcome": {"request_id": "subject", "ts": "time", "reporter": "source"},
}
"""By record: the attribute that stands for a field which the value does not have."""
TIME: Final = JsonDialect(time="iso8601")
Headers = list[tuple[str, str | bytes | None]]


class EventFields:
    """Completes the fields of a record by the attributes of its event.

    Parameters
    ----------
    record
        `Request` or `Outcome`.
    dialect
        How its services write times.

    Examples
    --------
    >>> fields = EventFields("Request", JsonDialect())
    >>> fields({"features": {}}, [("ce_id", b"o-1"), ("ce_time", b"2024-01-01T12:00:00Z")])
    {'features': {}, 'request_id': 'o-1', 'ts': 1704110400000}
    """

    def __init__(self, record: str, dialect: JsonDialect) -> None:
        self._taken, self._dialect = TAKEN[record], dialect

    def __call__(self, found: dict[str, Any], headers: Iterable[tuple[str, Any]] | None) -> dict[str, Any]:
        """Give the record with its fields; what the value has is not replaced.

        Raises
        ------
        BadRecord
            An attribute is not UTF-8, or `ce_time` is no time.
        """
        given = {name: value for name, value in headers or () if name.startswith(PREFIX)}
        out = dict(found)
        for field, attribute in self._taken.items():
            raw = given.get(PREFIX + attribute)
            if raw is None or out.get(field) is not None:
                continue
            try:
                text = raw.decode() if isinstance(raw, bytes) else str(raw)
            except UnicodeDecodeError:
                raise BadRecord("malformed", f"header ce_{attribute} is not valid UTF-8", field) from None
            if field == "ts":
                out[field] = self._dialect.written(TIME.millis(text, "ce_time"))
            else:
                out[field] = text
        return out


class EventHeaders:
    """Makes the headers of predictions.

    Parameters
    ----------
    task
        The task's name, for `ce_source`.
    json
        Whether predictions are JSON.

    Examples
    --------
    >>> dict(EventHeaders("shop", json=False)("o-1", 1_704_110_400_250))["ce_time"]
    '2024-01-01T12:00:00.250Z'
    """

    def __init__(self, task: str, *, json: bool) -> None:
        self._fixed: Headers = [
            ("ce_specversion", "1.0"),
            ("ce_type", "riverloop.prediction"),
            ("ce_source", f"/riverloop/{task}"),
            ("content-type", "application/json" if json else "application/avro"),
        ]

    def __call__(self, request_id: str, ts: int) -> Headers:
        """Return the attributes of the prediction of a request."""
        moment = datetime.fromtimestamp(ts // 1000, UTC).replace(microsecond=ts % 1000 * 1000)
        time = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        # A prediction that is written twice is one event.
        return [*self._fixed, ("ce_id", request_id), ("ce_subject", request_id), ("ce_time", time)]
