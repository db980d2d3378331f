"""The exported contract of a task, read: topics, settings of clients, both encodings."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

import fastavro

from schemas.errors import BadRecord, UsageError

Encoding = Literal["json", "avro"]
MAGIC: Final = b"\xc3\x01"
"""The first bytes of Avro's single-object encoding; the schema's fingerprint follows, little endian."""
HEADER: Final = 10


class Contract:
    """A folder that `riverloop schemas export` has written.

    Parameters
    ----------
    folder
        The folder. Export into the same one after each change of the features: predictions with features that
        are new are readable as soon as their schema is there.

    Raises
    ------
    UsageError
        When the folder has no contract.
    """

    def __init__(self, folder: str | Path) -> None:
        self._folder = Path(folder)
        try:
            found = json.loads((self._folder / "contract.json").read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise UsageError(
                f"{self._folder} has no contract ({error}): run riverloop schemas export TASK {self._folder}"
            ) from error
        self.task: str = found["task"]
        self.partitioner: str = found["partitioner"]
        """As librdkafka names it."""
        self.isolation_level: str = found["isolation_level"]
        self._written: dict[str, tuple[bytes, Any]] = {}
        for record in ("request", "outcome"):
            name = found["schemas"][record]
            schema = fastavro.parse_schema(json.loads((self._folder / name["avro"]).read_text("utf-8")))
            # The contract names a fingerprint as its bytes lie on the wire.
            self._written[record] = (MAGIC + bytes.fromhex(name["fingerprint"]), schema)
        self._read: dict[bytes, Any] = {}

    def __repr__(self) -> str:
        return f"Contract({str(self._folder)!r}, task={self.task!r})"

    def topic(self, name: Literal["requests", "predictions", "outcomes", "dead-letters"]) -> str:
        """Return a topic's full name."""
        return f"{self.task}.{name}"

    def encode(
        self, record: Literal["request", "outcome"], fields: Mapping[str, Any], encoding: Encoding
    ) -> bytes:
        """Return a record's bytes.

        Raises
        ------
        BadRecord
            In Avro, when a field is missing, unknown or of the wrong type. JSON is judged by the worker, which
            sends what it cannot use to the dead letters.
        """
        if encoding == "json":
            return json.dumps(fields, allow_nan=False, separators=(",", ":")).encode()
        head, schema = self._written[record]
        out = io.BytesIO()
        out.write(head)
        try:
            fastavro.schemaless_writer(out, schema, dict(fields), strict_allow_default=True)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise BadRecord("wrong_type", f"the {record} does not follow its schema: {error}") from error
        return out.getvalue()

    def decode(self, data: bytes) -> dict[str, Any]:
        """Return the fields of a record in either encoding, of any schema that was ever exported to the folder.

        Raises
        ------
        UsageError
            The export is older than the record's schema.
        """
        if data[:2] != MAGIC:
            return dict(json.loads(data))
        schema = self._schema_of(data[2:HEADER])
        return dict(fastavro.schemaless_reader(io.BytesIO(data[HEADER:]), schema, None))  # type: ignore[arg-type]

    def _schema_of(self, fingerprint: bytes) -> Any:
        if (schema := self._read.get(fingerprint)) is None:
            path = self._folder / "avro" / "by-fingerprint" / f"{fingerprint.hex()}.avsc"
            try:
                schema = fastavro.parse_schema(json.loads(path.read_text("utf-8")))
            except FileNotFoundError:
                raise UsageError(
                    f"schema {fingerprint.hex()} is not in {self._folder}: run riverloop schemas export TASK "
                    f"{self._folder} again, with the current task file"
                ) from None
            self._read[fingerprint] = schema
        return schema
