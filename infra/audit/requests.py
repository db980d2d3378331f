"""What became of a request: which version answered, by whose decision, and what was learned from it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from confluent_kafka import Message

from infra.audit.chain import ChainReader
from infra.audit.index import RequestIndex
from infra.audit.topic_reader import TopicReader
from infra.deadletters import parse_place
from infra.inbound import CHAINED, SERVED, header
from infra.kafka.admin import topic_id
from infra.kafka.connection import Connection
from infra.past import learn
from infra.taskfile import LoadedTask
from infra.web.redact import redact
from schemas.codec import Codec
from schemas.errors import BadRecord
from schemas.records import Control, Entry, Prediction
from schemas.topics import TaskTopics
from streams.audit_history import AuditHistory
from streams.chain import answers_before
from streams.learning_steps import FAMILY
from streams.policies import label_of

FOLDER: Final = "audit"


def index_path(data: Path, task: str, log_topic_id: str) -> Path:
    """Return the file of a task's index; another cluster's task of the same name has another one."""
    return data / FOLDER / f"{task}-{log_topic_id}.sqlite"


class RequestAudit:
    """Finds what became of the requests of one task; used by one thread at a time. To be closed.

    Parameters
    ----------
    connection, loaded
        Where the topics are, and the task, whose policies say what was learned.
    data
        The folder of local files.
    pause
        See `RequestIndex`.
    registered
        Lets a codec read records with the framing of a schema registry.
    """

    def __init__(
        self,
        connection: Connection,
        loaded: LoadedTask,
        data: Path,
        pause: float = 0.0,
        registered: Callable[[Codec], Codec] = lambda codec: codec,
    ) -> None:
        task, self._loaded = loaded.task, loaded
        # Without the key of tokens: what is read here is shown as it was stored, and makes no keys.
        codec = self.codec = registered(task.codec())
        self._topics = names = TaskTopics(task.name)
        self._log_topic_id = topic_id(connection, names.log)
        self._chain, self.history = ChainReader(connection, codec), AuditHistory(loaded.task.name)
        self.reader = TopicReader(connection)
        path = index_path(data, loaded.task.name, self._log_topic_id)
        self.index = RequestIndex(path, self.reader, codec, pause)
        self._replayed: dict[tuple[int, int], int] = {}
        """By place of a dead letter: the number of the audit that replayed it."""

    def close(self) -> None:
        """End the clients and close the index."""
        self.index.close()
        self.reader.close()

    def update(self, advance: Callable[[int], None] = lambda done: None) -> bool:
        """Take in what was written since the last call; see `RequestIndex.update`."""
        place = (self._topics.control, 0)
        ranges = {place: (self._chain.next_offset, self.reader.ends([place])[place])}
        for each in map(self._chain.take, self.reader.read(ranges)):
            self.history.take(each.record, each.line)
            if isinstance(each.record, Control):
                with suppress(BadRecord):  # not ours; its records stay unreadable
                    learn(self.codec, each.record.command)
                self._note_replay(each.record, each.line.number)
        return self.index.update(advance)

    def _note_replay(self, record: Control, number: int) -> None:
        if (record.kind, record.command.name) == ("audit", "replay"):
            for each in record.command.arguments.get("dead_letters", "").split():
                self._replayed[parse_place(each)] = number

    def find(self, request_id: str) -> dict[str, Any]:
        """Return all that is known of a request, as plain data; `found` says whether it is anything.

        Call `update` before.
        """
        messages = self.reader.records(self.index.find(request_id))
        names = self._topics
        by_topic = {name: list[tuple[Message, Any]]() for name in (names.predictions, names.log)}
        others = {
            name: list[Message]()
            for name in (names.requests, names.outcomes, names.dead_letters, names.alerts)
        }
        for (topic, *_), message in messages.items():
            if topic in others:
                others[topic].append(message)
            elif (record := self._record(topic, message)) is not None and _id_of(record) == request_id:
                by_topic[topic].append((message, record))
        predictions = by_topic[names.predictions]
        served = predictions[0][1] if predictions else None
        entries = list(self._entries(by_topic[names.log]))
        found = {
            "task": self._loaded.task.name,
            "request_id": request_id,
            "requests": [_place(each) | _sender(each) for each in others[names.requests]],
            "predictions": [self._prediction(*each) for each in predictions],
            "answered": None if served is None else self._answered(served),
            "outcomes": [*self._outcomes(others[names.outcomes], request_id)],
            "entries": entries,
            "dead_letters": list(self._dead_letters(others[names.dead_letters])),
            "skipped": list(self._skipped(others[names.alerts])),
        }
        lists = ("requests", "predictions", "outcomes", "entries", "dead_letters")
        return found | {"found": any(found[name] for name in lists)}

    def prediction(self, request_id: str) -> Prediction | None:
        """Return the first prediction of a request."""
        places = [each for each in self.index.find(request_id) if each[0] == self._topics.predictions]
        for message in self.reader.records(places).values():
            record = self._record(self._topics.predictions, message)
            if isinstance(record, Prediction) and record.request_id == request_id:
                return record
        return None

    def _record(self, topic: str, message: Message) -> Any:
        codec = self.codec
        with suppress(BadRecord):
            is_entry = topic == self._topics.log
            return (codec.decode_entry if is_entry else codec.decode_prediction)(message.value())
        return None

    def _prediction(self, message: Message, prediction: Prediction) -> dict[str, Any]:
        worker, dictionary = header(message, SERVED), self._loaded.task.features
        scores = [
            {
                "role": "shadow" if number else "served",
                "version": each.version,
                "model": each.model,
                "score": each.score,
                "label": each.label,
                "failure": each.failure,
            }
            for number, each in enumerate(prediction.scores)
        ]
        # One that no worker has served may hold in plain what the dictionary flags.
        hidden = {each.name for each in dictionary if worker is None and each.personal_data != "none"}
        hide_entity = worker is None and dictionary.entity_key != "none"
        return _place(message) | {
            "ts": prediction.ts,
            "over": "http" if prediction.source is None else "topic",
            "source": None if prediction.source is None else str(prediction.source),
            "worker": worker.decode(errors="replace")[:200] if worker else None,
            "entity_key": None if hide_entity else prediction.entity_key,
            "features": {name: each for name, each in prediction.features.items() if name not in hidden},
            "scores": scores,
            "propensity": prediction.propensity,
            "log_offset": prediction.log_offset,
            "after": answers_before(prediction.parents, self._loaded.task.after),
        }

    # ------------------------------------------------------------------ which model answered

    def _answered(self, prediction: Prediction) -> dict[str, Any]:
        """Say which version answered, and which commands had put it there."""
        if not prediction.scores:
            return {"version": "", "model": ""}
        score = prediction.scores[0]
        then = self.history.at(offset=prediction.log_offset)
        models = {each["model"]: each for each in then["models"]}
        return {
            "version": score.version,
            "model": score.model,
            "propensity": prediction.propensity,
            "log_offset": prediction.log_offset,
            "put_there_by": models.get(score.model, {}).get("put_there_by"),
            "revision_by": self.history.opening(score.model, score.revision),
            "models": [
                {name: each[name] for name in ("model", "role", "share", "state", "revision")}
                for each in then["models"]
            ],
        }

    # ------------------------------------------------------------------ what became of it

    def _outcomes(self, messages: list[Message], request_id: str) -> Iterator[dict[str, Any]]:
        is_open = self._loaded.task.features.reporter == "none"
        for message in messages:
            with suppress(BadRecord):
                _, fields = self.codec.reader.peek(message.value())
                if fields.get("request_id") == request_id:
                    names = ("ts", "value", "revision", "reason", *(("reporter",) if is_open else ()))
                    yield _place(message) | {name: fields.get(name) for name in names}

    def _entries(self, found: list[tuple[Message, Entry]]) -> Iterator[dict[str, Any]]:
        for message, entry in found:
            offset, outcome = message.offset() or 0, entry.outcome
            yield {
                "log_offset": offset,
                "arrived": message.timestamp()[1],
                "kind": entry.kind,
                "ts": entry.ts,
                "entry_id": entry.entry_id,
                "value": None if outcome is None else outcome.value,
                "reason": None if outcome is None else outcome.reason,
                "outcome_at": None if entry.outcome_at is None else str(entry.outcome_at),
                "prediction_at": None if entry.prediction_at is None else str(entry.prediction_at),
                "corrects": entry.corrects,
                "previous": entry.previous,
                "late_by": entry.late_by,
                "learned_by": list(self._learned(offset, entry)),
            }

    def _learned(self, offset: int, entry: Entry) -> Iterator[dict[str, Any]]:
        """Say which models had to learn an entry, with which label, by the policies of the task file."""
        for model in self._loaded.task.models:
            label = label_of(model.policy, entry, self._loaded.task.kind)
            if label is None or label.value is None:
                continue
            revision = self.history.revision(model.name, offset)
            skipped = self.history.left_out(model.name, offset)
            yield {
                "model": model.name,
                "version": None if revision is None or skipped else f"{model.name}.{revision}@{offset}",
                "label": label.value,
                "left_out": skipped,
            }

    def _dead_letters(self, messages: list[Message]) -> Iterator[dict[str, Any]]:
        for message in messages:
            with suppress(BadRecord):
                found = redact(self.codec.decode_dead_letter(message.value()), self.codec)
                place = (message.partition() or 0, message.offset() or 0)
                yield _place(message) | found | {"replayed_by_audit": self._replayed.get(place)}

    def _skipped(self, messages: list[Message]) -> Iterator[dict[str, Any]]:
        """Return the entries of the request that a model has skipped because its code raised."""
        for message in messages:
            with suppress(BadRecord):
                alert = self.codec.decode_alert(message.value())
                if alert.family == FAMILY:
                    yield {
                        "model": alert.model,
                        "version": alert.version,
                        "log_offset": alert.log_offset,
                        "exception": alert.exception,
                    }


def _id_of(record: Any) -> str | None:
    if isinstance(record, Entry):
        return None if record.prediction is None else record.prediction.request_id
    found: str | None = getattr(record, "request_id", None)
    return found


def _place(message: Message) -> dict[str, Any]:
    return {
        "at": f"{message.topic()}[{message.partition()}]@{message.offset()}",
        "arrived": message.timestamp()[1],
    }


def _sender(message: Message) -> dict[str, Any]:
    client, chained = header(message, "client.id"), header(message, CHAINED)
    return {
        "client": client.decode(errors="replace")[:200] if client else None,
        "made_of": chained.decode(errors="replace")[:300] if chained else None,
    }
