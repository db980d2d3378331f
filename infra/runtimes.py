"""Whether another runtime gives the same bits: proven by what models did there, not by the processor's name."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from infra.snapshots.models import LogPlace, check_probes, opened, stored_manifests
from infra.snapshots.store import SnapshotStore
from infra.taskfile import LoadedTask
from schemas.errors import SnapshotError
from schemas.records import Control
from streams.model import ModelFold
from streams.task_model import Model

PROOF: Final = "proof"
"""Argument of a revision: by component, a digest of what it did in the load check, as JSON."""
Proof = Mapping[str, str]
log = logging.getLogger(__name__)


def equal_runtimes(
    loaded: LoadedTask,
    model: Model,
    runtime: str,
    proof: Proof,
    audits: Iterable[Control],
    store: SnapshotStore,
    place: LogPlace,
) -> frozenset[str]:
    """Return the other runtimes on which a model's revisions were opened and that give the same bits here.

    Both must hold: each component gives the same bits over the load check's examples, and the newest snapshot from
    there gives its state's digest and its probes' scores here.

    Parameters
    ----------
    runtime
        This one.
    proof
        What the load check gave here.
    audits
        Of `T.control`.
    """
    spec, found = loaded.task.spec(model), set[str]()
    opened_there: dict[str, Control] = {}
    for audit in audits:
        command = audit.command
        there = command.arguments.get("runtime", "")
        ours = (command.model, command.arguments.get("spec")) == (model.name, spec) and audit.entry_id
        opens = ours and "revision" in command.arguments
        if opens and there != runtime and (PROOF in command.arguments or there not in opened_there):
            opened_there[there] = audit
    for there, audit in opened_there.items():
        why = _differs(proof, audit.command.arguments.get(PROOF, "")) or _snapshot_differs(
            loaded, model, runtime, there, store, place
        )
        name = f"revision {audit.command.arguments['revision']} of {model.name}, opened on runtime {there}"
        if why:
            log.warning("%s: %s, is not used on this one: %s", loaded.task.name, name, why)
        else:
            log.info("%s: %s, gives the same bits on this one", loaded.task.name, name)
            found.add(there)
    return frozenset(found)


def _differs(here: Proof, text: str) -> str:
    try:
        there = json.loads(text)
    except ValueError:
        there = None
    if not isinstance(there, dict) or not there:
        return "nothing of its load check is recorded"
    parts: Sequence[str] = [place for place in here if here[place] != there.get(place)]
    if parts or here.keys() != there.keys():
        return f"{parts[0] if parts else 'the model'} gives other bits in the load check"
    return ""


def _snapshot_differs(
    loaded: LoadedTask, model: Model, runtime: str, there: str, store: SnapshotStore, place: LogPlace
) -> str:
    fold = ModelFold(loaded.task, model, runtime, equals=(there,))
    for manifest in stored_manifests(store, loaded.task.name):
        if (manifest.kind, manifest.model, manifest.spec) != ("model", model.name, fold.spec):
            continue
        if (manifest.runtime, manifest.log_topic_id) != (there, place.topic_id):
            continue
        try:
            stored = store.load(loaded.task.name, manifest.version)
            fold.restore(opened(stored, model, loaded.classes))
            check_probes(fold, stored)
        except SnapshotError as error:
            return f"its newest snapshot: {error}"
        return ""
    return ""
