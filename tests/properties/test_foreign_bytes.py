"""Whatever bytes come from outside: rejected with a reason, soon, and in memory that their size bounds."""

from __future__ import annotations

import gzip
import json
import struct
import time
import tracemalloc
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from river import linear_model, preprocessing

from infra.datafiles.rows import rows
from infra.decoding import Decoder
from infra.inbound import Inbound
from infra.snapshots.store import MANIFEST, PROBES, STATE, SnapshotStore
from schemas.codec import Codec
from schemas.dictionary import Boolean, Category, Dictionary, Integer, Number
from schemas.errors import BadRecord, SnapshotError, UsageError
from schemas.event_time import TimeBounds
from schemas.examples import examples
from schemas.records import DeadLetter
from schemas.state_table import StateTable, encode
from streams.snapshot import dump, load

CODEC = Codec(
    "shop",
    "binary",
    Dictionary(
        Number(name="price"),
        Integer(name="items", low=0, high=9, on_range="reject"),
        Boolean(name="new", optional=True),
        Category(name="channel", optional=True),
        Category(name="Guest", optional=True, personal_data="tokenised"),
    ),
    b"a key",
)
EXAMPLES = {name: CODEC.encode(record) for name, record in examples(CODEC).items()}
DECODERS: tuple[Callable[[bytes], Any], ...] = (
    CODEC.decode_request,
    CODEC.decode_prediction,
    CODEC.decode_outcome,
    CODEC.decode_entry,
    CODEC.decode_state,
    CODEC.decode_dead_letter,
    CODEC.decode_manifest,
    CODEC.decode_control,
    CODEC.decode_audit,
    CODEC.decode_metric,
    CODEC.reader.peek,
)
MIB = 1024 * 1024
SOON_S = 10.0
"""For a record of 1 MiB; the slowest takes a second on an idle machine."""


def fresh() -> Any:
    return preprocessing.StandardScaler() | linear_model.LogisticRegression()


def model() -> Any:
    made = fresh()
    for number in range(3):
        made.learn_one({"a": 1.0 * number, "b": 2.0}, number % 2 == 0)
    return made


STATE_BYTES = dump(model())


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """Give bytes with some changed, cut out or put in."""
    data = bytearray(whole)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        cut = draw(st.integers(0, 4))
        data[at : at + cut] = draw(st.binary(max_size=6))
    return bytes(data)


@contextmanager
def bounded(most: int) -> Iterator[None]:
    """Check that a block takes no more memory than so many bytes."""
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < most, f"{peak:,} bytes"


@settings(max_examples=600, deadline=None)
@given(st.sampled_from(sorted(EXAMPLES)).flatmap(lambda name: damaged(EXAMPLES[name])))
def test_a_damaged_avro_record_is_read_or_rejected(data: bytes) -> None:
    for decode in DECODERS:
        with suppress(BadRecord):
            decode(data)


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(sorted(EXAMPLES)).flatmap(
        lambda name: damaged(CODEC.encode(examples(CODEC)[name], json=True))
    )
)
def test_a_damaged_json_record_is_read_or_rejected(data: bytes) -> None:
    for decode in DECODERS:
        with suppress(BadRecord):
            decode(data)


def bombs() -> dict[str, bytes]:
    """Give a megabyte each of what grows when it is read, and a few bytes that promise a lot."""
    mark = EXAMPLES["Prediction"][:10]
    long = b"\xfe\xff\xff\xff\xff\xff\xff\xff\x7f"
    start = mark + b"\x02r\x0a" + struct.pack("<d", 1.0) + b"\x04\x00\x00\x00"
    request = b'{"request_id": "r", "ts": 5, "features": {"price": 1, "items": 1}, "parents": [%b]}'
    return {
        "a list of 2^62 items": start + long,
        "a list of as many empty texts as bytes": start + b"\xfe\xff\x7f" + bytes(MIB),
        "a text of 2^62 bytes": EXAMPLES["Request"][:10] + long,
        "a number without end": EXAMPLES["Outcome"][:10] + b"\xff" * MIB,
        "nested lists": b'{"a":' + b"[" * MIB,
        "nested objects": b'{"a":' * (MIB // 5),
        "many empty lists": b'{"a":[' + b"[]," * (MIB // 3) + b"1]}",
        "many keys": b"{" + b",".join(b'"%d":0' % number for number in range(MIB // 9)) + b"}",
        "many parents": request % b",".join([b'""'] * (MIB // 3)),
        "a number of a million digits": b'{"ts":' + b"9" * MIB + b"}",
        "a deep number": b'{"ts":1e' + b"9" * 1000 + b"}",
        "one key very often": b"{" + b",".join([b'"a":0'] * (MIB // 6)) + b"}",
        "blanks": b" " * MIB,
        "escapes": b'{"a":"' + b"\\u0000" * (MIB // 6) + b'"}',
    }


@pytest.mark.parametrize("name", bombs())
def test_what_grows_when_it_is_read_stays_within_bounds(name: str) -> None:
    data = bombs()[name]
    started = time.monotonic()
    for decode in DECODERS:
        with suppress(BadRecord):
            decode(data)
    assert time.monotonic() - started < SOON_S * len(DECODERS)
    # Watching memory makes it many times slower, so that comes apart.
    for decode in (CODEC.decode_request, CODEC.decode_prediction, CODEC.reader.peek):
        with bounded(160 * MIB), suppress(BadRecord):
            decode(data)


class Foreign:
    """A message as a client hands it over; its headers are anybody's."""

    def __init__(self, key: Any, value: bytes | None, headers: Any) -> None:
        self._key, self._value, self._headers = key, value, headers

    def topic(self) -> str:
        return "shop.requests"

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return 7

    def key(self) -> Any:
        return self._key

    def value(self) -> bytes | None:
        return self._value

    def timestamp(self) -> tuple[int, int]:
        return 2, 1_700_000_000_000

    def headers(self) -> Any:
        return self._headers


@settings(max_examples=300, deadline=None)
@given(
    key=st.none() | st.binary(max_size=40),
    value=st.none() | st.binary(max_size=60),
    headers=st.none()
    | st.lists(st.tuples(st.sampled_from(("client.id", "riverloop.forwarded", "")), st.none() | st.binary())),
)
def test_any_message_becomes_a_record_or_a_dead_letter_that_can_be_written(
    key: bytes | None, value: bytes | None, headers: Any
) -> None:
    for decode in (CODEC.decode_request, CODEC.decode_prediction, CODEC.decode_outcome):
        item: Inbound = Decoder(decode, times=TimeBounds(0, 5))(Foreign(key, value, headers))
        if item.bad is not None:
            dead_letter = CODEC.decode_dead_letter(CODEC.encode(item.reject(item.bad)))
            assert isinstance(dead_letter, DeadLetter)
            assert (dead_letter.key, dead_letter.value) == (key, value)


@settings(max_examples=800, deadline=None)
@given(damaged(STATE_BYTES))
def test_a_damaged_state_is_opened_or_rejected(data: bytes) -> None:
    with suppress(SnapshotError):
        load(data, fresh())


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 1 << 40), *[st.lists(st.integers(-9, 1 << 30) | st.integers(0, 40), max_size=30)] * 2)
def test_any_columns_are_rejected_or_harmless(objects: int, shapes: list[int], cells: list[int]) -> None:
    table = StateTable(
        objects % 50 or objects, ["a", "river.stats.mean:Mean"], shapes, array("d", [1.0]), [b""], cells
    )
    with bounded(64 * MIB), suppress(SnapshotError):
        load(encode(table))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    damaged(json.dumps({"version": "m.1@5", "task": "t", "parents": []}).encode())
    | st.binary(max_size=50)
    | st.sampled_from((b"[" * 100_000, b'{"a":' * 100_000, b"9" * 5000, b"null", b"[]", b'{"parents": 1}'))
)
def test_a_damaged_manifest_is_rejected(tmp_path: Path, data: bytes) -> None:
    store = SnapshotStore(str(tmp_path))
    place = tmp_path / "t" / "m.1@5"
    place.mkdir(parents=True, exist_ok=True)
    (place / MANIFEST).write_bytes(data)
    with pytest.raises(SnapshotError):
        store.manifest("t", "m.1@5")
    assert store.manifests("t") == []


@pytest.mark.parametrize("name", [MANIFEST, STATE, PROBES])
def test_a_file_of_a_snapshot_that_would_fill_the_memory_is_rejected(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = SnapshotStore(str(tmp_path))
    manifest = CODEC.decode_manifest(EXAMPLES["Manifest"])
    store.save(manifest, b"a state", [])
    with (tmp_path / manifest.task / manifest.version / name).open("r+b") as file:
        file.truncate(8 << 30)  # it takes no room on the disk
    with bounded(700 * MIB), pytest.raises(SnapshotError, match=r"more than [\d,]+ bytes"):
        store.load(manifest.task, manifest.version)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    damaged(gzip.compress(b"id,x\n" + b"".join(b"%d,%d\n" % (n, n) for n in range(50))))
    | st.binary(max_size=80)
)
def test_a_damaged_data_file_is_read_or_rejected_with_a_sentence(tmp_path: Path, data: bytes) -> None:
    for name in ("data.csv.gz", "data.csv", "data.parquet"):
        path = tmp_path / name
        path.write_bytes(data)
        with suppress(UsageError):
            list(rows(path))


@pytest.mark.parametrize("head", [b"id,x\n1,", b'id,x\n1,"', b""])
def test_a_compressed_data_file_cannot_fill_the_memory(head: bytes, tmp_path: Path) -> None:
    path = tmp_path / "data.csv.gz"
    block = b"x" * MIB
    with gzip.open(path, "wb", 9) as file:
        file.write(head)
        for _ in range(300):
            file.write(block)
    assert path.stat().st_size < MIB
    with bounded(64 * MIB), pytest.raises(UsageError, match="the line has more than"):
        list(rows(path))
