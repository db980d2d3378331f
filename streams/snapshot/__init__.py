"""The stored form of a state: plain data, from which a snapshot is restored without trusting it."""

from streams.snapshot.read import MAX_BYTES, load
from streams.snapshot.write import dump, dump_with_classes

__all__ = ["MAX_BYTES", "dump", "dump_with_classes", "load"]
