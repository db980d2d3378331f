"""Reconciles the inputs with the log: nothing missing, nothing twice, nothing altered."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from infra.verify.answers import check_commands
from infra.verify.database import HistoryDatabase
from infra.verify.extent import Extent, value_of
from infra.verify.report import Report
from schemas.records import Outcome
from schemas.topics import TaskTopics
from streams.join.join_rules import JoinRules
from streams.verify import Difference, Standing, explains


class Checks:
    """Compares the tables of a database.

    A counterpart that may have been deleted by retention is not missed: such records are counted as `cut`.
    """

    def __init__(
        self,
        database: HistoryDatabase,
        extent: Extent,
        topics: TaskTopics,
        rules: JoinRules,
        dictionary: str,
        report: Report,
    ) -> None:
        self._database, self._extent, self._topics = database, extent, topics
        self._rules, self._dictionary, self._report = rules, dictionary, report
        self._lockstep = False

    def run(self) -> None:
        """Check everything."""
        self._lockstep = self._database.one("SELECT 1 FROM outcomes WHERE punctuation LIMIT 1") is not None
        for check in (
            self._requests,
            self._answers,
            self._predictions,
            self._entries,
            self._references,
            self._outcomes,
            self._forwarded,
            self._punctuations,
            self._state,
        ):
            self._report.fail(check())
        self._report.fail(check_commands(self._database, self._extent, self._topics))

    # ------------------------------------------------------------------ requests

    def _requests(self) -> Iterator[Difference]:
        """Find requests that are not answered once: by a prediction or a dead letter."""
        query = """
            SELECT p, o, arrived, digest IS NULL,
                (SELECT count(*) FROM predictions q WHERE q.source_p = r.p AND q.source_o = r.o),
                (SELECT count(*) FROM dead_letters l WHERE l.side = 'requests' AND l.p = r.p AND l.o = r.o),
                (SELECT min(v.dictionary) FROM predictions q JOIN revisions v
                    ON v.model = q.model AND v.revision = q.revision
                    WHERE q.source_p = r.p AND q.source_o = r.o)
            FROM requests r"""
        topics, counts = self._topics, self._report.counts
        for p, o, arrived, unreadable, answers, dead_letters, dictionary in self._database.rows(query):
            where = f"{topics.requests}[{p}]@{o}"
            # What another dictionary made of a request cannot be known from today's.
            older = dictionary not in {None, self._dictionary}
            if answers + dead_letters == 1 and (older or not (unreadable and answers)):
                continue
            if answers + dead_letters > 1:
                found = f"{answers} predictions, {dead_letters} dead letters"
                yield Difference("the request is answered more than once", where, "one answer", found)
            elif unreadable and answers:
                yield Difference("an unreadable request has a prediction", where, "a dead letter", "")
            elif o >= self._extent.answered[p]:
                counts["unserved"] += 1
            elif self._extent.may_be_cut(arrived, topics.predictions, topics.dead_letters):
                counts["cut"] += 1
            else:
                what = "the request has neither a prediction nor a dead letter"
                yield Difference(what, where, f"one that names {where}", "none")

    def _answers(self) -> Iterator[Difference]:
        """Find predictions that do not repeat their request as it was asked."""
        query = """
            SELECT q.p, q.o, q.source_p, q.source_o, r.o IS NULL, v.dictionary
            FROM predictions q LEFT JOIN requests r ON r.p = q.source_p AND r.o = q.source_o
            LEFT JOIN revisions v ON v.model = q.model AND v.revision = q.revision
            WHERE q.source_p IS NOT NULL
            AND (r.o IS NULL OR (r.digest IS NOT NULL AND r.digest <> q.asked))"""
        for p, o, source_p, source_o, missing, dictionary in self._database.rows(query):
            if not missing and dictionary not in {None, self._dictionary}:
                continue  # another dictionary made its features of the request
            source = f"{self._topics.requests}[{source_p}]@{source_o}"
            where = f"{self._topics.predictions}[{p}]@{o}"
            if not missing:
                what = "the prediction differs from its request in id, time, features, entity or lineage"
                yield Difference(what, where, f"as {source}", "other")
            elif self._extent.has(self._topics.requests, source_p, source_o):
                yield Difference("the prediction's request does not exist", where, source, "nothing")

    # ------------------------------------------------------------------ predictions

    def _predictions(self) -> Iterator[Difference]:
        """Find predictions that do not wait, are not resolved once, repeat no id and are no dead letters."""
        query = """
            SELECT p, o, id, ts, digest IS NULL,
                (SELECT count(*) FROM dead_letters l WHERE l.side = 'predictions' AND l.p = q.p AND l.o = q.o),
                EXISTS (SELECT 1 FROM join_records h WHERE h.p = q.p AND h.id = q.id
                    AND h.status = 'waiting' AND h.prediction_o = q.o),
                (SELECT count(*) FROM entries e
                    WHERE e.prediction_p = q.p AND e.prediction_o = q.o AND e.root AND e.within),
                (SELECT count(*) FROM entries e
                    WHERE e.prediction_p = q.p AND e.prediction_o = q.o AND e.root AND NOT e.within)
            FROM predictions q ORDER BY p, id, o"""
        topics, counts = self._topics, self._report.counts
        before: tuple[Any, ...] = (None, None, 0, 0)  # of the last one that was taken
        for p, o, name, ts, unreadable, dead_letters, waiting, within, beyond in self._database.rows(query):
            where = f"{topics.predictions}[{p}]@{o}"
            counts["waiting"] += waiting
            again = before[:2] == (p, name)
            if dead_letters + waiting + within > 1:
                state = "pending" if waiting else "not pending"
                found = f"{within} resolutions, {dead_letters} dead letters, {state}"
                yield Difference(
                    f"the prediction of {name!r} is resolved more than once", where, "once", found
                )
            elif dead_letters:
                continue
            elif waiting or within or beyond:
                if again and not self._may_be_forgotten(p, before[3]):
                    first = f"{topics.predictions}[{p}]@{before[2]}"
                    what = f"a second prediction of {name!r} was joined while the first was open"
                    yield Difference(what, where, f"only {first}", "both")
                before = (p, name, o, ts)
            elif not self._extent.is_taken(p, predictions=o):
                counts["unread_predictions"] += 1
            elif again and not unreadable and not self._is_forgotten(before[3], ts):
                counts["duplicate_predictions"] += 1
            elif self._extent.begins_later(topics.log) or self._extent.is_cut(
                topics.predictions, topics.dead_letters
            ):
                counts["cut"] += 1
            else:
                what = f"the prediction of {name!r} is not pending, and the log has no resolution of it"
                if unreadable:
                    what = "an unreadable prediction has no dead letter"
                yield Difference(what, where, "one entry, or pending", "neither")

    def _remembered_until(self, ts: int) -> int:
        return ts + self._rules.horizon_ms + self._rules.revision_horizon_ms

    def _may_be_forgotten(self, partition: int, ts: int) -> bool:
        """Whether a request can be forgotten by now: then its id may be used again."""
        position = self._extent.positions.get(partition)
        now = None if position is None else position.stream_time
        return now is None or self._remembered_until(ts) <= now

    def _is_forgotten(self, ts: int, later_ts: int) -> bool:
        """Whether a later prediction alone moved time so far that a request was forgotten."""
        if self._lockstep:
            return False  # punctuations move time there
        return self._remembered_until(ts) < later_ts - self._rules.grace_ms

    # ------------------------------------------------------------------ the log

    def _entries(self) -> Iterator[Difference]:
        """Find entries that are there twice, and those left out among what one record caused."""
        log = self._topics.log
        query = """
            SELECT entry_id, count(*), min(at), max(at) FROM entries
            GROUP BY entry_id HAVING count(*) > 1"""
        for entry_id, count, first, last in self._database.rows(query):
            what = f"entry {entry_id} is in the log more than once"
            found = f"{count} times, the first at {log}[0]@{first}"
            yield Difference(what, f"{log}[0]@{last}", "once", found)
        lowest = "min(number)" if self._extent.begins_later(log) else "0"
        query = f"""
            SELECT cause, {lowest}, max(number), count(DISTINCT number), max(at) FROM entries
            WHERE cause IS NOT NULL GROUP BY cause
            HAVING count(DISTINCT number) <> max(number) - {lowest} + 1"""  # noqa: S608  our own text
        for cause, low, high, count, at in self._database.rows(query):
            what = f"an entry caused by {cause} is not in the log"
            yield Difference(what, f"{log}[0]@{at}", f"#{low} to #{high}", f"{count} of them")

    def _references(self) -> Iterator[Difference]:
        """Find entries whose prediction or outcome is not what lies on the topic."""
        topics = self._topics
        # The log has tokens of a prediction from outside where the topic has values: it is compared masked.
        sides = (
            ("prediction", topics.predictions, "AND t.digest <> e.loose"),
            ("outcome", topics.outcomes, ""),
        )
        for side, topic, loosely in sides:
            query = f"""
                SELECT e.at, e.entry_id, e.kind, e.{side}_p, e.{side}_o, t.o IS NULL
                FROM entries e LEFT JOIN {side}s t ON t.p = e.{side}_p AND t.o = e.{side}_o
                WHERE e.{side}_p IS NOT NULL AND (
                    t.o IS NULL OR t.digest IS NULL OR (t.digest <> e.{side} {loosely}))
            """  # noqa: S608  our own names
            for at, entry_id, kind, p, o, missing in self._database.rows(query):
                where, place = f"{topics.log}[0]@{at}", f"{topic}[{p}]@{o}"
                if not missing:
                    what = f"{kind} entry {entry_id} does not match the {side} on the topic"
                    yield Difference(what, where, f"as {place}", "other")
                elif self._extent.is_kept(topic, p, o):
                    what = f"{kind} entry {entry_id} refers to a {side} that does not exist"
                    yield Difference(what, where, place, "nothing")
                else:
                    self._report.counts["cut"] += 1

    # ------------------------------------------------------------------ outcomes

    def _outcomes(self) -> Iterator[Difference]:
        """Find outcomes that did not make one entry and are not explained by what stood when they came."""
        query = """
            SELECT p, o, id, ts, value, revision, arrived,
                (SELECT count(*) FROM entries e WHERE e.outcome_p = t.p AND e.outcome_o = t.o),
                (SELECT count(*) FROM entries e WHERE e.outcome_p = t.p AND e.outcome_o = t.o AND e.within),
                (SELECT count(*) FROM dead_letters l WHERE l.side = 'outcomes' AND l.p = t.p AND l.o = t.o),
                (SELECT count(*) FROM outcomes c WHERE c.from_p = t.p AND c.from_o = t.o),
                EXISTS (SELECT 1 FROM early h WHERE h.p = t.p AND h.o = t.o)
            FROM outcomes t WHERE NOT punctuation"""
        topics, counts = self._topics, self._report.counts
        for p, o, name, ts, value, revision, arrived, *made in self._database.rows(query):
            entries, within, dead_letters, copies, early = made
            where = f"{topics.outcomes}[{p}]@{o}"
            counts["early_outcomes"] += early
            counts["forwarded_outcomes"] += copies > 0
            if entries + dead_letters + copies > 1 or (early and within):
                found = f"{entries} entries, {dead_letters} dead letters, {copies} forwarded copies"
                yield Difference(f"the outcome for {name!r} counts more than once", where, "once", found)
            elif entries or dead_letters or copies or early:
                continue
            elif not self._extent.is_taken(p, outcomes=o):
                counts["unread_outcomes"] += 1
            elif name is not None and self._repeats(p, o, Outcome(name, ts, value_of(value), revision)):
                counts["duplicate_outcomes"] += 1
            elif self._extent.begins_later(topics.log) or self._extent.may_be_cut(
                arrived, topics.dead_letters
            ):
                counts["cut"] += 1
            else:
                what = f"the outcome for {name!r} is in no entry and no dead letter, and is not a duplicate"
                if name is None:
                    what = "an unreadable outcome has no dead letter"
                yield Difference(what, where, "one entry", "none")

    def _repeats(self, p: int, o: int, outcome: Outcome) -> bool:
        row = self._database.one(
            """SELECT entry_id, kind, value, revision, ts FROM entries
            WHERE id = ? AND outcome_p = ? AND outcome_o < ? ORDER BY outcome_o DESC LIMIT 1""",
            (outcome.request_id, p, o),
        )
        return row is not None and explains(
            outcome, Standing(row[0], row[1], value_of(row[2]), row[3], row[4])
        )

    def _forwarded(self) -> Iterator[Difference]:
        """Find forwarded copies that do not say what the original says."""
        query = """
            SELECT c.p, c.o, c.from_p, c.from_o, t.o IS NULL
            FROM outcomes c LEFT JOIN outcomes t ON t.p = c.from_p AND t.o = c.from_o
            WHERE c.from_p IS NOT NULL AND (t.o IS NULL OR t.digest IS NOT c.digest)"""
        topic = self._topics.outcomes
        for p, o, from_p, from_o, missing in self._database.rows(query):
            if not missing or self._extent.has(topic, from_p, from_o):
                what = "the forwarded outcome differs from its original"
                yield Difference(what, f"{topic}[{p}]@{o}", f"as {topic}[{from_p}]@{from_o}", "other")

    def _punctuations(self) -> Iterator[Difference]:
        """Find punctuations that did not advance time and are no dead letters."""
        topic = self._topics.outcomes
        query = """
            SELECT p, o, ts FROM outcomes t WHERE punctuation
            AND NOT EXISTS (SELECT 1 FROM dead_letters l WHERE l.side = 'outcomes' AND l.p = t.p AND l.o = t.o)
            AND NOT EXISTS (SELECT 1 FROM entries e
                WHERE e.kind = 'time' AND e.cause = ? || '[' || p || ']@' || o)"""
        for p, o, ts in self._database.rows(query, (self._extent.known.name(topic),)):
            if self._extent.is_taken(p, outcomes=o) and not self._extent.begins_later(self._topics.log):
                yield Difference(
                    "the punctuation did not advance time", f"{topic}[{p}]@{o}", f"time {ts}", "no entry"
                )

    # ------------------------------------------------------------------ the join's state

    def _state(self) -> Iterator[Difference]:
        """Find what the join remembers otherwise than it lies on the topics."""
        topics = self._topics
        query = """
            SELECT h.p, h.id, h.prediction_o, q.o IS NULL
            FROM join_records h LEFT JOIN predictions q ON q.p = h.p AND q.o = h.prediction_o
            WHERE h.prediction_o IS NOT NULL AND (
                q.o IS NULL OR (q.digest IS NOT h.digest AND q.digest IS NOT h.loose))"""
        for p, name, o, missing in self._database.rows(query):
            if not missing or self._extent.is_kept(topics.predictions, p, o):
                what = f"the join's prediction of {name!r} differs from the topic's"
                place = f"{topics.predictions}[{p}]@{o}"
                yield Difference(what, f"{topics.join_state}[{p}]", f"as {place}", "other")
        query = """
            SELECT h.p, h.id, h.entry_id, c.within_id FROM join_records h
            LEFT JOIN chains c ON c.p = h.p AND c.o = h.prediction_o
            WHERE h.status = 'closed' AND c.within_id IS NOT h.entry_id"""
        for p, name, record, logged in self._database.rows(query):
            if logged is not None or not self._extent.begins_later(topics.log):
                what = f"the join's newest entry of {name!r} is not the log's"
                yield Difference(what, f"{topics.join_state}[{p}]", str(record), str(logged))
