"""Time of reading and writing one record, beside fastavro and a second pass over the features.

Run it with ``python -m tests.benchmarks.codec``; the 19 features are those of the hotel bookings.
"""

from __future__ import annotations

import io
import timeit
from collections.abc import Callable
from typing import Any

import fastavro

from schemas.codec import Codec
from schemas.codec.json_form import plain
from schemas.dictionary import Category, Dictionary, Integer
from schemas.records import Entry, Outcome, Position, Prediction, Request, Score
from schemas.state import JoinRecord

WHOLE = (
    *("LeadTime", "ArrivalWeek", "ArrivalDay", "StaysInWeekendNights", "StaysInWeekNights", "Adults"),
    *("Children", "Babies", "IsRepeatedGuest", "PreviousCancellations", "PreviousBookingsNotCanceled"),
    "TotalOfSpecialRequests",
)
TEXT = ("Meal", "MarketSegment", "DistributionChannel", "ReservedRoomType", "DepositType", "CustomerType")
DICTIONARY = Dictionary(
    *(Integer(name=name, low=0) for name in WHOLE),
    *(Category(name=name) for name in TEXT),
    Category(name="Agent", optional=True),
)
FEATURES = {name: index * 13 for index, name in enumerate(WHOLE)} | dict.fromkeys(
    (*TEXT, "Agent"), "Online TA"
)
RUNS, TIMES = 5, 5_000


def best(work: Callable[[], Any]) -> float:
    """Give the best time of some runs, in microseconds."""
    return min(timeit.repeat(work, number=TIMES, repeat=RUNS)) / TIMES * 1e6


def main() -> None:
    """Print the table."""
    codec = Codec("hotel", "binary", DICTIONARY)
    at = Position("hotel.outcomes", 3, 123_456)
    score = Score("lr", 1, 123456, 0.25, False)
    prediction = Prediction("h1-12345", 1_700_000_000_000, FEATURES, (score, score), at)
    outcome = Outcome("h1-12345", 1_700_000_000_000, True, reporter="pms")
    entry = Entry(
        f"{at}#0",
        "labelled",
        outcome.ts,
        trigger=at,
        prediction_at=at,
        outcome_at=at,
        prediction=prediction,
        outcome=outcome,
    )
    rows: list[tuple[Any, Callable[[bytes], Any]]] = [
        (Request("h1-12345", 1_700_000_000_000, FEATURES), codec.decode_request),
        (prediction, codec.decode_prediction),
        (outcome, codec.decode_outcome),
        (entry, codec.decode_entry),
        (
            JoinRecord(
                at, outcome.ts, prediction=codec.held.take(prediction.request_id, codec.encode(prediction))
            ),
            codec.decode_state,
        ),
    ]
    print("µs per record         bytes   write  fastavro  ratio    read  fastavro  ratio  JSON write    read")
    for record, read in rows:
        _row(codec, record, read)
    print("fastavro: dicts only, no checks; for what carries features, `Dictionary.canonical` after reading.")


def _row(codec: Codec, record: Any, read: Callable[[bytes], Any]) -> None:
    name = type(record).__name__
    schema = fastavro.parse_schema(codec.schemas[name])
    data, text = codec.encode(record), codec.encode(record, json=True)
    pending = plain(record) | ({"prediction": record.prediction} if name == "JoinRecord" else {})
    body = data[10:]

    def general_write() -> bytes:
        out = io.BytesIO()
        fastavro.schemaless_writer(out, schema, pending)
        return out.getvalue()

    def general_read() -> Any:
        found: Any = fastavro.schemaless_reader(io.BytesIO(body), schema, None)
        holder = found.get("prediction") if name == "Entry" else found
        if name in ("Request", "Prediction", "Entry"):
            DICTIONARY.canonical(holder["features"])
        return found

    assert general_write() == body
    times = [
        *(best(lambda: codec.encode(record)), best(general_write)),
        *(best(lambda: read(data)), best(general_read)),
    ]
    print(
        f"{name:20} {len(data):6} {times[0]:7.2f} {times[1]:9.2f} {times[0] / times[1]:6.2f} "
        f"{times[2]:7.2f} {times[3]:9.2f} {times[2] / times[3]:6.2f} "
        f"{best(lambda: codec.encode(record, json=True)):11.2f} {best(lambda: read(text)):7.2f}"
    )


if __name__ == "__main__":
    main()
