"""Making a served score again from the training log, bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from infra.audit.topic_reader import TopicReader
from infra.decoding import Decoder
from infra.snapshots.models import LogPlace, restore
from infra.snapshots.store import SnapshotStore
from infra.taskfile import LoadedTask
from schemas.codec import Codec
from schemas.errors import UsageError
from schemas.records import Prediction, Score
from schemas.topics import MAX_TOPIC_RECORD_BYTES, TaskTopics
from streams.model import ModelFold
from streams.verify import check_score

CORE: Final = "python"
"""The reference makes it again, whatever the worker used."""


def replay(
    loaded: LoadedTask,
    codec: Codec,
    reader: TopicReader,
    prediction: Prediction,
    runtime: str,
    store: SnapshotStore | None = None,
    advance: Callable[[int], None] = lambda done: None,
) -> list[dict[str, Any]]:
    """Fold the log up to where a prediction was made, and make its scores again (blocks).

    Parameters
    ----------
    runtime
        This process's fingerprint.
    store
        Snapshots to start from; None: the log is folded from its beginning.
    advance
        Called with the number of entries folded.

    Returns
    -------
    list of dict
        For each score: `result` is `equal`, `differs`, or `other` where another specification than the task file's,
        or another runtime, has made it; `why` says more.

    Raises
    ------
    UsageError
        The prediction does not say where it was made, or the log was cut and no snapshot reaches.
    """
    if prediction.log_offset is None:
        raise UsageError("the prediction does not carry a log offset: no worker has served it")
    end, topics = prediction.log_offset + 1, TaskTopics(loaded.task.name)
    place = (topics.log, 0)
    made = [ModelFold(loaded.task, model, runtime, CORE) for model in loaded.task.models]
    folds = {
        fold.model.name: fold for fold in made if fold.model.name in {s.model for s in prediction.scores}
    }
    log_place = LogPlace(topics.log, reader.topics([topics.log])[topics.log].topic_id)
    first = reader.firsts([place])[place]
    for fold in folds.values():
        if store is not None:
            restore(fold, store, log_place, loaded.classes, at_most=end)
        if fold.next_offset < first:
            raise UsageError(
                f"{topics.log} begins at offset {first}, and no snapshot of {fold.model.name} reaches from there "
                f"to offset {end - 1}: set --snapshots"
            )
    start = min((fold.next_offset for fold in folds.values()), default=end)
    decode = Decoder(codec.decode_entry, MAX_TOPIC_RECORD_BYTES)
    for message in reader.read({place: (start, end)}):
        entry, offset = decode(message).record, message.offset() or 0
        for fold in folds.values() if entry is not None else ():
            fold.apply(offset, entry)
        advance(offset + 1 - start)
    return [_compared(score, folds.get(score.model), prediction) for score in prediction.scores]


def _compared(score: Score, fold: ModelFold | None, prediction: Prediction) -> dict[str, Any]:
    found: dict[str, Any] = {"version": score.version, "score": score.score}
    if fold is None:
        return found | {"result": "other", "why": "the task file has no such model"}
    if not fold.active:
        why = "the task file's specification of the model, or this runtime, is not the one that answered"
        return found | {"result": "other", "why": why}
    again = fold.predict(prediction.features)
    found["again"] = again.score
    differences = [*check_score(again, score, prediction.request_id)]
    if differences:
        return found | {"result": "differs", "why": f"expected {differences[0].expected}"}
    return found | {"result": "equal", "why": f"folded to log offset {fold.next_offset - 1}"}
