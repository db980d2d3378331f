"""A run of batch scoring: it skips what is written, and scores the rest with one fixed version."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from infra.scoring.forms import Form
from infra.scoring.parts import Parts
from schemas.errors import UsageError
from schemas.records import Request
from streams.batch_scoring import chunks, score
from streams.model import ModelFold


@dataclass(frozen=True, slots=True)
class Scored:
    """What a run has written."""

    rows: int
    failed: int
    """Rows on which the model failed."""
    resumed: int
    """Rows that an interrupted run had written."""

    def data(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {"rows": self.rows, "failed": self.failed, "resumed": self.resumed}


def run(
    fold: ModelFold,
    requests: Iterator[Request],
    parts: Parts,
    form: Form,
    about: dict[str, Any],
    rows_per_part: int,
    *,
    force: bool = False,
    progress: Callable[[int], None] = lambda done: None,
) -> Scored:
    """Score requests, and make the file.

    Parameters
    ----------
    fold
        The model as it was at the version.
    requests
        All of them, in the order of the file; memory holds those of one part.
    about
        What fixes the bytes; a run that was interrupted goes on when it is the same.
    rows_per_part
        Rows that an interruption may cost.
    progress
        Called with the number of rows that are written.
    """
    there = parts.open(about, force=force)
    try:
        resumed = sum(part.rows for part in there)
        _skip(requests, resumed, parts)
        rows, failed = resumed, sum(part.failed for part in there)
        # Only the last part is short, and then there is nothing left.
        for number, chunk in enumerate(chunks(requests, rows_per_part), start=len(there)):
            part = parts.write(number, form, [score(fold, each) for each in chunk])
            rows, failed = rows + part.rows, failed + part.failed
            progress(rows)
        parts.finish(form)
    finally:
        parts.close()
    return Scored(rows, failed, resumed)


def _skip(requests: Iterator[Request], count: int, parts: Parts) -> None:
    skipped = sum(1 for _ in islice(requests, count))
    if skipped < count:
        raise UsageError(
            f"{parts.folder} has {count:,} rows, and the requests are only {skipped:,}: use --force to start anew"
        )
