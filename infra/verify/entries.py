"""Reads the training log and the join's state into the database; each entry is checked on the way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Set
from dataclasses import replace
from typing import Any

from infra.decoding import Decoder
from infra.inbound import Message
from infra.trusted import TrustedEntry
from infra.verify.database import HistoryDatabase, fill
from infra.verify.extent import Extent, mark, place_of, text_of, value_of
from infra.verify.report import Report
from schemas.codec import Codec
from schemas.errors import BadRecord
from schemas.records import Command, Entry, Position, Prediction
from schemas.state import RESOLVED, JoinPosition, JoinRecord, Resolution, type_of
from schemas.topics import MAX_TOPIC_RECORD_BYTES, TaskTopics
from streams.join.join_rules import JoinRules
from streams.revisions import LEFT_OUT, ROLLBACK
from streams.rollout import VALIDATION
from streams.verify import ROOTS, Difference, Standing, check_entry, check_link, is_within, trigger_of


class Entries:
    """Reads what the join and the log's owner wrote."""

    def __init__(
        self,
        codec: Codec,
        rules: JoinRules,
        database: HistoryDatabase,
        report: Report,
        extent: Extent,
        skip: Set[TrustedEntry] = frozenset(),
    ) -> None:
        self._skip = skip
        self._codec, self._rules, self._database = codec, rules, database
        self._report, self._extent = report, extent
        self._topics = TaskTopics(codec.task)
        self._revisions: Counter[str] = Counter()
        self._set_apart: dict[tuple[str, str], int] = {}
        """By model and id of a rollback: the number of the revision that it is to open."""

    # ------------------------------------------------------------------ state

    def state(self, messages: Iterator[Message]) -> None:
        """Read a partition of `T.join-state`: the newest record of each key."""
        for message in messages:
            where, number = place_of(message), place_of(message).partition
            key = bytes(message.key() or b"")
            try:
                name = key.removeprefix(RESOLVED).decode()
                if message.value() is None:
                    if not key.startswith(RESOLVED):
                        self._drop(number, name)
                    continue
                state = self._codec.decode_state(message.value())
                if type(state) is not type_of(key):
                    raise BadRecord(
                        "wrong_record", f"a {type(state).__name__} lies under the key {key!r:.100}"
                    )
                if isinstance(state, JoinPosition):
                    self._extent.positions[number] = self._now(state)
                elif isinstance(state, Resolution):
                    resolved = (state.entry_id, number, name)
                    self._database.execute(
                        "UPDATE join_records SET status = 'closed', entry_id = ? WHERE p = ? AND id = ?",
                        resolved,
                    )
                else:
                    self._drop(number, name)
                    self._insert(number, name, state)
            except BadRecord as bad:
                self._report.unreadable("the join's state", where, bad)
            except UnicodeDecodeError:
                if message.value() is not None:
                    no_text = BadRecord("malformed", "its key is not text")
                    self._report.unreadable("the join's state", where, no_text)

    def _now(self, position: JoinPosition) -> JoinPosition:
        """Give how far the join is with the topics as they are now: nothing of one that was made again."""
        known, topics = self._extent.known, self._topics
        new = [
            topic_id not in {"", known.current(topic) or topic_id}
            for topic, topic_id in (
                (topics.predictions, position.predictions_id),
                (topics.outcomes, position.outcomes_id),
            )
        ]
        return replace(
            position,
            predictions=position.predictions * (not new[0]),
            outcomes=position.outcomes * (not new[1]),
        )

    def _drop(self, number: int, request_id: str) -> None:
        known = self._database.one(
            "SELECT status FROM join_records WHERE p = ? AND id = ?", (number, request_id)
        )
        if known is None:
            return
        if known[0] == "early":
            self._database.execute("DELETE FROM early WHERE p = ? AND id = ?", (number, request_id))
        self._database.execute("DELETE FROM join_records WHERE p = ? AND id = ?", (number, request_id))

    def _insert(self, number: int, request_id: str, state: JoinRecord) -> None:
        offset = self._extent.offset(state.prediction_at) if state.prediction_at else None
        digest, loose = None, None
        if state.prediction is not None:
            digest, loose = self._marks(self._codec.held.read(request_id, state.prediction))
        entry_id = state.resolution.entry_id if state.resolution else None
        row = (number, request_id, state.status, offset, digest, loose, entry_id)
        self._database.insert("join_records", [row])
        self._database.insert(
            "early", [(number, self._extent.offset(early.at), request_id) for early in state.early]
        )

    # ------------------------------------------------------------------ the log

    def manifests(self, messages: Iterator[Message]) -> None:
        """Read `T.snapshots`: the newest record of each version."""
        for message in messages:
            version = bytes(message.key() or b"").decode(errors="replace")
            self._extent.manifests.pop(version, None)
            if message.value() is None:
                continue
            try:
                self._extent.manifests[version] = self._codec.decode_manifest(message.value())
            except BadRecord as bad:
                self._report.unreadable("a snapshot's manifest", place_of(message), bad)

    def entries(self, messages: Iterator[Message]) -> None:
        """Read `T.log`."""
        decode = Decoder(self._codec.decode_entry, MAX_TOPIC_RECORD_BYTES)

        def rows() -> Iterator[tuple[Any, ...]]:
            for message in messages:
                item = decode(message)
                if item.bad is not None and (item.at.topic, item.at.offset) in self._skip:
                    self._report.notes.append(f"{item.at} is skipped, as set: {item.bad}")
                    continue
                if item.bad is not None:
                    self._report.unreadable("an entry of the training log", item.at, item.bad)
                    continue
                yield self._entry(item.record, item.at)

        self._report.counts["entries"] += fill(self._database, "entries", rows())

    def _entry(self, entry: Entry, at: Position) -> tuple[Any, ...]:
        where, report = str(at), self._report
        report.resolutions[entry.kind] += 1
        report.fail(check_entry(entry, where, self._rules))
        within = is_within(entry, self._extent.positions, self._topics.predictions, self._extent.offset)
        if entry.command is not None and "revision" in entry.command.arguments:
            self._revision(entry, where)
        if entry.command is not None and entry.command.name == "rollback":
            self._rollback(entry.command)
        if entry.command is not None and entry.command.name == VALIDATION:
            self._extent.validations.append((at.offset, entry.command))
        place = entry.prediction_at
        if place is not None and entry.kind != "opened":
            self._link(entry, place, where, within)
        outcome, outcome_at = entry.outcome, entry.outcome_at
        numbered = place is not None or entry.kind in {"time", "backfill"}
        cause, number = trigger_of(entry) if numbered else (None, 0)
        return (
            at.offset,
            entry.entry_id,
            entry.kind,
            cause,
            number,
            int(within),
            int(entry.corrects is None and entry.kind in ROOTS),
            place.partition if place else None,
            self._extent.offset(place) if place else None,
            *(self._marks(entry.prediction) if place and entry.prediction else (None, None)),
            outcome_at.partition if outcome_at else None,
            self._extent.offset(outcome_at) if outcome_at else None,
            mark(self._codec, outcome) if outcome_at and outcome else None,
            outcome.request_id if outcome_at and outcome else None,
            text_of(outcome.value) if outcome else None,
            outcome.revision if outcome else None,
            outcome.ts if outcome else None,
        )

    def _marks(self, prediction: Prediction) -> tuple[bytes, bytes]:
        """Give the digests of a prediction: whole, and masked, as one from outside is compared."""
        return mark(self._codec, prediction), mark(self._codec, self._codec.protection.masked(prediction))

    def _link(self, entry: Entry, place: Position, where: str, within: bool) -> None:
        row = self._database.one(
            "SELECT entry_id, kind, value, revision, ts, late_by, within_id FROM chains WHERE p = ? AND o = ?",
            (place.partition, self._extent.offset(place)),
        )
        before = Standing(row[0], row[1], value_of(row[2]), *row[3:6]) if row else None
        if before is not None or not self._extent.begins_later(self._topics.log):
            self._report.fail(check_link(entry, where, before))
        now = Standing.of(entry)
        known = entry.entry_id if within else row[6] if row else None
        values = (
            now.entry_id,
            now.kind,
            text_of(now.value),
            now.revision,
            now.outcome_ts,
            now.late_by,
            known,
        )
        self._database.insert("chains", [(place.partition, self._extent.offset(place), *values)])

    def _revision(self, entry: Entry, where: str) -> None:
        command = entry.command
        assert command is not None
        arguments = command.arguments
        number = arguments.get("revision", "")
        last, rollback = self._revisions[command.model], arguments.get(ROLLBACK, "")
        expected = last + 1 if last or not self._extent.begins_later(self._topics.log) else None
        if rollback:
            expected = self._set_apart.get((command.model, rollback), None if expected is None else 0)
        if not number.isdecimal() or expected not in {None, int(number)}:
            what = f"the command that opens a revision of {command.model}"
            self._report.fail([Difference(what, where, f"revision {expected}", f"revision {number!r}")])
            return
        self._revisions[command.model] = max(last, int(number))
        row = (command.model, int(number), arguments.get("spec", ""), arguments.get("runtime", ""))
        self._database.insert("revisions", [(*row, arguments.get("dictionary"), arguments.get(LEFT_OUT, ""))])

    def _rollback(self, command: Command) -> None:
        """Note the number that a rollback sets apart for its revision."""
        number = command.arguments.get("number", "")
        if number.isdecimal() and command.arguments.get("mode") == "rebuild":
            self._set_apart[command.model, command.id] = int(number)
            self._revisions[command.model] = max(int(number), self._revisions[command.model])
