"""What answers while a model is frozen: a copy of its state, or the state of an earlier version."""

from __future__ import annotations

from schemas.errors import SnapshotError
from streams.learner import Learner
from streams.model_state import Frozen, ModelState
from streams.snapshot.digest import state_digest
from streams.state_copy import StateCopy
from streams.task_model import Model
from streams.version import Version


def freeze(offset: int, version: Version, learner: Learner, model: Model) -> Frozen:
    """Copy the state that learns. Raises what the estimator's code raises while it is copied."""
    copied = StateCopy(learner.pipeline.reading)
    estimator = copied.made(model.make)
    return Frozen(version, offset, offset, learner.learned, learner.snapshot(), estimator, copied.data)


def freeze_at(offset: int, version: Version, state: ModelState | None, digest: str, model: Model) -> Frozen:
    """Take the state of an earlier version, in a copy.

    Raises
    ------
    SnapshotError
        The state of the version is not at hand, or not the one that the command names.
    """
    if state is None or state_digest(state.estimator) != digest:
        raise SnapshotError(f"log offset {offset} freezes {version}, whose state is not at hand here")
    copied = StateCopy(state.estimator)
    numbers = (version, offset, version.offset, state.learned, state.failures)
    return Frozen(*numbers, copied.made(model.make), copied.data)
