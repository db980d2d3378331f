"""The Avro schemas of a task: `schemas/avro/` with the features of the task's dictionary filled in."""

from __future__ import annotations

import json
import re
from functools import cache
from importlib import resources
from typing import Any, Final

from fastavro.schema import fingerprint as avro_fingerprint
from fastavro.schema import parse_schema, to_parsing_canonical_form

from schemas.dictionary import Category, Dictionary, Feature
from schemas.formats import AVRO_MARK
from schemas.limits import LIMITS

NAMESPACE: Final = "riverloop"
RECORDS: Final = (
    "Request",
    "Prediction",
    "Outcome",
    "Punctuation",
    "Entry",
    "JoinRecord",
    "Resolution",
    "JoinPosition",
    "CountedRequest",
    "AggregatesPosition",
    "DeadLetter",
    "Manifest",
    "Control",
    "Metric",
    "Alert",
    "Tally",
    "Applied",
    "AuditLink",
)
"""Records that lie on topics; the others only occur inside of these."""
PARTS: Final = ("Position", "Score", "Command", "EarlyOutcome", "Evidence", "FeatureTally")
SHORTENED: Final = {
    "EntryOutcome": (
        "Outcome",
        ("request_id", "ts"),
        "An outcome in an entry, which has its request_id and ts.",
    ),
    "HeldPrediction": (
        "Prediction",
        ("request_id",),
        "A prediction in the join's state, whose key is its request_id.",
    ),
}
"""Parts that are another record without some fields, which are known where the part occurs."""

Schema = dict[str, Any]
"""An Avro schema as JSON data."""


def file_name(record: str) -> str:
    """Give the schema's file: `JoinRecord` lies in `join_record.avsc`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", record).lower() + ".avsc"


@cache
def _written(record: str) -> str:
    return (resources.files("schemas") / "avro" / file_name(record)).read_text(encoding="utf-8")


def load(record: str) -> Schema:
    """Read one schema as it is written: other records are named in it, not defined.

    The descriptions end with the fields' limits, which `schemas.limits` declares.
    """
    if record in SHORTENED:
        origin, left_out, doc = SHORTENED[record]
        whole = load(origin)
        fields = [field for field in whole["fields"] if field["name"] not in left_out]
        return whole | {"name": record, "doc": doc, "fields": fields}
    found: Schema = json.loads(_written(record))
    for field in found["fields"]:
        limit = LIMITS.get((record, field["name"]))
        if limit is not None:
            field["doc"] = f"{field['doc']} {limit.sentence()}"
    return found


def feature_doc(feature: Feature) -> str:
    """Say in a sentence what a feature is: unit, range or levels, owner, purpose."""
    said = [feature.word]
    if feature.unit:
        said.append(f"unit {feature.unit}")
    low, high = getattr(feature, "low", None), getattr(feature, "high", None)
    if low is not None or high is not None:
        said.append(f"range {'' if low is None else f'{low:g}'}..{'' if high is None else f'{high:g}'}")
    if isinstance(feature, Category):
        said.append("levels " + ", ".join(feature.levels) if feature.levels else "any level")
    if feature.optional:
        said.append("may be missing")
    if feature.missing is not None:
        said.append(f"{feature.missing!r} stands for missing")
    if feature.personal_data != "none":
        said.append(f"personal data, {feature.personal_data.replace('_', ' ')}")
    if feature.owner:
        said.append(f"owner {feature.owner}")
    if feature.purpose:
        said.append(f"purpose: {feature.purpose}")
    return "; ".join(said)


def features_schema(dictionary: Dictionary) -> Schema:
    """Make the record `Features` from a dictionary: its order, without what is left out."""
    out: list[Schema] = []
    for each in dictionary:
        if each.personal_data == "left_out":
            continue
        if each.nullable:
            typed: Schema = {"type": ["null", each.avro], "doc": feature_doc(each), "default": None}
        else:
            typed = {"type": each.avro, "doc": feature_doc(each)}
        out.append({"name": each.name} | typed)
    return {
        "type": "record",
        "name": "Features",
        "namespace": NAMESPACE,
        "doc": "The task's features, in the order of its dictionary.",
        "fields": out,
    }


def assemble(record: str, dictionary: Dictionary) -> Schema:
    """Give a record's self-contained schema: each record that it names is defined where it first occurs."""
    defined: set[str] = set()

    def fill(node: Any) -> Any:
        if isinstance(node, str):
            if node not in (*RECORDS, *PARTS, *SHORTENED, "Features") or node in defined:
                return node
            return fill(features_schema(dictionary) if node == "Features" else load(node))
        if isinstance(node, list):
            return [fill(each) for each in node]
        if node["type"] == "record":
            defined.add(node["name"])
            filled = [each | {"type": fill(each["type"])} for each in node["fields"]]
            return node | {"fields": filled}
        inner = {key: fill(node[key]) for key in ("items", "values") if key in node}
        return node | inner

    schema: Schema = fill(record)
    return schema


def with_prediction(schema: Schema, prediction: Schema) -> Schema:
    """Give the schema of `JoinRecord` or `Entry` that has predictions of another dictionary in it.

    Parameters
    ----------
    schema
        Today's.
    prediction
        The other schema of predictions.
    """
    defined: set[str] = set()

    def once(node: Any) -> Any:
        if isinstance(node, list):
            return [once(each) for each in node]
        if isinstance(node, str):
            return node
        if "name" in node:
            if node["name"] in defined:
                return node["name"]
            defined.add(node["name"])
        if node["type"] == "record":
            fields = node["fields"]
            if node["name"] == "Prediction":
                fields = prediction["fields"]
            elif node["name"] == "HeldPrediction":
                fields = [each for each in prediction["fields"] if each["name"] != "request_id"]
            return node | {"fields": [each | {"type": once(each["type"])} for each in fields]}
        return node | {key: once(node[key]) for key in ("items", "values") if key in node}

    found: Schema = once(schema)
    return found


def fingerprint(schema: Schema) -> bytes:
    """Give the CRC-64-AVRO fingerprint, 8 bytes, little endian; docs and defaults do not count.

    References
    ----------
    Apache Avro 1.12 specification, "Schema Fingerprints" and "Single-object encoding".
    """
    return bytes.fromhex(avro_fingerprint(to_parsing_canonical_form(parse_schema(schema)), "CRC-64-AVRO"))


def header(schema: Schema) -> bytes:
    """Give the ten bytes that start a record of this schema in single-object encoding."""
    return AVRO_MARK + fingerprint(schema)
