"""What follows from the confusion of classes: the matrix as it is published, and the scores of each class."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Literal
from urllib.parse import parse_qsl, urlencode

from streams.fold import Measurement
from streams.metrics.counts import ratio
from streams.metrics.slices import OTHER

Cells = Mapping[tuple[str, str], int]
"""Labels by outcome and decision."""
SCORES = ("class_precision", "class_recall", "class_f1")


def f1_of(precision: float, recall: float) -> float:
    """Return the harmonic mean in River's order of operations, for its last digit; 0 without right positives."""
    if math.isnan(precision) or math.isnan(recall) or not precision + recall:
        return 0.0
    return 2.0 * precision * recall / (precision + recall)


def matrix(cells: Cells) -> dict[str, dict[str, int]]:
    """Return the labels by outcome, then by decision; a cell of 0 is missing.

    Examples
    --------
    >>> matrix({("a", "a"): 3, ("b", "a"): 1})
    {'a': {'a': 3}, 'b': {'a': 1}}
    """
    found: dict[str, dict[str, int]] = {}
    for (outcome, decision), count in sorted(cells.items()):
        if count:
            found.setdefault(outcome, {})[decision] = count
    return found


def labels_of(cells: Cells) -> dict[str, int]:
    """Return the labels of each class, most first."""
    found: dict[str, int] = {}
    for (outcome, _), count in cells.items():
        found[outcome] = found.get(outcome, 0) + count
    return dict(sorted(found.items(), key=lambda each: (-each[1], each[0])))


def by_class(cells: Cells) -> dict[str, dict[str, float]]:
    """Return precision, recall and F1 of each class that has labels, and how many; a value may be NaN.

    Examples
    --------
    >>> by_class({("a", "a"): 3, ("b", "a"): 1})["b"]
    {'class_precision': nan, 'class_recall': 0.0, 'class_f1': 0.0, 'count': 1}
    """
    decided: dict[str, int] = {}
    for (_, decision), count in cells.items():
        decided[decision] = decided.get(decision, 0) + count
    found = {}
    for name, labels in labels_of(cells).items():
        right = cells.get((name, name), 0)
        precision, recall = ratio(right, decided.get(name, 0)), ratio(right, labels)
        scores = (precision, recall, f1_of(precision, recall))
        if labels:
            found[name] = {**dict(zip(SCORES, scores, strict=True)), "count": labels}
    return found


def cell_segment(outcome: str, decision: str) -> str:
    """Return the segment of a cell of the confusion matrix, from which both can be read again.

    Examples
    --------
    >>> cell_segment("a&b", "true")
    'outcome=a%26b&decision=true'
    >>> cell_of(cell_segment("a&b", "true"))
    ('a&b', 'true')
    """
    return urlencode({"outcome": outcome, "decision": decision})


def cell_of(segment: str) -> tuple[str, str]:
    """Return outcome and decision of such a segment."""
    found = dict(parse_qsl(segment, keep_blank_values=True))
    return found["outcome"], found["decision"]


def class_measurements(
    cells: Cells, top: int, model: str, version: str, role: Literal["served", "shadow"]
) -> Iterator[Measurement]:
    """Return the confusion matrix and the scores of the classes with most labels; the others are `other`.

    Parameters
    ----------
    top
        Classes on their own.
    model, version, role
        Whose they are.
    """
    chosen = [*labels_of(cells)][:top]
    shown: dict[tuple[str, str], int] = {}
    for (outcome, decision), count in cells.items():
        cell = (outcome if outcome in chosen else OTHER, decision if decision in chosen else OTHER)
        shown[cell] = shown.get(cell, 0) + count
    total = sum(shown.values())
    for (outcome, decision), count in sorted(shown.items()):
        segment = cell_segment(outcome, decision)
        yield Measurement("confusion", float(count), "count", total, model, version, role, "all", segment)
    scores = by_class(cells)
    for name in chosen:
        for metric in SCORES:
            value = scores[name][metric] if name in scores else math.nan
            if math.isfinite(value):
                count = int(scores[name]["count"])
                segment = f"class={name}"
                yield Measurement(metric, value, "ratio", count, model, version, role, "all", segment)
