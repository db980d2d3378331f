"""Bytes to records and back: Avro, JSON, and what a record must be."""

from schemas.codec.codec import Codec, Record

__all__ = ["Codec", "Record"]
