"""How a record's bytes say what they are: the first bytes tell JSON, Avro and registry framing apart."""

from __future__ import annotations

from typing import Final, Literal

from schemas.errors import BadRecord

AVRO_MARK: Final = b"\xc3\x01"
"""First bytes of Avro's single-object encoding; an 8-byte fingerprint and the body follow."""
HEADER_BYTES: Final = 10
REGISTRY_MARK: Final = b"\x00"
"""First byte of the Schema Registry's framing; a 4-byte schema id and the body follow."""
GUID_MARK: Final = b"\x01"
"""First byte of its newer framing; a 16-byte GUID and the body follow."""
BLANKS: Final = b" \t\r\n"
"""What JSON allows before the first brace."""

Format = Literal["avro", "json"]


def detect(data: bytes | None) -> Format:
    """Tell a record's format by its first bytes.

    Parameters
    ----------
    data
        The record's value; None for a tombstone.

    Raises
    ------
    BadRecord
        `registry_framing` for a first byte of 0 or 1; `unreadable` for all else that is neither form.

    Examples
    --------
    >>> detect(b' {"request_id": "a"}')
    'json'
    """
    if not data:
        raise BadRecord("unreadable", "the record has no value")
    if data.startswith(AVRO_MARK):
        return "avro"
    if data.startswith((REGISTRY_MARK, GUID_MARK)):
        raise BadRecord(
            "registry_framing",
            "the record has Schema Registry framing, and no registry is set: set RIVERLOOP_SCHEMA_REGISTRY, or "
            "send Avro single-object encoding (C3 01) or JSON",
        )
    if data.lstrip(BLANKS).startswith(b"{"):
        return "json"
    raise BadRecord(
        "unreadable",
        # No more than the mark would be: what follows may be anybody's personal data.
        f"the record starts with {data[:2].hex(' ')}: neither Avro single-object encoding (c3 01) nor a "
        "JSON object ({)",
    )
