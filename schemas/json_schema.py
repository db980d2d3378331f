"""JSON Schema (draft 2020-12) of the JSON form, for services that check before they send."""

from __future__ import annotations

from typing import Any, Final

from schemas.cloudevents import TAKEN
from schemas.codec.avro_form import Schema
from schemas.codec.avro_form import feature_doc as describe
from schemas.codec.checks import MAX_TS, TaskKind
from schemas.codec.json_form import record_word
from schemas.dialect import NUMBER, OWN, JsonDialect
from schemas.dictionary import MAX_TEXT, Category, Dictionary, Feature, Integer, Number
from schemas.interval import MEMBERS
from schemas.limits import LIMITS, NAME, REASON, Limit
from schemas.limits import SCORES as MOST_SCORES
from schemas.tokens import TOKEN_LENGTH

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
TYPES: Final[dict[str, dict[str, Any]]] = {
    "string": {"type": "string"},
    "double": {"type": "number"},
    "long": {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1},
    "int": {"type": "integer", "minimum": -(2**31), "maximum": 2**31 - 1},
    "boolean": {"type": "boolean"},
    "null": {"type": "null"},
    "bytes": {"type": "string", "contentEncoding": "base64"},
}
VALUES: Final[dict[TaskKind, list[dict[str, Any]]]] = {
    "binary": [{"type": "boolean"}, {"enum": [0, 1]}],
    "multiclass": [{"type": "string", "maxLength": NAME.characters}],
    "regression": [{"type": "number"}],
}
SCORES: Final[dict[TaskKind, dict[str, Any]]] = {
    "binary": {"type": "number", "minimum": 0, "maximum": 1},
    "multiclass": {
        "type": "object",
        "additionalProperties": {"type": "number"},
        "propertyNames": {"maxLength": NAME.characters},
    },
    "regression": {
        "anyOf": [
            {"type": "number"},
            {
                "type": "object",
                "properties": {name: {"type": "number"} for name in MEMBERS},
                "required": [*MEMBERS],
                "additionalProperties": False,
            },
        ]
    },
}


def json_schema(
    schema: Schema, kind: TaskKind, dictionary: Dictionary, title: str, dialect: JsonDialect = OWN
) -> dict[str, Any]:
    """Give the JSON Schema of a record's JSON form.

    Parameters
    ----------
    schema
        The record's Avro schema, self-contained.
    title
        The schema's title.
    dialect
        How services write the record's times and numbers.
    """
    name = schema["name"]
    word = {"const": record_word(name), "description": "Type of the record; optional."}
    out = _Maker(kind, dictionary, name == "Request", dialect).record(schema)
    out["properties"] = {"record": word} | out["properties"]
    if name == "Outcome":
        out["if"] = {"properties": {"value": {"type": "null"}}}
        out["then"] = {
            "required": [*out["required"], "reason"],
            "properties": {"reason": {"type": "string", "minLength": 1, "maxLength": REASON.characters}},
        }
    return {"$schema": DIALECT, "title": title} | out


class _Maker:
    """Translates one schema; `named` has the record types met so far."""

    def __init__(self, kind: TaskKind, dictionary: Dictionary, requests: bool, dialect: JsonDialect) -> None:
        self._dialect = dialect
        self._kind: TaskKind = kind
        self._dictionary = dictionary.asked if requests else dictionary.stored()
        self._requests = requests
        self._named: dict[str, dict[str, Any]] = {}

    def record(self, schema: Schema) -> dict[str, Any]:
        """Translate a record."""
        if schema["name"] == "Features":
            return self._features(schema)
        properties: dict[str, Any] = {}
        for each in schema["fields"]:
            field = self._field(schema["name"], each)
            doc = each["doc"].replace("ms since 1970-01-01 UTC, 0 to 2^53 - 1", self._time_doc())
            properties[each["name"]] = field | {"description": doc}
        from_headers = TAKEN.get(schema["name"], {}) if self._dialect.cloudevents else {}
        required = [
            each["name"]
            for each in schema["fields"]
            if "default" not in each and each["name"] not in from_headers
        ]
        return {
            "description": schema["doc"],
            "type": "object",
            "properties": properties,
            "required": required,
        }

    def _field(self, record: str, field: Schema) -> dict[str, Any]:
        name = field["name"]
        if name == "request_id" and "default" not in field:
            return {"type": "string", "minLength": 1, "maxLength": NAME.characters, "pattern": r"^[^\u0000]"}
        if name == "ts":
            return self._time()
        if record == "Outcome" and name == "value":
            as_text = [] if self._kind == "multiclass" else self._as_text()
            return {"anyOf": [*VALUES[self._kind], *as_text, {"type": "null"}]}
        if record == "Outcome" and name == "revision":
            return {"anyOf": [*self._type(field["type"])["anyOf"], *self._as_text()]}
        if record == "Score" and name == "score":
            return {"anyOf": [SCORES[self._kind], {"type": "null"}]}
        made = self._type("string" if (record, name) == ("Position", "topic") else field["type"])
        if (record, name) == ("Prediction", "scores"):
            made["maxItems"] = MOST_SCORES
        limit = LIMITS.get((record, name))
        return made if limit is None else _limited(made, limit)

    def _time(self) -> dict[str, Any]:
        if self._dialect.time == "iso8601":
            return {"type": "string", "format": "date-time"}
        if self._dialect.is_own:
            return {"type": "integer", "minimum": 0, "maximum": MAX_TS - 1}
        number = {"type": "number" if self._dialect.time == "s" else "integer", "minimum": 0}
        return {"anyOf": [number, *self._as_text()]} if self._as_text() else number

    def _time_doc(self) -> str:
        if self._dialect.time == "iso8601":
            return "ISO 8601 with an offset from UTC"
        after = "" if self._dialect.time == "ms" else " ms"
        return f"{self._dialect.time} since 1970-01-01 UTC, 0 to 2^53 - 1{after}"

    def _as_text(self) -> list[dict[str, Any]]:
        """Numbers as text, where they are declared."""
        return (
            [{"type": "string", "pattern": f"^{NUMBER.pattern}$"}] if self._dialect.numbers == "text" else []
        )

    def _type(self, node: Any) -> dict[str, Any]:
        if isinstance(node, list):
            return {"anyOf": [self._type(each) for each in node]}
        if isinstance(node, str):
            return dict(self._named.get(node) or TYPES[node])
        if node["type"] == "array":
            return {"type": "array", "items": self._type(node["items"])}
        if node["type"] == "map":
            return {"type": "object", "additionalProperties": self._type(node["values"])}
        if node["type"] == "enum":
            made: dict[str, Any] = {"enum": node["symbols"]}
        else:
            made = self.record(node)
        self._named[node["name"]] = made
        return made

    def _features(self, schema: Schema) -> dict[str, Any]:
        kept = [each for each in self._dictionary if each.personal_data != "left_out"]
        return {
            "description": schema["doc"],
            "type": "object",
            "properties": {each.name: self._feature(each) for each in kept},
            "required": [each.name for each in kept if not each.optional and each.missing is None],
        }

    def _feature(self, feature: Feature) -> dict[str, Any]:
        if feature.personal_data == "tokenised" and not self._requests:
            made: dict[str, Any] = {"type": "string", "pattern": f"^[0-9a-f]{{{TOKEN_LENGTH}}}$"}
            if feature.missing is not None:
                made = {"type": "string"}
        elif isinstance(feature, Category):
            made = {"type": "string", "maxLength": MAX_TEXT}
            if feature.levels and feature.rejects:
                made = {"enum": list(feature.levels)}
            elif feature.levels:
                made["examples"] = list(feature.levels)
        else:
            made = dict(TYPES[feature.avro])
            if feature.rejects:
                bounds = {"minimum": getattr(feature, "low", None), "maximum": getattr(feature, "high", None)}
                made |= {key: bound for key, bound in bounds.items() if bound is not None}
        if self._as_text() and isinstance(feature, Number | Integer):
            made = {"anyOf": [made, *self._as_text()]}
        if feature.optional or feature.missing is not None:
            made = {"anyOf": [*made.get("anyOf", [made]), {"type": "null"}]}
        return made | {"description": describe(feature)}


def _limited(made: dict[str, Any], limit: Limit) -> dict[str, Any]:
    """Put a limit on each text of a field's schema."""
    if "anyOf" in made:
        return made | {"anyOf": [_limited(each, limit) for each in made["anyOf"]]}
    if made.get("type") == "array":
        return made | {"items": _limited(made["items"], limit), "maxItems": limit.items}
    return made | {"maxLength": limit.characters} if made.get("type") == "string" else made
