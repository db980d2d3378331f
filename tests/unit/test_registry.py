"""Records with a schema registry's framing: read whichever framing they have, and never lost while it is away."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import fastavro
import pytest
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

from infra.decoding import Decoder
from infra.inbound import Inbound, original
from infra.registry.client import RegistryClient
from infra.registry.registry import Registry
from infra.registry.setup import prediction_frame, subjects
from schemas.codec import Codec
from schemas.dialect import JsonDialect
from schemas.dictionary import Category, Dictionary, Number
from schemas.errors import BadRecord, BrokerError, SchemaPending, UsageError
from schemas.framing import HEADER, SchemaKey, prefix
from schemas.records import Outcome, Prediction, Request, Score

DICTIONARY = Dictionary(Number(name="total"), Category(name="shop", optional=True))
REQUEST = Request("o-1", 1_704_106_800_000, {"total": 12.5, "shop": "x"})
OUTCOME = Outcome("o-1", 1_704_106_900_000, True, None, None, None)
FOREIGN = {
    "type": "record",
    "name": "OrderPlaced",
    "namespace": "com.example.shop",
    "fields": [
        {"name": "ts", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "note", "type": ["null", "string"], "default": None},
        {"name": "request_id", "type": "string"},
        {
            "name": "features",
            "type": {
                "type": "record",
                "name": "Order",
                "fields": [{"name": "total", "type": "int"}, {"name": "coupon", "type": "string"}],
            },
        },
    ],
}


class Schemas:
    """A registry with some schemas, which may be away."""

    def __init__(self, **texts: tuple[str, str]) -> None:
        self.texts: dict[SchemaKey, tuple[str, str]] = {int(key[1:]): text for key, text in texts.items()}
        self.away = False
        self.asked: list[SchemaKey] = []

    def schema(self, key: SchemaKey) -> tuple[str, str] | None:
        self.asked.append(key)
        if self.away:
            raise BrokerError("away")
        return self.texts.get(key)


class Message:
    """A message with headers."""

    def __init__(self, value: bytes, headers: list[tuple[str, bytes]] | None = None) -> None:
        self._value, self._headers = value, headers

    def value(self) -> bytes:
        return self._value

    def headers(self) -> Any:
        return self._headers

    def topic(self) -> str:
        return "shop.requests"

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return 3

    def key(self) -> bytes:
        return b"o-1"

    def timestamp(self) -> tuple[int, int]:
        return (1, 1_704_106_800_000)


def made(**options: Any) -> Codec:
    return Codec("shop", "binary", DICTIONARY, **options)


def body(codec: Codec, record: Any) -> bytes:
    return codec.encode(record)[10:]


def text(codec: Codec, record: str) -> str:
    return json.dumps(codec.schemas[record])


def foreign() -> bytes:
    from io import BytesIO

    out = BytesIO()
    record = {
        "ts": 1_704_106_800_000,
        "note": None,
        "request_id": "o-1",
        "features": {"total": 3, "coupon": "c"},
    }
    fastavro.schemaless_writer(out, fastavro.parse_schema(FOREIGN), record)
    return out.getvalue()


@pytest.fixture
def mock() -> tuple[RegistryClient, SchemaRegistryClient]:
    """Confluent's own registry in memory, which knows GUIDs but no compatibility: our client, and theirs."""
    ours = RegistryClient("mock://here", {})
    return ours, ours._client


def registered(client: SchemaRegistryClient, codec: Codec) -> dict[str, int]:
    return {
        name: client.register_schema(name, Schema(text, "AVRO")) for name, text in subjects(codec).items()
    }


def test_an_id_in_front_is_read_with_the_schema_of_the_registry() -> None:
    codec = made()
    schemas = Schemas(_7=("AVRO", text(codec, "Request")), _8=("AVRO", json.dumps(FOREIGN)))
    codec.reader.unframe = Registry(schemas, codec, blocks=True).unframe
    assert codec.decode_request(prefix(7) + body(codec, REQUEST)) == REQUEST
    found = codec.decode_request(prefix(8) + foreign())
    assert found == Request("o-1", 1_704_106_800_000, {"total": 3.0})
    assert codec.decode_request(prefix(7) + body(codec, REQUEST)) == REQUEST
    assert schemas.asked == [7, 8]  # each once


def test_json_behind_an_id_follows_the_dialect_of_the_task() -> None:
    codec = made(request_json=JsonDialect(time="s"))
    codec.reader.unframe = Registry(Schemas(_9=("JSON", "{}")), codec, blocks=True).unframe
    sent = {"request_id": "o-1", "ts": 1_704_106_800, "features": {"total": 12.5, "shop": "x"}}
    assert codec.decode_request(prefix(9) + json.dumps(sent).encode()) == REQUEST


@pytest.mark.parametrize(
    ("schema", "data", "reason"),
    [
        (("PROTOBUF", "message A {}"), b"x", "unknown_schema"),
        (("AVRO", '"string"'), b"x", "unknown_schema"),
        (("AVRO", "no json"), b"x", "unknown_schema"),
        (("AVRO", json.dumps(FOREIGN)), b"\x01", "malformed"),
        (("AVRO", '{"type": "record", "name": "A", "fields": []}'), b"", "missing_field"),
        (None, b"x", "unknown_schema"),
    ],
)
def test_what_cannot_be_read_is_a_dead_letter_with_its_reason(schema: Any, data: bytes, reason: str) -> None:
    codec = made()
    schemas = Schemas(**({"_5": schema} if schema else {}))
    codec.reader.unframe = Registry(schemas, codec, blocks=True).unframe
    with pytest.raises(BadRecord) as caught:
        codec.decode_request(prefix(5) + data)
    assert caught.value.reason == reason


def test_without_a_registry_the_error_says_what_to_set() -> None:
    for data in (prefix(5) + b"x", b"\x01" + bytes(16) + b"x"):
        with pytest.raises(BadRecord, match="RIVERLOOP_SCHEMA_REGISTRY") as caught:
            made().decode_request(data)
        assert caught.value.reason == "registry_framing"


def test_an_unknown_schema_waits_while_the_registry_is_away() -> None:
    codec = made()
    schemas = Schemas(_7=("AVRO", text(codec, "Request")), _8=("AVRO", json.dumps(FOREIGN)))
    registry = Registry(schemas, codec, blocks=False)
    decode = Decoder(codec.decode_request, unframe=lambda data: registry.unframe(data, Request))
    known, unknown = Message(prefix(7) + body(codec, REQUEST)), Message(prefix(8) + foreign())
    assert decode(known).pending
    assert registry.fetch()
    assert decode(known).record == REQUEST

    schemas.away = True
    waiting: Inbound = decode(unknown)
    assert waiting.pending
    assert waiting.bad is None
    assert not registry.fetch()
    assert decode(known).record == REQUEST  # what is known needs no registry
    with pytest.raises(SchemaPending):
        registry.unframe(unknown.value(), Request)

    schemas.away = False
    assert registry.fetch()
    assert decode(unknown).record == Request("o-1", 1_704_106_800_000, {"total": 3.0})
    lost = Message(prefix(99) + b"x")
    assert decode(lost).pending
    assert registry.fetch()
    answered = decode(lost).bad
    assert answered is not None
    assert (answered.reason, "99" in answered.message) == ("unknown_schema", True)


def test_a_guid_in_a_header_is_read_as_confluents_client_writes_it(mock: Any) -> None:
    ours, client = mock
    codec = made()
    registry = Registry(ours, codec, blocks=True)
    codec.reader.unframe = registry.unframe
    registered(client, codec)
    from confluent_kafka.schema_registry import header_schema_id_serializer

    write = AvroSerializer(
        client,
        text(codec, "Outcome"),
        lambda outcome, context: outcome,
        {"auto.register.schemas": False, "schema.id.serializer": header_schema_id_serializer},
    )
    headers: list[Any] = []
    plain = {"request_id": "o-1", "ts": OUTCOME.ts, "value": True}
    value = write(plain, SerializationContext("shop.outcomes", MessageField.VALUE, headers))
    assert [name for name, _ in headers] == [HEADER]
    assert value is not None
    assert value[0] not in (0, 1)
    message = Message(value, headers)
    decode = Decoder(codec.decode_outcome, unframe=lambda data: registry.unframe(data, Outcome))
    assert decode(message).record == OUTCOME
    # A dead letter has the schema in front, so that its replay can be read.
    kept = original(message)
    assert kept is not None
    assert UUID(bytes=kept[1:17]) == UUID(bytes=dict(headers)[HEADER][1:17])
    assert codec.decode_outcome(kept) == OUTCOME


def test_predictions_get_the_id_under_which_their_schema_is_registered(mock: Any, tmp_path: Any) -> None:
    ours, client = mock
    codec = made()
    registry = Registry(ours, codec, blocks=False)
    with pytest.raises(UsageError, match="riverloop schemas register"):
        prediction_frame(ours, codec, registry, tmp_path)
    ids = registered(client, codec)
    assert set(ids) == {"shop.requests-value", "shop.outcomes-value", "shop.predictions-value"}
    frame = prediction_frame(ours, codec, registry, tmp_path)
    prediction = Prediction("o-1", REQUEST.ts, REQUEST.features, (Score("m", 1, 3, 0.5),))
    value = frame(codec.encode(prediction))
    assert value[:5] == prefix(ids["shop.predictions-value"])
    codec.reader.unframe = registry.unframe
    assert codec.decode_prediction(value) == prediction
    assert frame(codec.encode(prediction, json=True)) == codec.encode(prediction, json=True)
    # Another team reads it with the registry alone.
    from confluent_kafka.schema_registry.avro import AvroDeserializer

    read = AvroDeserializer(client)
    context = SerializationContext("shop.predictions", MessageField.VALUE)
    assert read(value, context)["request_id"] == "o-1"

    class Away:
        url = ours.url

        def id_of(self, subject: str, schema: str) -> int:
            raise BrokerError("away")

    # A worker that starts while the registry is away knows the id.
    assert prediction_frame(Away(), codec, registry, tmp_path) == frame  # type: ignore[arg-type]
    with pytest.raises(BrokerError):
        prediction_frame(Away(), codec, registry, tmp_path / "elsewhere")  # type: ignore[arg-type]
