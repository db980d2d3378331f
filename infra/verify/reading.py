"""Reads a task's topics into the database, in an order that is safe while the loop goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Set
from contextlib import suppress

from infra.inbound import Message
from infra.past import controls, learn
from infra.verify.database import HistoryDatabase
from infra.verify.entries import Entries
from infra.verify.extent import Extent
from infra.verify.inputs import Inputs
from infra.verify.report import Report
from infra.verify.source import Source
from schemas.codec import Codec
from schemas.errors import BadRecord
from schemas.topics import TaskTopics
from streams.join.join_rules import JoinRules
from streams.positions import ACCEPTED, Place


class Reading:
    """Reads one history, in an order that is safe while the loop goes on.

    The join's state first: it says how far the join was. What it and whoever answered had committed by then
    lies below the other topics' ends, which are taken afterwards.
    """

    def __init__(
        self,
        source: Source,
        codec: Codec,
        rules: JoinRules,
        database: HistoryDatabase,
        report: Report,
        tick: Callable[[], None],
        skip: Set[tuple[str, int]] = frozenset(),
    ) -> None:
        self._source, self._codec, self._database, self._report, self._tick = (
            source,
            codec,
            database,
            report,
            tick,
        )
        self.topics = TaskTopics(codec.task)
        self.extent = Extent()
        self._inputs = Inputs(codec, database, report, self.extent)
        self._entries = Entries(codec, rules, database, report, self.extent, skip)

    def run(self) -> Extent:
        """Read everything; gives how far."""
        topics, extent, inputs, entries = self.topics, self.extent, self._inputs, self._entries
        self._learn_the_past()
        self._until_now(topics.join_state)
        self._read(topics.join_state, entries.state)
        self._until_now(topics.requests, topics.snapshots)
        # What is below these ends belongs to transactions that have ended when it is read. So whatever else
        # these transactions wrote lies below the ends taken next, and nothing answered seems unanswered.
        self._until_now(topics.predictions, topics.dead_letters)
        self._read(topics.predictions, inputs.predictions_first)
        self._read(topics.dead_letters, inputs.dead_letters_first)
        settled = dict(extent.end)
        self._until_now(topics.log)
        self._until_now(topics.predictions, topics.outcomes, topics.dead_letters)
        self._read(topics.predictions, inputs.predictions, settled)
        self._read(topics.dead_letters, inputs.dead_letters, settled)
        self._read(topics.requests, inputs.requests)
        self._read(topics.outcomes, inputs.outcomes)
        self._read(topics.snapshots, entries.manifests)
        self._read(topics.log, entries.entries)
        self._note_what_is_cut()
        self._report.notes += extent.note_known()
        self._database.index()
        return extent

    def _learn_the_past(self) -> None:
        """Learn the schemas of earlier revisions, by which older records are read."""
        topic, source = self.topics.control, self._source
        places = [(topic, number) for number in range(source.partitions(topic))]
        for place, end in source.ends(places).items():
            for audit in controls(self._codec, source.read(*place, source.first(*place), end)):
                command = audit.command
                with suppress(BadRecord):  # no audit of ours: its records stay unreadable, and are reported
                    learn(self._codec, command)
                self.extent.known.learn(command)
                if command.name == ACCEPTED and command.arguments.get("topic") == self.topics.log:
                    self.extent.audited.clear()  # the log was made again: what was done before is not in it
                if audit.kind == "audit" and audit.entry_id:
                    self.extent.audited.append(audit.entry_id)
        log = (self.topics.log, 0)
        if len(self.extent.known.ids.get(log[0], ())) > 1:
            (end,) = source.ends([log]).values()
            oldest = next(source.read(*log, source.first(*log), end), None)
            self.extent.log_since = 2**63 if oldest is None else oldest.timestamp()[1]

    # ------------------------------------------------------------------ topics

    def _until_now(self, *topics: str) -> None:
        source, extent = self._source, self.extent
        places = [(topic, number) for topic in topics for number in range(source.partitions(topic))]
        for place in places:
            if place not in extent.first:
                extent.first[place] = source.first(*place)
        extent.end.update(source.ends(places))

    def _read(
        self,
        topic: str,
        rows: Callable[[Iterator[Message]], None],
        starts: dict[Place, int] | None = None,
    ) -> None:
        extent = self.extent
        for place in sorted(place for place in extent.first if place[0] == topic):
            start = extent.first[place] if starts is None else starts[place]
            rows(self._counted(self._source.read(*place, start, extent.end[place])))

    def _counted(self, messages: Iterator[Message]) -> Iterator[Message]:
        for message in messages:
            self._tick()
            yield message

    def _note_what_is_cut(self) -> None:
        for (topic, number), first in sorted(self.extent.first.items()):
            if first and (topic, number) not in self.extent.seen:
                self.extent.kept_since[topic] = 2**63 - 1  # nothing of it is left
            if first and not topic.endswith((".join-state", ".snapshots")):
                self._report.notes.append(
                    f"{topic}[{number}] begins at offset {first}; earlier records were not checked"
                )
