"""The partitions whose state this worker has, and how the state comes and goes with them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable
from typing import Any, Protocol

from infra.task.readiness import Readiness, TaskStopped
from schemas.errors import TransactionAborted


class Stateful(Protocol):
    """An agent with a state for each partition: `infra.task.join.JoinAgent`, `infra.task.aggregates`."""

    @property
    def partitions(self) -> dict[int, Any]:
        """The states that may be used."""

    def restored(self, partition: int) -> Any:
        """Rebuild a state (blocks)."""

    def forget(self, partition: int) -> None:
        """Drop the state of a partition."""

    def discard(self, state: Any) -> None:
        """Let go of a restored state that is not to be used."""

    def rollback(self, partitions: Iterable[int]) -> None:
        """Drop what a batch has changed: its transaction is known not to have committed."""


class Tenures:
    """The partitions of one topic that are this worker's, with their states.

    Parameters
    ----------
    rejected
        Whether the task's topics are such that nothing may be restored.
    """

    def __init__(self, agent: Stateful, readiness: Readiness, rejected: Callable[[], bool]) -> None:
        self._agent, self._readiness, self._rejected = agent, readiness, rejected
        self._tenures: dict[int, object] = {}
        """By partition: a token of its assignment, by which a restoration finds that it is late."""

    def __bool__(self) -> bool:
        return bool(self._tenures)

    async def take_up(self, numbers: Collection[int]) -> None:
        """Restore the states of those partitions that are not ours already.

        Raises
        ------
        RecordsGone
            See `restored` of the agent.
        TaskStopped
            The task may not continue now.
        """
        new = set(numbers) - self._tenures.keys()
        self._tenures |= {number: object() for number in new}
        await self._restore_all(new)

    def revoked(self, partitions: Iterable[int]) -> None:
        """Give partitions up."""
        for number in partitions:
            self._tenures.pop(number, None)
            self._agent.forget(number)

    async def undo(self, partitions: Collection[int], error: BaseException) -> None:
        """Bring the states of partitions back to what is committed, after a batch that failed."""
        if isinstance(error, TransactionAborted) and error.certain:
            self._agent.rollback(partitions)
        else:
            # Whether it committed may be unknown, so the state is dropped and read again from the changelog.
            await self._restore_all(set(partitions) & self._tenures.keys())

    async def _restore_all(self, partitions: Iterable[int]) -> None:
        """Rebuild states from their changelog.

        A partition that goes to another worker meanwhile stays forgotten: its state here would be an old one
        when it comes back.
        """
        await asyncio.gather(*(self._restore(number) for number in sorted(partitions)))

    async def _restore(self, number: int) -> None:
        tenure = self._tenures.get(number)
        self._agent.forget(number)
        if self._rejected():
            raise TaskStopped
        made = await self._readiness.retry(self._agent.restored, number)
        if tenure is not None and self._tenures.get(number) is tenure:
            self._agent.partitions[number] = made
        else:
            self._agent.discard(made)
