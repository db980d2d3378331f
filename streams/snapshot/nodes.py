"""A stored state's columns, read into descriptions of its objects. Nothing is made yet."""

from __future__ import annotations

from typing import Any

from schemas.errors import SnapshotError
from schemas.state_table import StateTable
from streams.snapshot.write import BIG, BLOB, CONSTANT, CONSTANTS, FLOAT, INTEGER, KINDS, OBJECT, TEXT


class Node:
    """An object as it is described, and later as it is made."""

    __slots__ = ("cls", "fields", "function", "keeps", "kind", "made", "state", "twin", "values")

    def __init__(self) -> None:
        self.kind = ""
        self.cls: str | None = None
        self.fields: dict[str, Any] = {}
        self.values: list[Any] = []
        """Atoms as they are, other objects as nodes; so are the values of `fields`."""
        self.function: Any = None
        """Of code: the function of the object's own class that it stands for."""
        self.state = 0
        self.made: Any = None
        self.twin: Any = None
        """The template's object at this place."""
        self.keeps: dict[str, Any] = {}
        """Fields that are not stored, and what they are."""


def parse(table: StateTable) -> list[Node]:
    """Read the nodes; the first one is the root.

    Raises
    ------
    SnapshotError
        When the columns do not fit one another.
    """
    if 3 * table.objects > len(table.cells):  # before anything is made of a count
        raise SnapshotError("the snapshot is damaged: it has more objects than cells")
    nodes = [Node() for _ in range(table.objects)]
    shapes = _shapes(table)
    cells, texts, floats = table.cells, table.texts, iter(table.floats)
    at = 0
    for node in nodes:
        kind, shape, more = cells[at : at + 3]
        if kind < 0 or shape < 0 or more < 0:
            raise SnapshotError("the snapshot is damaged: an object with a negative kind, shape or count")
        node.kind = KINDS[kind]
        node.cls, names = shapes[shape]
        at += 3
        end = at + len(names) + more
        if end > len(cells):
            raise SnapshotError("the snapshot is damaged: an object is longer than the file")
        values: list[Any] = []
        for cell in cells[at:end]:
            tag = cell & 7
            if tag == INTEGER:
                values.append(cell >> 3)
            elif cell < 0:
                raise SnapshotError("the snapshot is damaged: a negative index")
            elif tag == FLOAT:
                values.append(next(floats))
            elif tag == OBJECT:
                values.append(nodes[cell >> 3])
            elif tag == TEXT:
                values.append(texts[cell >> 3])
            else:
                values.append(_other(tag, cell >> 3, table))
        at = end
        node.fields = dict(zip(names, values, strict=False))
        node.values = values[len(names) :]
    if at != len(cells):
        raise SnapshotError("the snapshot is damaged: it has cells that belong to no object")
    return nodes


def _other(tag: int, index: int, table: StateTable) -> Any:
    if tag == CONSTANT:
        return CONSTANTS[index]
    if tag == BLOB:
        return table.blobs[index]
    if tag == BIG:
        return int.from_bytes(table.blobs[index], "little", signed=True)
    raise SnapshotError("the snapshot is damaged: a value of an unknown type")


def _shapes(table: StateTable) -> list[tuple[str | None, list[str]]]:
    """Give each shape's class and fields; the first one is that of an object without either."""
    found: list[tuple[str | None, list[str]]] = [(None, [])]
    at = 0
    while at < len(table.shapes):
        count = table.shapes[at]
        numbers = table.shapes[at + 1 : at + 2 + count]
        if count < 0 or len(numbers) != count + 1 or min(numbers) < 0:
            raise SnapshotError("the snapshot is damaged: a shape is cut off")
        cls, *names = (table.texts[number] for number in numbers)
        if len(set(names)) != count:
            raise SnapshotError("the snapshot is damaged: a field comes twice")
        found.append((cls, names))
        at += 2 + count
    return found
