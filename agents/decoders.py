"""What reads the records of a task's turn: requests, predictions and outcomes, in the core where that can."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from agents.settings import Settings
from infra.decoding import Decoder, scan_requests, scans
from infra.task.context import TaskContext
from schemas.event_time import TimeBounds
from schemas.records import Outcome, Prediction, Request
from schemas.remarks import Remarks
from schemas.topics import MAX_TOPIC_RECORD_BYTES
from streams.native.turn import scan_of

if TYPE_CHECKING:
    from infra.features.reader import LookupReader
    from infra.registry.registry import Registry


def decoders_of(
    context: TaskContext,
    settings: Settings,
    times: TimeBounds,
    names: Mapping[str, str],
    reader: LookupReader | None,
    request_scan: Any,
    registry: Registry | None,
) -> Mapping[str, Decoder]:
    """Return what reads the records of each topic.

    Parameters
    ----------
    times
        Within which event times lie.
    names
        Topics' names as positions have them.
    reader
        Of the look-ups; None where the task has none.
    request_scan
        The core's scan of requests, if it has one.
    registry
        Takes the framing of a schema registry away; None where none is set.
    """
    codec, topics = context.codec, context.topics

    def unframe(record: type[Any]) -> Callable[[bytes], bytes] | None:
        return None if registry is None else lambda data: registry.unframe(data, record)

    # A store on disk, and lockstep, take what records say.
    scanned = settings.join_folder(context.slot, context.task.name) is None and not settings.lockstep
    scan, scan_outcome = scans(scan_of(codec) if scanned else None)
    return {
        topics.requests: Decoder(
            codec.decode_request if reader is None else reader.decoder(codec),
            times=times,
            names=names,
            remarks=Remarks(context.task.features),
            scan=scan_requests(request_scan),
            unframe=unframe(Request),
            fields=codec.event_fields(Request),
        ),
        topics.predictions: Decoder(
            codec.decode_prediction,
            MAX_TOPIC_RECORD_BYTES,
            names=names,
            scan=scan,
            unframe=unframe(Prediction),
        ),
        topics.outcomes: Decoder(
            codec.decode_outcome,
            times=times,
            names=names,
            scan=scan_outcome,
            unframe=unframe(Outcome),
            fields=codec.event_fields(Outcome),
        ),
    }
