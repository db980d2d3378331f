"""Predictions over HTTP: acknowledged by Kafka before the answer, equal when repeated."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from agents.http.body import read_record, said_id
from agents.http.prediction_cache import Answer, PredictionCache, Sends
from agents.http.problems import Problem, dump
from agents.http.tallies import HttpTallies
from agents.settings import Settings
from infra.clock import now_ms
from infra.kafka.transaction import OutRecord
from infra.subjects import Subjects
from infra.task.context import TaskContext
from infra.task.readiness import Readiness
from infra.task.serve import served_by
from infra.task.statistics import Statistics
from infra.turns import Turns
from schemas.codec.json_form import plain
from schemas.errors import BadRecord, BrokerError, ModelMissing
from schemas.records import Prediction, Request
from schemas.remarks import Remark, Remarks
from streams.aggregates.aggregates import AggregateRules
from streams.serve import Server

if TYPE_CHECKING:
    from infra.features.reader import LookupReader


class Predictions:
    """Answers the requests of one task.

    Parameters
    ----------
    settings
        The worker's: `prediction_cache_size` and `json_records`.
    """

    def __init__(
        self,
        settings: Settings,
        readiness: Readiness,
        context: TaskContext,
        server: Server,
        subjects: Subjects,
        statistics: Statistics,
        turns: Turns,
        writer: Sends,
        lookups: LookupReader | None = None,
    ) -> None:
        self.readiness, self._json = readiness, settings.json_records
        self.context, self.server, self.subjects = context, server, subjects
        self.statistics, self.turns, self._writer = statistics, turns, writer
        self.cache = PredictionCache(settings.prediction_cache_size)
        self._edge = HttpTallies(context, statistics, writer)
        self._remarks = Remarks(context.task.features)
        self._lookups = lookups
        decode = context.codec.decode_request
        self._decode = decode if lookups is None else lookups.decoder(context.codec)

    def flush(self) -> None:
        """Write the counts of requests: the worker stops."""
        self._edge.flush()

    async def answer(self, records: list[Any]) -> list[bytes | Problem]:
        """Answer each record in order, with JSON or a problem."""
        started = time.monotonic()
        looked_up = [None] * len(records) if self._lookups is None else await self._look_up(records)
        found = await self.turns.run(map(self._one, records, looked_up))
        # All are under way: it makes no difference in which order they are waited for.
        results = [await self._acknowledged(each) for each in found]
        took, answers = time.monotonic() - started, self.statistics.answers["http"]
        for each in results:
            if isinstance(each, bytes):
                answers.add(took)
        return results

    def look_up(self, request_id: str) -> bytes:
        """Return the answer to an earlier request.

        Raises
        ------
        Problem
            404, when there is no acknowledged one.
        """
        answer = self.cache.get(request_id)
        if answer is not None and answer.acknowledged:
            return answer.body
        if answer is not None:
            detail = "Kafka has not acknowledged the prediction yet: repeat the POST, or retry later"
        else:
            detail = (
                f"this worker has no cached prediction of request {request_id[:200]!r}: it keeps the last "
                f"{self.cache.most:,} HTTP predictions since its start; all predictions are on the topic "
                f"{self.context.topics.predictions}"
            )
        raise Problem(404, "not_cached", detail)

    # ------------------------------------------------------------------ one request

    async def _look_up(self, records: list[Any]) -> list[Request | None]:
        """Read the features of all new requests of a call; None for a record that has its answer, or gets none."""
        assert self._lookups is not None
        found = await self.turns.run(map(self._new, records))
        if not self.readiness.ready.is_set():
            return [None] * len(records)
        done = iter(await self._lookups.complete([each for each in found if each is not None]))
        return [None if each is None else next(done) for each in found]

    def _new(self, record: Any) -> Request | None:
        try:
            request = self._read(record)
        except (BadRecord, Problem):
            return None  # said when it is its turn
        return None if self.cache.get(request.request_id) is not None else request

    def _one(self, record: Any, looked_up: Request | None) -> Answer | Problem:
        try:
            request = looked_up or self._read(record)
            return self._answer(request, record)
        except BadRecord as bad:
            self.statistics.counts["http_rejected"] += 1
            self._edge.rejected(bad)
            problem = Problem.of(bad)
        except BrokerError:
            problem = self._not_acknowledged()
        except ModelMissing as missing:
            self.readiness.not_ready(str(missing))
            problem = not_ready(self.context.task.name, self.readiness)
        except Problem as found:
            problem = found
        if said := said_id(record):
            problem.more["request_id"] = said
        return problem

    def _read(self, record: Any) -> Request:
        arrived = now_ms()
        if isinstance(record, dict) and record.get("ts") is None:
            # Who asks when the event happens need not tell the time; the answer says which was taken.
            record = record | {"ts": self.context.codec.dialects[Request].written(arrived)}
        request = read_record(record, self._decode)
        self.server.times.check(request.ts, arrived)
        return request

    def _answer(self, request: Request, sent: Any) -> Answer:
        if self.context.task.aggregates:
            raise self._topic_only()
        answer = self.cache.get(request.request_id)
        if answer is None:
            if not self.readiness.ready.is_set():
                raise not_ready(self.context.task.name, self.readiness)
            # Stamp and score come from this one synchronous step.
            request = self.server.complete(request)
            prediction = self.server.predict(request)
            value = self.context.codec.encode(prediction, json=self._json)
            if self.context.frame is not None:
                value = self.context.frame(value)
            key = request.request_id.encode()
            headers = served_by(self.context.slot)
            if self.context.events is not None:
                headers += self.context.events(request.request_id, request.ts)
            record = OutRecord(self.context.topics.predictions, key, value, headers=headers)
            unknown = self._remarks.unknown(sent)
            odd = unknown + self._remarks.outside(request.features) + _of_models(self.server, prediction)
            answer = Answer(_body(prediction, odd), record)
            self.cache.add(request.request_id, answer)
            self.statistics.counts["predictions"] += 1
            self.statistics.counts["http_predictions"] += 1
            self._edge.answered(request, unknown)
        # Salts first: what was made with one that is lost belongs to nobody.
        self.subjects.send(self._writer)
        answer.send(self._writer)
        return answer

    async def _acknowledged(self, found: Answer | Problem) -> bytes | Problem:
        if isinstance(found, Problem):
            return found
        try:
            await found.wait()
        except BrokerError:
            return self._not_acknowledged()
        return found.body

    def _topic_only(self) -> Problem:
        """Return the problem of a task whose requests must be counted in order, by the worker of their entity."""
        by = AggregateRules.of(self.context.task).by
        detail = (
            f"task {self.context.task.name} has aggregates by {by}, which are counted in the order of "
            f"{self.context.topics.requests}: send requests there with the key {by}, and read the answers from "
            f"{self.context.topics.predictions}"
        )
        return Problem(409, "topic_only", detail)

    def _not_acknowledged(self) -> Problem:
        self.statistics.counts["http_not_acknowledged"] += 1
        detail = "Kafka did not acknowledge the prediction in time: retry with the same request_id"
        return Problem(503, "not_acknowledged", detail)


def not_ready(name: str, readiness: Readiness) -> Problem:
    """Return the problem of a task that is not ready."""
    detail = f"task {name} is not ready: {readiness.why or 'its models are being restored'}"
    return Problem(503, "not_ready", detail)


def _of_models(server: Server, prediction: Prediction) -> list[Remark]:
    """Return warnings about the score: from the fallback, or from a model that has stopped learning."""
    found, served = [], prediction.scores[0]
    drawn = server.roles.draw(prediction.request_id, prediction.entity_key)
    if served.model != drawn:
        failed = next(each for each in prediction.scores if each.model == drawn)
        detail = f"{failed.version} failed: {failed.failure}; the score is that of {served.version}"
        found.append(Remark("fallback", "score", detail))
    for fold in server.models:
        stopped = fold.learner.stopped
        if stopped is not None and fold.model.name == served.model:
            detail = f"{served.version} has stopped learning at log offset {stopped.offset}: {stopped.why}"
            found.append(Remark("stopped_learning", "score", detail))
    return found


def _body(prediction: Prediction, remarks: list[Remark]) -> bytes:
    score = prediction.scores[0]
    served = plain(score) | {"version": score.version}
    data: dict[str, Any] = {"request_id": prediction.request_id, "ts": prediction.ts}
    data |= {name: served[name] for name in ("score", "label", "version")}
    if score.interval is not None:
        data["score"] = score.score
        data["interval"] = dict(zip(("low", "high"), score.interval, strict=True))
    return dump(data | ({"warnings": [each.plain() for each in remarks]} if remarks else {}))
