"""Whether the models of a task may answer: caught up with the log, and of revisions that it has opened."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from infra.task.readiness import Readiness
from infra.task.warming import Warming
from streams.model import ModelFold

log = logging.getLogger(__name__)


class ModelReadiness:
    """Makes a task ready once its models may answer, and says what they wait for.

    Parameters
    ----------
    task, models
        The task's name, and its models, folded by the reader of the log.
    readiness
        Set while the models may answer.
    position
        Returns the offset up to which the log is folded, and its end, which is -1 before it is read.
    """

    def __init__(
        self,
        task: str,
        models: Sequence[ModelFold],
        readiness: Readiness,
        position: Callable[[], tuple[int, int]],
    ) -> None:
        self._task, self._models, self._readiness, self._position = task, models, readiness, position
        self.warming = Warming()
        self._caught_up = asyncio.Event()

    @property
    def caught_up(self) -> bool:
        """Whether everything that was committed when reading began is folded."""
        return self._caught_up.is_set()

    async def wait_caught_up(self) -> None:
        """Wait until it is."""
        await self._caught_up.wait()

    @property
    def not_active(self) -> list[ModelFold]:
        """The models of whose specification and runtime the log has no revision."""
        return [fold for fold in self._models if not fold.active]

    @property
    def missing(self) -> list[str]:
        """The models that answer and that this worker's task file does not have."""
        known = {fold.model.name for fold in self._models}
        return [name for name in self._models[0].roles.answering if name not in known]

    def progress(self) -> None:
        """Say how far the log is read at the start."""
        self.warming.move(*self._position())
        if not self.caught_up and not self._readiness.rejected:
            self._readiness.why = self.warming.text

    def check(self, *, caught_up: bool) -> None:
        """Say whether the models may answer.

        Parameters
        ----------
        caught_up
            Whether everything that was committed when reading began is folded now.
        """
        if caught_up and not self.caught_up:
            self._caught_up.set()
            self.progress()
            self.warming.done()
        readiness, out = self._readiness, [fold.model.name for fold in self.not_active]
        if readiness.rejected:
            readiness.not_ready("; ".join(readiness.rejected.values()))
        elif not caught_up:
            self.progress()
        elif out:
            readiness.not_ready(
                f"asking the log's owner to open a revision of {', '.join(out)}: this worker's specification or "
                "runtime is not in the log"
            )
        elif missing := self.missing:
            readiness.not_ready(
                f"{', '.join(missing)} answers requests, and this worker's task file has no such model"
            )
        elif not readiness.ready.is_set():
            readiness.set_ready()
            versions = ", ".join(str(fold.version) for fold in self._models)
            log.info("%s: ready with %s", self._task, versions)
