"""Predictions over HTTP: acknowledged by Kafka before the answer, equal when repeated."""

from __future__ import annotations

import time
from typing import Any

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
from streams.serve import Server


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
    ) -> None:
        self.readiness, self._json = readiness, settings.json_records
        self.context, self.server, self.subjects = context, server, subjects
        self.statistics, self.turns, self._writer = statistics, turns, writer
        self.cache = PredictionCache(settings.prediction_cache_size)
        self._edge = HttpTallies(context, statistics, writer)
        self._remarks = Remarks(context.task.features)

    def flush(self) -> None:
        """Write the counts of requests: the worker stops."""
        self._edge.flush()

    async def answer(self, records: list[Any]) -> list[bytes | Problem]:
        """Answer each record in order, with JSON or a problem."""
        started = time.monotonic()
        found = await self.turns.run(map(self._one, records))
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

    def _one(self, record: Any) -> Answer | Problem:
        try:
            request = self._read(record)
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
        request = read_record(record, self.context.codec.decode_request)
        self.server.times.check(request.ts, arrived)
        return request

    def _answer(self, request: Request, sent: Any) -> Answer:
        answer = self.cache.get(request.request_id)
        if answer is None:
            if not self.readiness.ready.is_set():
                raise not_ready(self.context.task.name, self.readiness)
            # Stamp and score come from this one synchronous step.
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
    return dump(data | ({"warnings": [each.plain() for each in remarks]} if remarks else {}))
