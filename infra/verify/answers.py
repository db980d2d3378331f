"""Which model answered each request, and with which propensity: recomputed from the commands of the log."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from infra.verify.database import HistoryDatabase
from infra.verify.extent import Extent
from infra.verify.report import Report
from schemas.codec import Codec
from schemas.records import Entry, Prediction
from schemas.topics import TaskTopics
from streams.roles import Roles
from streams.verify import Difference, check_answer


class Answers:
    """Walks along the log with the predictions in the order of the offsets that their workers had applied.

    Parameters
    ----------
    roles
        As they were where the walk begins.
    begin
        The first offset of the walk.
    topic
        The name of `T.predictions`.
    """

    def __init__(
        self,
        roles: Roles,
        begin: int,
        codec: Codec,
        database: HistoryDatabase,
        report: Report,
        topic: str,
    ) -> None:
        self._codec, self._report, self._topic = codec, report, topic
        self._roles, self._begin = Roles(roles.task), begin
        self._roles.restore(roles.snapshot())
        self._rows = database.rows(
            "SELECT applied, p, o, record FROM predictions WHERE applied IS NOT NULL ORDER BY applied, p, o"
        )
        self._row: Any = next(self._rows, None)

    def apply(self, offset: int, entry: Entry) -> None:
        """Check what was answered before an entry, then fold it."""
        if entry.command is not None:
            self.arrive(offset)
            self._roles.apply(offset, entry)

    def arrive(self, below: int) -> None:
        """Check the predictions of workers that had applied less than an offset."""
        while self._row is not None and self._row[0] < below:
            applied, p, o, record = self._row
            if applied + 1 >= self._begin and self._roles.models:
                prediction: Prediction = self._codec.decode_prediction(record)
                found = list(check_answer(prediction, self._roles, f"{self._topic}[{p}]@{o}"))
                self._report.fail(found)
                self._report.counts["answers"] += not found
            self._row = next(self._rows, None)


def check_commands(database: HistoryDatabase, extent: Extent, topics: TaskTopics) -> Iterator[Difference]:
    """Find commands that somebody has asked for and that have an entry without an audit, or the reverse."""
    if extent.begins_later(topics.log):
        return
    query = "SELECT entry_id, at FROM entries WHERE kind = 'command'"
    done = dict(database.rows(query))
    # The audits were read first: what was done since is not among them.
    last = max((done.get(each, -1) for each in extent.audited), default=-1)
    for entry_id in extent.audited:
        if entry_id not in done:
            what = f"command {entry_id} has an audit and is not in the log"
            yield Difference(what, topics.control, entry_id, "nothing")
    for entry_id, at in done.items():
        if at <= last and entry_id not in extent.audited:
            yield Difference(f"command {entry_id} has no audit", f"{topics.log}[0]@{at}", "an audit", "none")
