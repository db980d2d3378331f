"""All that a service in another language needs to talk with a task, as files."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from schemas.clients import CLIENTS
from schemas.clients import rows as clients
from schemas.codec import Codec
from schemas.codec.avro_form import RECORDS, file_name
from schemas.codec.checks import RECORD_TYPES
from schemas.codec.json_form import record_word
from schemas.dialect import OWN
from schemas.dictionary import Dictionary, Feature
from schemas.examples import examples, usable
from schemas.json_schema import json_schema
from schemas.limits import NAME
from schemas.reasons import REASONS
from schemas.topics import MAX_RECORD_BYTES, PARTITIONER, TaskTopics, topics

CHECKED: Final = ("Request", "Outcome", "Prediction", "DeadLetter", "Metric", "Alert")
"""Records whose JSON form gets a JSON Schema: those that services write or read."""
MISSING: Final = {True: "may be missing", False: "required"}


def export(codec: Codec, directory: Path, now: int | None = None) -> list[Path]:
    """Write schemas, examples and the data dictionary of a task.

    The same task gives the same bytes at the same time. Files of an earlier export are written over; no other is
    touched, so the schemas of an older dictionary stay beside those of today.

    Parameters
    ----------
    directory
        Made if it does not exist.
    now
        The time (ms) of the example of a request and of its outcome; None: that of the other examples.

    Returns
    -------
    list
        The files, in the order in which `README.md` names them.
    """
    files: dict[str, bytes] = {"README.md": _readme(codec).encode()}
    files["data-dictionary.md"] = data_dictionary(codec.task, codec.dictionary).encode()
    files["contract.json"] = _json(contract(codec))
    for record in RECORDS:
        files[f"avro/{file_name(record)}"] = _json(codec.schemas[record])
    for record, mark in codec.fingerprints.items():
        files[f"avro/by-fingerprint/{mark}.avsc"] = _json(codec.schemas[record])
    for record in CHECKED:
        title = f"{record_word(record)} of task {codec.task}"
        dialect = codec.dialects.get(RECORD_TYPES[record], OWN)
        made = json_schema(codec.schemas[record], codec.kind, codec.dictionary, title, dialect)
        files[f"json-schema/{record_word(record)}.schema.json"] = _json(made)
    for record, example in (examples(codec) | (usable(codec, now) if now is not None else {})).items():
        files[f"examples/{record_word(record)}.json"] = codec.encode(example, json=True) + b"\n"
        files[f"examples/{record_word(record)}.avro.bin"] = codec.encode(example)
    out = []
    for name, data in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        out.append(path)
    return out


def contract(codec: Codec) -> dict[str, Any]:
    """Return what a client must be set to, and the fingerprints of the schemas, as plain data for programs."""
    marks = codec.fingerprints
    return {
        "task": codec.task,
        "kind": codec.kind,
        "dictionary": codec.dictionary.digest,
        "partitioner": PARTITIONER,
        "isolation_level": "read_committed",
        "max_record_bytes": MAX_RECORD_BYTES,
        "clients": [asdict(each) for each in CLIENTS],
        "topics": {each.name: each.description for each in topics(codec.task, partitions=2)},
        "rejections": {"topic": TaskTopics(codec.task).dead_letters, "reasons": REASONS},
        "schemas": {
            record_word(record): {"fingerprint": marks[record], "avro": f"avro/{file_name(record)}"}
            for record in RECORDS
        },
    }


def data_dictionary(task: str, dictionary: Dictionary) -> str:
    """Return the data dictionary as Markdown, with the meaning of each column's values."""
    head = ("feature", "type", "unit", "range or levels", "missing", "personal data", "owner", "purpose")
    rows = [head, *(_row(each) for each in dictionary)]
    lines = ["| " + " | ".join(_cell(each) for each in row) + " |" for row in rows]
    lines.insert(1, "| " + " | ".join("---" for _ in head) + " |")
    reasons = [f"| `{code}` | {meaning} |" for code, meaning in REASONS.items()]
    return "\n".join(
        [
            f"# Data dictionary of {task}",
            "",
            "The features of a request, in the order in which models see them. Numbers are IEEE 754 doubles,",
            "integers have 64 bits, text is UTF-8. NaN counts as missing, -0.0 becomes 0.0, infinities are",
            "rejected. A value outside its range or levels is accepted, or rejected where the table says so.",
            "",
            *_added(dictionary),
            *lines,
            "",
            "## Reasons of dead letters",
            "",
            "| code | meaning |",
            "| --- | --- |",
            *reasons,
            "",
        ]
    )


def _added(dictionary: Dictionary) -> list[str]:
    if not dictionary.added:
        return []
    names = ", ".join(f"`{name}`" for name in dictionary.added)
    return [
        f"Requests do not carry these features; serving adds them, and predictions have them: {names}.",
        "",
    ]


def _row(feature: Feature) -> tuple[str, ...]:
    low, high = getattr(feature, "low", None), getattr(feature, "high", None)
    levels = ", ".join(getattr(feature, "levels", ()))
    if low is not None or high is not None:
        limits = f"{'' if low is None else f'{low:g}'} … {'' if high is None else f'{high:g}'}".strip()
    else:
        limits = levels or "any"
    if feature.rejects:
        limits += " (others rejected)"
    missing = MISSING[feature.optional]
    if feature.missing is not None:
        missing = f"stored as `{feature.missing}`"
    personal = {"none": "no", "left_out": "yes: never stored", "tokenised": "yes: stored as a keyed hash"}
    return (
        feature.name,
        feature.word,
        feature.unit,
        limits,
        missing,
        personal[feature.personal_data],
        feature.owner,
        feature.purpose,
    )


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def _json(data: Any) -> bytes:
    return (json.dumps(data, indent=2, ensure_ascii=False) + "\n").encode()


def _readme(codec: Codec) -> str:
    rows = [
        f"| `{each.name}` | {each.key} | {'P' if each.partitions > 1 else '1'} | {each.description} |"
        for each in topics(codec.task, partitions=2)
    ]
    marks = [
        f"| {record_word(record)} | `{codec.fingerprints[record]}` | `avro/{file_name(record)}` |"
        for record in RECORDS
    ]
    return README.format(
        task=codec.task,
        kind=codec.kind,
        partitioner=PARTITIONER,
        clients=_clients(),
        dead_letters=TaskTopics(codec.task).dead_letters,
        limit=MAX_RECORD_BYTES,
        characters=NAME.characters,
        topics="\n".join(rows),
        marks="\n".join(marks),
    )


def _clients() -> str:
    head, *families = clients()
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, ("---",) * len(head), *families))


README: Final = """# Contracts of the task {task}

Schemas and settings for services that request predictions, report outcomes, or read metrics and alerts. The outcome
is {kind}.

- `avro/`: self-contained Avro schemas · `json-schema/`: JSON Schema (draft 2020-12) of the JSON form
- `contract.json`: settings of clients, topics and fingerprints, for programs
- `avro/by-fingerprint/`: the schemas by fingerprint. An export keeps the files of earlier dictionaries: export into
  the same folder after each change of the features
- `examples/`: each record in both encodings; the request and its outcome have the time of the export
- `data-dictionary.md`: the features, and the reasons of dead letters

## Encodings
Readers accept both and distinguish them by the first bytes:
- **Avro single-object encoding**: `C3 01`, the schema's CRC-64-AVRO fingerprint (8 bytes, little endian), the
  body. riverloop writes this unless it is set to JSON. A record is read with the schema of its fingerprint.
- **JSON**: one object in UTF-8 without byte order mark. Fields with a default are optional; unknown fields are
  ignored; bytes are Base64; the optional field `record` is the record's type.

Schema Registry framing (first byte 0 or 1) is read where the workers have a registry; else such records become dead
letters.

| record | fingerprint on the wire | schema |
| --- | --- | --- |
{marks}

## Topics
All topics use Kafka's LogAppendTime; event time is the record's `ts`, in ms since 1970-01-01 UTC.
P is the same number for all topics.

| topic | key | partitions | content |
| --- | --- | --- | --- |
{topics}

## Keys and partitions
The key is the request_id in UTF-8, 1 to {characters} characters, not starting with NUL. Use the partitioner
`{partitioner}`, Java's default. Records on other partitions are forwarded to their own and counted.

## Settings of clients
{clients}

## Rejected records
A rejected record has no prediction. Over HTTP the answer is a problem with `reason`, `field` and `detail`. Services
that send to the topics read `{dead_letters}` with isolation `read_committed`. Each dead letter has the key of the
rejected record (its request_id), the reason, the field and a message. The record's header `client.id` is the
`producer` of its dead letter. Answers over HTTP list unknown fields and similar under `warnings`.

Records larger than {limit} bytes, and unreadable ones, become dead letters with a reason, the source position and
the original bytes.
"""
