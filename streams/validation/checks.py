"""Checks of what a model loses: against bounds, constants, an earlier model, and on a file that is held back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any

from schemas.codec.checks import TaskKind
from schemas.dictionary import Dictionary
from schemas.records import ScoreValue
from streams.validation.material import Material, Result, number_problems, too_few


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """The mean loss of the scores, as they were stamped, is at most `limit`.

    Parameters
    ----------
    limit
        On the scale of the validation's loss.
    least
        Labels below which it is not judged.
    """

    limit: float
    least: int = 100
    from_log = True

    @property
    def name(self) -> str:
        """`loss`."""
        return "loss"

    def problems(self, kind: TaskKind, features: Dictionary) -> Iterator[str]:
        """Say what is wrong with it for a task."""
        yield from number_problems(self, limit=(0.0, 1.0), least=(1, None))

    def judge(self, material: Material) -> Result:
        """Return what it finds."""
        count = len(material.labelled)
        if count < self.least:
            return too_few(self.name, count, self.least)
        value = material.loss(material.labelled)
        text = f"{material.gain.loss} loss {value:.4g}, at most {self.limit:g}, {count:,} labels"
        return Result(self.name, value <= self.limit, text, value, self.limit, count)


@dataclass(frozen=True, slots=True, kw_only=True)
class BeatsBaseRate:
    """The mean loss is lower than that of the best constant answer in the window.

    The constant is chosen knowing the window's labels: the shares of the classes, or the median of a regression.

    Parameters
    ----------
    margin
        By how much it must be lower.
    least
        Labels below which it is not judged.
    """

    margin: float = 0.0
    least: int = 100
    from_log = True

    @property
    def name(self) -> str:
        """`base rate`."""
        return "base rate"

    def problems(self, kind: TaskKind, features: Dictionary) -> Iterator[str]:
        """Say what is wrong with it for a task."""
        yield from number_problems(self, margin=(0.0, 1.0), least=(1, None))

    def judge(self, material: Material) -> Result:
        """Return what it finds."""
        rows = material.labelled
        if len(rows) < self.least:
            return too_few(self.name, len(rows), self.least)
        constant = _constant(material.kind, [each.label for each in rows])
        value = material.loss(rows)
        limit = material.loss([each._replace(score=constant) for each in rows]) - self.margin
        text = f"{material.gain.loss} loss {value:.4g}, the best constant less the margin {limit:.4g}"
        return Result(self.name, value < limit, text, value, limit, len(rows))


def _constant(kind: TaskKind, labels: Sequence[Any]) -> ScoreValue:
    if kind == "binary":
        return fmean(labels)
    if kind == "regression":
        return float(median(labels))
    return {name: count / len(labels) for name, count in sorted(Counter(labels).items())}


@dataclass(frozen=True, slots=True, kw_only=True)
class BeatsEarlier:
    """The mean loss is not higher than that of the model that answered `ago` validations earlier, as it was then.

    Both are compared on requests that were answered since. With slow outcomes few of them have labels, and these
    are of one kind: use it where labels come soon.

    Parameters
    ----------
    ago
        Validations between the two.
    margin
        By how much the loss may be higher.
    least
        Labels below which it is not judged.
    """

    ago: int = 5
    margin: float = 0.0
    least: int = 100
    from_log = True

    @property
    def name(self) -> str:
        """`earlier`."""
        return "earlier"

    def problems(self, kind: TaskKind, features: Dictionary) -> Iterator[str]:
        """Say what is wrong with it for a task."""
        yield from number_problems(self, ago=(1, None), margin=(0.0, 1.0), least=(1, None))

    def judge(self, material: Material) -> Result:
        """Return what it finds."""
        rows = material.compared
        if len(rows) < self.least:
            return too_few(self.name, len(rows), self.least)
        loss = material.gain.loss_of
        value = fmean(loss(each.own, each.label) for each in rows)
        limit = fmean(loss(each.other, each.label) for each in rows) + self.margin
        text = f"{material.gain.loss} loss {value:.4g}, the earlier model and the margin {limit:.4g}"
        return Result(self.name, value <= limit, text, value, limit, len(rows))


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldBack:
    """The model as it is has a mean loss of at most `limit` on a data file that is not sent through the loop.

    Parameters
    ----------
    file
        In the form of the task's `data`; relative to the task file.
    limit
        On the scale of the validation's loss.
    """

    file: str
    limit: float
    from_log = False

    @property
    def name(self) -> str:
        """`held back FILE`."""
        return f"held back {self.file}"

    def problems(self, kind: TaskKind, features: Dictionary) -> Iterator[str]:
        """Say what is wrong with it for a task."""
        yield from number_problems(self, limit=(0.0, 1.0))
        file: object = self.file
        if not isinstance(file, str) or not file:
            yield f"HeldBack(file={file!r}) must name a file"

    def judge(self, material: Material) -> Result:
        """Return what it finds."""
        rows = material.held_back.get(self.file, ())
        if not rows:
            return Result(self.name, False, f"{self.file} has no row with a label")
        value = material.loss(rows)
        text = f"{material.gain.loss} loss {value:.4g}, at most {self.limit:g}, {len(rows):,} rows"
        return Result(self.name, value <= self.limit, text, value, self.limit, len(rows))
