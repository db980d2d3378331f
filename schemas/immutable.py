"""The decorator of the records: immutable to the type checker, quick to make at run time.

A frozen dataclass sets each of its fields through `object.__setattr__`, which makes making one five times as slow;
a loop makes some twenty per event, and nearly half of the time to read an entry went there. Strict types, which
every change passes, find whoever sets a field of a record; nothing needs to find it again at run time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataclasses import dataclass as record
else:
    from dataclasses import dataclass

    def record(*, frozen, slots, order=False):
        """Make a dataclass that is hashed and compared as a frozen one is."""
        assert frozen
        return dataclass(slots=slots, order=order, unsafe_hash=True)


__all__ = ["record"]
