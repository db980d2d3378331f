"""The generated reference page of the records on the wire, from their schemas."""

from __future__ import annotations

import json
import re
from typing import Any, Final

from schemas.codec import avro_form
from schemas.limits import NAME

INTERNAL: Final = frozenset(
    {
        "JoinRecord",
        "JoinPosition",
        "EarlyOutcome",
        "Resolution",
        "Tally",
        "FeatureTally",
        "Punctuation",
        "CountedRequest",
        "AggregatesPosition",
        "Applied",
        "Manifest",
    }
)
"""Records that only riverloop itself reads."""
AS_IN: Final = "As in the request."
TIME: Final = ", ms since 1970-01-01 UTC"


def records_page() -> str:
    """Return the page of the records on the wire."""
    parts = [_record(name) for name in (*avro_form.RECORDS, *avro_form.PARTS) if name not in INTERNAL]
    return "\n\n".join(
        [
            f"""# Records

The records on the topics, from `schemas/avro/`. `riverloop schemas export TASK DIR` writes the schemas of a task
with its `Features`, as Avro and JSON Schema, with examples. [Encodings](../concepts/wire.md).

Times are ms since 1970-01-01 UTC, 0 to 2^53 - 1; offsets and counts are 0 or more. Names and ids have
up to {NAME.characters} characters. `?` marks a field that is null by default, `=` another default; fields with a
default are optional in JSON. `schemas/avro/` also has the records that only riverloop reads: those of T.join-state,
T.aggregates, T.quality, T.snapshots and lockstep runs, and workers' reports on T.control.""",
            *parts,
        ]
    )


def _record(name: str) -> str:
    schema = avro_form.load(name)
    rows = [f"- `{each['name']}` {_type(each)}: {_doc(each['doc'])}" for each in schema["fields"]]
    return "\n".join([f"## {name}\n\n{schema['doc']}\n", *rows])


def _doc(text: str) -> str:
    """Shorten a description by what the page's top says of all fields."""
    for each in (
        f"{TIME}, 0 to 2^53 - 1",
        " (ms since 1970-01-01 UTC)",
        ", 0 or more",
        f" {NAME.sentence()}",
    ):
        text = text.replace(each, "")
    if text.startswith(AS_IN):
        return AS_IN
    return re.sub(r"(up to (\d+) characters.*) At most \2 characters\.", r"\1", text)


def _type(field: avro_form.Schema) -> str:
    """Return a field's type and default."""
    node, default = field["type"], field.get("default", ...)
    nullable = isinstance(node, list) and "null" in node
    text = _shape([each for each in node if each != "null"] if nullable else node)
    text += ("/null" if default is ... else "?") * nullable
    return text if default in (..., None) else f"{text}=`{json.dumps(default)}`"


def _shape(node: Any) -> str:
    if isinstance(node, list):
        return "/".join(_shape(each) for each in node)
    if isinstance(node, str):
        name = avro_form.SHORTENED[node][0] if node in avro_form.SHORTENED else node
        return f"[{node}](#{name.lower()})" if name in (*avro_form.RECORDS, *avro_form.PARTS) else node
    if node["type"] == "enum":
        return "/".join(f"`{symbol}`" for symbol in node["symbols"])
    if node["type"] == "array":
        return f"{_shape(node['items'])}[]"
    if node["type"] == "map":
        return f"map of {_shape(node['values'])}"
    return _shape(node["type"])
