"""Restoring a state without trusting it: the task file brings the code, the snapshot brings the numbers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from schemas.errors import NotReproducible, SnapshotError
from schemas.state_table import decode
from streams.garbage import without_collection
from streams.snapshot.classes import Classes
from streams.snapshot.code import Template
from streams.snapshot.fill import Filling
from streams.snapshot.nodes import parse

MAX_BYTES: Final = 1 << 28
"""Largest state that is read, in bytes, unless stated otherwise."""
MAX_OBJECTS: Final = 1 << 23
"""Most objects of a state; each takes some hundred bytes of memory."""


def load(data: bytes, template: Any = None, classes: Iterable[type] = (), limit: int = MAX_BYTES) -> Any:
    """Restore a state.

    Parameters
    ----------
    data
        What `dump` gave.
    template
        A state of the same specification, freshly built: a model before it has learned anything. It is filled in
        and must not be used again, whether this succeeds or fails. A state of plain data needs none.
    classes
        The task file's own classes. Besides them, objects are made of River's listed classes and of those that the
        template has.
    limit
        Reject more bytes than this. The objects take up to some fifty times as much memory.

    Raises
    ------
    SnapshotError
        Naming the damage, the class that is not listed, or the code that the template does not have.

    Notes
    -----
    Not promised: that a state made of listed classes, but by somebody else, is a sensible model. Its digest and its
    probes tell, and a signature tells who wrote it.
    """
    if len(data) > limit:
        raise SnapshotError(f"the snapshot has {len(data):,} bytes; the limit is {limit:,}")
    table = decode(data)
    if not 0 < table.objects <= MAX_OBJECTS:
        raise SnapshotError(f"the snapshot has {table.objects:,} objects; the limit is {MAX_OBJECTS:,}")
    try:
        with without_collection():
            return Filling(parse(table), Template(template), Classes(classes)).root()
    except SnapshotError:
        raise
    except NotReproducible as error:
        raise SnapshotError(f"the snapshot does not fit the model: {error}") from error
    except Exception as error:  # a number where a text is expected, an index beyond a column
        raise SnapshotError(f"the snapshot is damaged: {type(error).__name__}: {error}") from error
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # how River's Rust types report damaged bytes
            raise
        raise SnapshotError(f"the snapshot is damaged: {error}") from error
