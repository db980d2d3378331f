"""Predictions over HTTP: acknowledged by Kafka before the answer, equal when repeated."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from agents.http.answer_body import answer_body, of_models
from agents.http.body import read_record, said_id
from agents.http.prediction_cache import Answer, PredictionCache, Sends
from agents.http.problems import Problem
from agents.http.tallies import HttpTallies
from agents.settings import Settings
from infra.clock import now_ms
from infra.kafka.transaction import Headers, OutRecord
from infra.subjects import Subjects
from infra.task.context import TaskContext
from infra.task.readiness import Readiness
from infra.task.serve import served_by
from infra.task.statistics import Statistics
from infra.turns import Turns
from schemas.errors import BadRecord, BrokerError, ModelMissing
from schemas.records import Prediction, Request
from schemas.remarks import Remark, Remarks
from streams.serve import Server

if TYPE_CHECKING:
    from agents.http.by_topic import ByTopic
    from agents.http.first_answers import FirstAnswers
    from infra.features.reader import LookupReader
    from infra.shared.predictions import Mine, SharedPredictions
    from infra.task.awaited_answers import AwaitedAnswers

NO_HEADERS: Final[Headers] = []
Claims = Mapping[str, "Mine | None"]
"""By request: whose claim a call has; None where another call is about to answer it."""


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
        shared: SharedPredictions | None = None,
        awaited: AwaitedAnswers | None = None,
    ) -> None:
        self.readiness, self._json = readiness, settings.json_records
        self.context, self.server, self.subjects = context, server, subjects
        self.statistics, self.turns, self._writer = statistics, turns, writer
        self.cache = PredictionCache(settings.prediction_cache_size)
        self._edge = HttpTallies(context, statistics, writer)
        self._remarks = Remarks(context.task.features)
        self._by_topic = None if awaited is None else self._by_topic_of(awaited)
        # Whoever serves a request reads the features of its look-ups.
        self._lookups = lookups if self._by_topic is None else None
        self._decode = self._decoder()
        self._first = None if shared is None else self._first_answers(shared)

    def _by_topic_of(self, awaited: AwaitedAnswers) -> ByTopic:
        from agents.http.by_topic import ByTopic  # noqa: PLC0415  only of tasks with aggregates

        return ByTopic(self.context, awaited)

    def _decoder(self) -> Callable[[Any], Request]:
        if self._by_topic is not None:
            return self._by_topic.decode
        codec = self.context.codec
        return codec.decode_request if self._lookups is None else self._lookups.decoder(codec)

    def _first_answers(self, shared: SharedPredictions) -> FirstAnswers:
        from agents.http.first_answers import FirstAnswers  # noqa: PLC0415  only with a shared store

        def given() -> None:
            self.statistics.counts["shared_answers"] += 1

        return FirstAnswers(
            shared, self.cache, self.context.codec, lambda prediction: answer_body(prediction, []), given
        )

    def flush(self) -> None:
        """Write the counts of requests: the worker stops."""
        self._edge.flush()

    async def answer(self, records: list[Any], headers: Headers = NO_HEADERS) -> list[bytes | Problem]:
        """Answer each record in order, with JSON or a problem; `headers` are added to what is written."""
        started = time.monotonic()
        requests: list[Request | None] = [None] * len(records)
        if self._lookups is not None or self._first is not None:
            requests = await self.turns.run(map(self._new, records))
        claims = await self._claim(requests)
        # What another call answers comes last: two workers may wait for each other.
        waits = {
            at: request
            for at, request in enumerate(requests)
            if request is not None and claims.get(request.request_id, self) is None
        }
        asked = [each for at, each in enumerate(zip(records, requests, strict=True)) if at not in waits]
        found = await self._serve(asked, claims, headers)
        # All are under way: it makes no difference in which order they are waited for.
        own = iter([await self._acknowledged(each, of[0]) for each, of in zip(found, asked, strict=True)])
        others = [self._after_another(records[at], waits[at], headers) for at in waits]
        later = iter(await asyncio.gather(*others) if others else ())
        results = [next(later if at in waits else own) for at in range(len(records))]
        took, answers = time.monotonic() - started, self.statistics.answers["http"]
        for each in results:
            if isinstance(each, bytes):
                answers.add(took)
        return results

    async def look_up(self, request_id: str) -> bytes:
        """Return the answer to an earlier request, of any worker where they share a store.

        Raises
        ------
        Problem
            404, when there is no acknowledged one.
        """
        answer = self.cache.get(request_id)
        if answer is not None and answer.acknowledged:
            return answer.body
        if self._first is not None and (body := await self._first.look_up(request_id)) is not None:
            return body
        if answer is not None:
            detail = "Kafka has not acknowledged the prediction yet: repeat the POST, or retry later"
        else:
            detail = (
                f"this worker has no cached prediction of request {request_id[:200]!r}: it keeps the last "
                f"{self.cache.most:,} HTTP predictions since its start"
                f"{'' if self._first is None else ', and the store that workers share has none or does not answer'}"
                f"; all predictions are on the topic {self.context.topics.predictions}"
            )
        raise Problem(404, "not_cached", detail)

    # ------------------------------------------------------------------ one request

    async def _claim(self, requests: Sequence[Request | None]) -> Claims:
        """Claim the new requests of a call, where workers share a store."""
        if self._first is None or not self.readiness.ready.is_set():
            return {}
        return await self._first.claim(each.request_id for each in requests if each is not None)

    async def _serve(
        self, asked: Sequence[tuple[Any, Request | None]], claims: Claims, headers: Headers
    ) -> list[Answer | Problem]:
        """Answer records, with the requests that they hold where these are read already."""
        if self._by_topic is not None and self.readiness.ready.is_set():
            try:
                await self._by_topic.follow()
            except BrokerError:
                return [self._named(self._not_acknowledged(), record) for record, _ in asked]
        requests = [request for _, request in asked]
        if self._lookups is not None and self.readiness.ready.is_set():
            new = [each is not None and self.cache.get(each.request_id) is None for each in requests]
            wanted = (each for each, is_new in zip(requests, new, strict=True) if is_new and each is not None)
            done = iter(await self._lookups.complete([*wanted]))
            requests = [next(done) if is_new else each for each, is_new in zip(requests, new, strict=True)]
        pairs = zip(asked, requests, strict=True)
        return await self.turns.run(
            self._one(record, request, claims, headers) for (record, _), request in pairs
        )

    async def _after_another(self, record: Any, request: Request, headers: Headers) -> bytes | Problem:
        """Give the answer that another call is about to give, or answer where it does not."""
        assert self._first is not None
        mine = await self._first.wait(request.request_id)
        claims = {} if mine is None else {request.request_id: mine}
        (found,) = await self._serve([(record, request)], claims, headers)
        return await self._acknowledged(found, record)

    def _new(self, record: Any) -> Request | None:
        """Read a request; None for a record that has its answer, or gets none."""
        try:
            request = self._read(record)
        except (BadRecord, Problem):
            return None  # said when it is its turn
        return None if self.cache.get(request.request_id) is not None else request

    def _one(self, record: Any, read: Request | None, claims: Claims, headers: Headers) -> Answer | Problem:
        try:
            request = read or self._read(record)
            return self._answer(request, record, claims, headers)
        except BadRecord as bad:
            self.statistics.counts["http_rejected"] += 1
            self._edge.rejected(bad)
            problem = Problem.of(bad)
        except BrokerError:
            return self._named(self._not_acknowledged(), record)
        except ModelMissing as missing:
            self.readiness.not_ready(str(missing))
            problem = not_ready(self.context.task.name, self.readiness)
        except Problem as found:
            problem = found
        if self._first is not None and read is not None and (mine := claims.get(read.request_id)):
            self._first.release(mine)
        return self._named(problem, record)

    @staticmethod
    def _named(problem: Problem, record: Any) -> Problem:
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

    def _answer(self, request: Request, sent: Any, claims: Claims, headers: Headers) -> Answer:
        answer = self.cache.get(request.request_id)
        if answer is None:
            if not self.readiness.ready.is_set():
                raise not_ready(self.context.task.name, self.readiness)
            if self._by_topic is None:
                answer = self._scored(request, sent, headers)
            else:
                unknown = self._remarks.unknown(sent)
                answer = self._by_topic.answer(
                    *(request, sent, headers), lambda prediction: self._shown(prediction, unknown)
                )
            if self._first is not None and (mine := claims.get(request.request_id)) is not None:
                answer.mine, answer.on_acknowledged = mine, self._first.acknowledged
            self.cache.add(request.request_id, answer)
            self.statistics.counts["http_predictions"] += 1
        # Salts first: what was made with one that is lost belongs to nobody.
        self.subjects.send(self._writer)
        answer.send(self._writer)
        return answer

    def _scored(self, request: Request, sent: Any, headers: Headers) -> Answer:
        # Stamp and score come from this one synchronous step.
        request = self.server.complete(request)
        prediction = self.server.predict(request)
        value = self.context.codec.encode(prediction, json=self._json)
        if self.context.frame is not None:
            value = self.context.frame(value)
        headers = [*served_by(self.context.slot), *headers]
        if self.context.events is not None:
            headers += self.context.events(request.request_id, request.ts)
        key = request.request_id.encode()
        record = OutRecord(self.context.topics.predictions, key, value, headers=headers)
        unknown = self._remarks.unknown(sent)
        answer = Answer(self._shown(prediction, unknown), record)
        self.statistics.counts["predictions"] += 1
        self._edge.answered(request, unknown)
        return answer

    def _shown(self, prediction: Prediction, unknown: list[Remark]) -> bytes:
        outside = self._remarks.outside(prediction.features)
        return answer_body(prediction, unknown + outside + of_models(self.server, prediction))

    async def _acknowledged(self, found: Answer | Problem, record: Any) -> bytes | Problem:
        if isinstance(found, Problem):
            return found
        try:
            await found.wait()
        except BrokerError:
            return self._not_acknowledged()
        except BadRecord as bad:  # where it was served
            if self._first is not None and found.mine is not None:
                self._first.release(found.mine)
            return self._named(Problem.of(bad), record)
        if self._first is not None and found.mine is not None and found.mine.late:
            await self._first.settle(found.mine, found)
        return found.body

    def _not_acknowledged(self) -> Problem:
        self.statistics.counts["http_not_acknowledged"] += 1
        detail = "Kafka did not acknowledge the prediction in time: retry with the same request_id"
        return Problem(503, "not_acknowledged", detail)


def not_ready(name: str, readiness: Readiness) -> Problem:
    """Return the problem of a task that is not ready."""
    detail = f"task {name} is not ready: {readiness.why or 'its models are being restored'}"
    return Problem(503, "not_ready", detail)
