"""Reads what came in and what was answered into the database: requests, predictions, outcomes, dead letters."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from infra.decoding import Decoder
from infra.inbound import FORWARDED, SERVED, Inbound, Message
from infra.verify.database import HistoryDatabase, chunks, fill
from infra.verify.extent import Extent, asked, made_by, mark, place_of, text_of
from infra.verify.report import Report
from schemas.codec import Codec
from schemas.errors import BadRecord
from schemas.records import Outcome, Position, Prediction, Punctuation, Request
from schemas.topics import MAX_TOPIC_RECORD_BYTES, TaskTopics
from streams.positions import plain
from streams.verify import Difference, check_scores, position_of


class Inputs:
    """Reads records of the topics on both sides of serving and into the join."""

    def __init__(self, codec: Codec, database: HistoryDatabase, report: Report, extent: Extent) -> None:
        self._codec, self._database, self._report, self._extent = codec, database, report, extent
        self._topics = topics = TaskTopics(codec.task)
        self._sides = {
            topics.requests: "requests",
            topics.predictions: "predictions",
            topics.outcomes: "outcomes",
        }

    # ------------------------------------------------------------------ inputs

    def requests(self, messages: Iterator[Message]) -> None:
        """Read a partition of `T.requests`; a forwarded request counts as the end of its original."""
        decode = Decoder(self._codec.decode_sent, fields=self._codec.event_fields(Request))
        masked = self._codec.protection.masked

        forwarded: list[tuple[Any, ...]] = []

        def rows() -> Iterator[tuple[Any, ...]]:
            for message in messages:
                item = decode(message)
                request: Request | None = item.record
                digest = None if request is None else mark(self._codec, asked(self._codec, masked(request)))
                name = "" if request is None else request.request_id
                origin = position_of((item.header(FORWARDED) or b"").decode(errors="replace"))
                if origin is not None:
                    forwarded.append(
                        ("requests", origin.partition, self._extent.offset(origin), str(item.at))
                    )
                yield item.at.partition, item.at.offset, name, digest, item.arrived

        self._report.counts["requests"] += fill(self._database, "requests", rows())
        # What was forwarded is answered where it lies now.
        self._database.insert("dead_letters", forwarded)

    def predictions_first(self, messages: Iterator[Message]) -> None:
        """Read a partition of `T.predictions` up to where all transactions have ended."""
        self.predictions(messages, settled=True)

    def predictions(self, messages: Iterator[Message], settled: bool = False) -> None:
        """Read a partition of `T.predictions`, with the scores."""
        decode = Decoder(self._codec.decode_prediction, MAX_TOPIC_RECORD_BYTES)
        scores: list[tuple[Any, ...]] = []

        def rows() -> Iterator[tuple[Any, ...]]:
            for message in messages:
                item = decode(message)
                prediction, loose = self._prediction(item)
                at = item.at
                self._extent.note(message)
                if prediction is None:
                    yield at.partition, at.offset, "", *([None] * 5), item.arrived, *([None] * 4)
                    continue
                self._report.fail(check_scores(prediction, str(at)))
                source = prediction.source
                answered = -1 if source is None else self._extent.offset(source)
                if source is not None and settled:
                    self._answered(source.partition, answered)
                scores.extend(self._scores(prediction, at, item.arrived, settled))
                yield (
                    at.partition,
                    at.offset,
                    prediction.request_id,
                    prediction.ts,
                    source.partition if source else None,
                    answered if source else None,
                    mark(self._codec, prediction),
                    mark(self._codec, asked(self._codec, loose)),
                    item.arrived,
                    item.value,
                    *made_by(prediction),
                    None if item.arrived < self._extent.log_since else prediction.log_offset,
                )

        for chunk in chunks(rows()):
            self._report.counts["predictions"] += len(chunk)
            self._database.insert("predictions", chunk)
            self._database.insert("scores", scores)
            scores.clear()

    def _prediction(self, item: Inbound) -> tuple[Prediction | None, Prediction]:
        """Give a prediction as the join takes it, and masked; one from outside is masked in both forms."""
        prediction: Prediction = item.record
        protection = self._codec.protection
        if item.bad is not None:
            return None, prediction
        if item.header(SERVED) is not None:
            return prediction, protection.masked(prediction)
        try:
            loose = protection.masked(protection.checked(prediction))
        except BadRecord:
            return None, prediction
        return loose, loose

    def _scores(
        self, prediction: Prediction, at: Position, arrived: int, settled: bool
    ) -> Iterator[tuple[Any, ...]]:
        log_end = self._extent.end.get((self._topics.log, 0), 0)
        for number, score in enumerate(prediction.scores):
            if score.revision < 1 or score.offset < -1:
                what = f"the score of model {score.model} has no version of it"
                self._report.fail(
                    [Difference(what, str(at), f"{score.model}.revision@offset", score.version)]
                )
            elif arrived < self._extent.log_since:
                self._report.counts["cut"] += 1
            else:
                applied = score.offset if prediction.log_offset is None else prediction.log_offset
                if settled or applied < log_end:
                    yield score.model, applied, score.revision, at.partition, at.offset, number

    def outcomes(self, messages: Iterator[Message]) -> None:
        """Read a partition of `T.outcomes`."""
        decode = Decoder(self._codec.decode_outcome, fields=self._codec.event_fields(Outcome))

        def rows() -> Iterator[tuple[Any, ...]]:
            for message in messages:
                item = decode(message)
                record: Outcome | Punctuation | None = item.record
                at, arrived = item.at, item.arrived
                start = (at.partition, at.offset)
                if not isinstance(record, Outcome):
                    ts = record.ts if record else None
                    yield *start, None, ts, None, None, None, arrived, None, None, int(record is not None)
                    continue
                self._report.counts["outcomes"] += 1
                origin = position_of((item.header(FORWARDED) or b"").decode(errors="replace"))
                yield (
                    *start,
                    record.request_id,
                    record.ts,
                    text_of(record.value),
                    record.revision,
                    mark(self._codec, record),
                    arrived,
                    origin.partition if origin else None,
                    self._extent.offset(origin) if origin else None,
                    0,
                )

        fill(self._database, "outcomes", rows())

    # ------------------------------------------------------------------ dead letters

    def dead_letters_first(self, messages: Iterator[Message]) -> None:
        """Read a partition of `T.dead-letters` up to where all transactions have ended."""
        self.dead_letters(messages, settled=True)

    def dead_letters(self, messages: Iterator[Message], settled: bool = False) -> None:
        """Read a partition of `T.dead-letters`."""

        def rows() -> Iterator[tuple[Any, ...]]:
            for message in messages:
                self._extent.note(message)
                self._report.counts["dead_letters"] += 1
                at = place_of(message)
                try:
                    source = self._codec.decode_dead_letter(message.value()).source
                except BadRecord as bad:
                    self._report.unreadable("a dead letter", at, bad)
                    continue
                side = self._sides.get(plain(source.topic)) if source else None
                if source is None or side is None:
                    continue
                offset = self._extent.offset(source)
                if side == "requests" and settled:
                    self._answered(source.partition, offset)
                yield side, source.partition, offset, str(at)

        fill(self._database, "dead_letters", rows())

    def _answered(self, partition: int, offset: int) -> None:
        answered = self._extent.answered
        answered[partition] = max(answered[partition], offset + 1)
