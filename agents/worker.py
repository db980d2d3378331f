"""A worker process: the tasks it serves, made ready and wired together."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING

from agents.http.access import check_exposure
from agents.http.address import bind
from agents.settings import Settings
from agents.task_agents import TaskAgents
from infra.checked import CheckCache
from infra.commands import Commands, check_answering
from infra.kafka.acknowledging import Acknowledging
from infra.kafka.admin import check_topics
from infra.kafka.connection import Connection, parse_properties
from infra.kafka.reachable import check_reachable
from infra.kafka.watching import seen_topics
from infra.known_topics import check_foreign, read_known
from infra.loadcheck import check_task
from infra.past import PastSchemas
from infra.permissions import make_private
from infra.runtime import runtime_fingerprint
from infra.runtimes import Proof, equal_runtimes
from infra.slots import Slot
from infra.snapshots.models import LogPlace
from infra.snapshots.store import SnapshotStore
from infra.subjects import Subjects
from infra.task.context import TaskContext
from infra.task.readiness import Readiness
from infra.task.topic_watch import CurrentTopics
from infra.taskfile import LoadedTask, load_task
from infra.turns import Turns
from schemas.cloudevents import EventHeaders
from schemas.codec import Codec
from schemas.errors import UsageError
from schemas.topics import TaskTopics
from streams import native
from streams.leave_out import LeaveOut
from streams.model import ModelFold
from streams.positions import KnownTopics, rejections
from streams.serve import Server
from streams.topology import declared

if TYPE_CHECKING:
    from infra.registry.registry import Registry
    from schemas.framing import Frame

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a worker runs: one set of agents per task, by the task's name."""

    settings: Settings
    connection: Connection
    agents: dict[str, TaskAgents]
    slot: Slot
    cluster: Acknowledging


def prepare(references: Sequence[str], settings: Settings) -> Prepared:
    """Load tasks, check them, and make their agents; nothing is consumed yet.

    Raises
    ------
    UsageError
        For a wrong task file, a missing address, missing or wrong topics, an open port without a token.
    NotReproducible
        For a model whose scores or state depend on more than its entries.
    BrokerError
        When the cluster does not answer.
    """
    native.choose(settings.core)
    check_exposure(settings)
    for probe in bind(settings.http_host, settings.http_port):
        probe.close()
    _check_data(settings.data_folder)
    _check_snapshots(settings.snapshot_uri)
    loaded = [load_task(reference) for reference in references]
    names = [each.task.name for each in loaded]
    if len(set(names)) != len(names):
        raise UsageError(f"two tasks have the same name: {', '.join(names)}")
    if not settings.bootstrap:
        raise UsageError("give the Kafka cluster's address with --bootstrap or RIVERLOOP_BOOTSTRAP")
    connection = Connection(settings.bootstrap, parse_properties(settings.properties))
    check_reachable(connection)
    proofs = {}
    for each in loaded:
        started = time.monotonic()
        models = proofs[each.task.name] = check_task(
            each.reference, cache=CheckCache(settings.data_folder / "checked")
        )
        log.info(
            "%s: %d models are reproducible (%.1f s)", each.task.name, len(models), time.monotonic() - started
        )
    slot = Slot(settings.data_folder / "slots", settings.group, settings.slot)
    store = SnapshotStore(settings.snapshot_uri, settings.snapshot_key.encode() or None)
    turns, cluster = Turns(), Acknowledging()
    agents = {
        each.task.name: _task_agents(
            each, settings, connection, slot.name, turns, cluster, store, proofs[each.task.name]
        )
        for each in loaded
    }
    return Prepared(settings, connection, agents, slot, cluster)


def _registry(settings: Settings, codec: Codec) -> tuple[Registry | None, Frame | None]:
    """Let a codec read records with the framing of the registry that is set, and return what frames predictions."""
    if not settings.schema_registry:
        if settings.registry_predictions:
            raise UsageError("registry_predictions needs a schema_registry: set RIVERLOOP_SCHEMA_REGISTRY")
        return None, None
    if settings.registry_predictions and settings.json_records:
        raise UsageError("registry_predictions and json_records exclude each other")
    # Not imported by a worker without one.
    from infra.registry.registry import Registry  # noqa: PLC0415
    from infra.registry.setup import client_of, prediction_frame  # noqa: PLC0415

    client = client_of(settings.schema_registry, settings.registry_properties.splitlines())
    registry = Registry(client, codec, blocks=False)
    codec.reader.unframe = registry.unframe
    if not settings.registry_predictions:
        return registry, None
    return registry, prediction_frame(client, codec, registry, settings.data_folder)


def _check_data(folder: Path) -> None:
    """Make the data folder, for this user alone, and see that files can be written in it."""
    try:
        make_private(folder)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        file = next((each for each in (folder, *folder.parents) if each.is_file()), None)
        why = f"{file} is a file" if file else error.strerror
        raise UsageError(
            f"the data folder {folder} cannot be written: {why}; give another one with --data"
        ) from error


def _check_snapshots(uri: str) -> None:
    """Say at the start if snapshots cannot be written to a folder: without them a restart folds all of the log."""
    folder = Path(uri)
    if "://" in uri:
        return  # the first snapshot shows it
    try:
        make_private(folder)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        log.warning(
            "snapshots cannot be written to %s: %s; the worker serves without, and a restart folds the log from "
            "older ones or from its beginning: give another place with --snapshots",
            uri,
            error.strerror,
        )


def _task_agents(
    loaded: LoadedTask,
    settings: Settings,
    connection: Connection,
    slot: str,
    turns: Turns,
    cluster: Acknowledging,
    store: SnapshotStore,
    proofs: Mapping[str, Proof],
) -> TaskAgents:
    """Make the agents of a task.

    Parameters
    ----------
    proofs
        What the load check gave, by model.

    Raises
    ------
    UsageError
        When topics are missing or not as they must be, or lockstep is asked for with several partitions.
    """
    task = loaded.task
    names = TaskTopics(task.name)
    specs = declared(task, 1)
    seen = seen_topics(connection, [spec.name for spec in specs])
    plain = task.codec()
    known = read_known(plain, connection, names) if names.control in seen else KnownTopics()
    state = seen.get(names.join_state)
    partitions = known.partitions or (state.partitions if state else 1)
    rejected = dict(rejections(names, known, seen, {spec.name: spec.cleanup for spec in specs}))
    # A task that has run before, and whose topics have changed, says so while it runs.
    here = [spec for spec in declared(task, partitions) if not (known.ids and spec.name in rejected)]
    wrong = check_topics(connection, here)
    if wrong:
        raise UsageError(
            f"the topics of task {task.name} are not as they must be: {'; '.join(wrong)}; "
            f"create them with: riverloop topics create {loaded.reference}"
        )
    check_foreign(connection, task)
    if settings.lockstep and partitions != 1:
        raise UsageError(f"lockstep needs one partition, the topics of task {task.name} have {partitions}")
    subjects = Subjects.of(connection, names, task.features, settings.token_key.encode())
    codec = task.codec(subjects.keys, serving=True)
    registry, frame = _registry(settings, codec)
    subjects.load()
    PastSchemas(codec, connection, names).learn_all()
    roles, audits, _ = Commands(connection, codec, settings.group).history()
    check_answering(roles, loaded)
    runtime, log_id = runtime_fingerprint()[0], known.current(names.log) or seen[names.log].topic_id
    folds = []
    for model in task.models:
        about = (runtime, proofs[model.name], audits, store, LogPlace(names.log, log_id))
        leave_out = LeaveOut.read(roles.revisions.left_out(model.name, task.spec(model)))
        equals = equal_runtimes(loaded, model, *about)
        folds.append(ModelFold(task, model, runtime, equals=equals, leave_out=leave_out))
    for fold in folds:
        why = fold.prepare()
        log.info(
            "%s: %s learns in %s",
            *(task.name, fold.model.name, f"Python: {why}" if why else "the native core"),
        )
    server = Server(task, folds)
    events = EventHeaders(task.name, json=settings.json_records) if settings.cloudevents else None
    context = TaskContext(
        loaded, connection, codec, names, partitions, log_id, settings.group, slot, proofs, frame, events
    )
    current = CurrentTopics(partitions, known, seen)
    return TaskAgents(
        context, settings, Readiness(task.name, cluster), current, server, subjects, turns, store, registry
    )
