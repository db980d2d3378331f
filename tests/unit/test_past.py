"""A record of a revision that was opened a moment ago is read, though the log has not been read so far."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from infra import past
from infra.kafka.connection import Connection
from infra.past import PREFIX, PastSchemas
from schemas.codec import Codec
from schemas.codec.compatibility import undocumented
from schemas.dictionary import Dictionary, Number
from schemas.errors import BadRecord
from schemas.records import Command, Control, Prediction, Score
from schemas.topics import TaskTopics

OLD = Codec("t", "binary", Dictionary(Number(name="a", unit="1")))
PREDICTION = Prediction("r-1", 1_700_000_000_000, {"a": 1.0, "b": 2.0}, (Score("lr", 2, 7, 0.5),))


class Record:
    def __init__(self, at: int, data: bytes) -> None:
        self._at, self._data = at, data

    def offset(self) -> int:
        return self._at

    def value(self) -> bytes:
        return self._data


@pytest.fixture
def control(monkeypatch: pytest.MonkeyPatch) -> list[Record]:
    """`T.control` in memory."""
    records: list[Record] = []

    def read_all(connection: Connection, topic: str, start: int | None = None) -> Iterator[Any]:
        return iter(records[start or 0 :])

    monkeypatch.setattr(past, "read_all", read_all)
    monkeypatch.setattr(past, "log_commands", lambda *about: iter(()))
    return records


def opened(new: Codec) -> bytes:
    schemas = {f"{PREFIX}Prediction": json.dumps(undocumented(new.schemas["Prediction"]))}
    command = Command("revision", "lr", {"revision": "2", **schemas})
    return OLD.encode(Control("audit", command, 1, entry_id="t/lr/revision/2"))


def test_a_prediction_of_a_new_dictionary_is_read_as_soon_as_its_revision_is_open(
    control: list[Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    new = Codec("t", "binary", Dictionary(Number(name="a", unit="1"), Number(name="b", unit="1")))
    reader = Codec("t", "binary", Dictionary(Number(name="a", unit="1")))
    PastSchemas(reader, Connection("nowhere:1"), TaskTopics("t")).learn_all()
    data = new.encode(PREDICTION)
    with pytest.raises(BadRecord, match="no schema"):
        reader.decode_prediction(data)
    control.append(Record(0, opened(new)))
    with pytest.raises(BadRecord, match="no schema"):
        reader.decode_prediction(data)  # a fingerprint is looked up once a second
    monkeypatch.setattr(past, "ASK_AGAIN_S", 0.0)
    assert reader.decode_prediction(data).features["a"] == 1.0
    monkeypatch.setattr(past, "read_all", None)
    assert reader.decode_prediction(data).request_id == "r-1"


def test_where_the_control_topic_has_no_revision_the_log_is_read(
    control: list[Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody has made it again."""
    new = Codec("t", "binary", Dictionary(Number(name="a", unit="1"), Number(name="b", unit="1")))
    reader = Codec("t", "binary", Dictionary(Number(name="a", unit="1")))
    found = OLD.decode_control(opened(new))
    monkeypatch.setattr(past, "log_commands", lambda *about: iter([(7, found)]))
    PastSchemas(reader, Connection("nowhere:1"), TaskTopics("t")).learn_all()
    assert reader.decode_prediction(new.encode(PREDICTION)).features["a"] == 1.0


def test_garbage_with_the_mark_of_avro_stays_garbage(control: list[Record]) -> None:
    reader = Codec("t", "binary", Dictionary(Number(name="a", unit="1")))
    PastSchemas(reader, Connection("nowhere:1"), TaskTopics("t")).learn_all()
    for number in range(5):
        with pytest.raises(BadRecord, match="no schema"):
            reader.decode_prediction(b"\xc3\x01" + bytes([number]) * 8 + b"rest")
    with pytest.raises(BadRecord):
        reader.decode_prediction(b"\xc3\x01short")


def test_invented_fingerprints_do_not_hold_up_a_worker(
    control: list[Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[int | None] = []
    clock = iter(range(10_000))
    monkeypatch.setattr(time, "monotonic", lambda: next(clock) / 1000)

    def read_all(connection: Connection, topic: str, start: int | None = None) -> Iterator[Any]:
        looked.append(start)
        return iter(control[start or 0 :])

    monkeypatch.setattr(past, "read_all", read_all)
    new = Codec("t", "binary", Dictionary(Number(name="a", unit="1"), Number(name="b", unit="1")))
    reader = Codec("t", "binary", Dictionary(Number(name="a", unit="1")))
    PastSchemas(reader, Connection("nowhere:1"), TaskTopics("t")).learn_all()
    looked.clear()
    for number in range(100):
        with pytest.raises(BadRecord, match="no schema"):
            reader.decode_request(b"\xc3\x01" + number.to_bytes(8, "big") + b"rest")
    assert 1 <= len(looked) <= 20, "the worker does little else"
    control.append(Record(0, opened(new)))
    assert reader.decode_prediction(new.encode(PREDICTION)).request_id == "r-1", (
        "only workers write predictions"
    )
