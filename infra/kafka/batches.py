"""The batches at work: commits them, ends them, and reads again those that did not count."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable
from typing import Any

from infra.kafka.aborted import GenerationLost, ProducerFenced
from infra.kafka.buffers import Partition, Record
from infra.kafka.channel import Batch
from infra.kafka.channel_state import ChannelState, ChannelStates
from infra.kafka.transaction import OutRecord, TransactionRunner
from schemas.errors import TransactionAborted

FENCED_WAIT_S = 3.0

Seek = Callable[[Collection[Partition], Callable[[list[Partition]], None]], None]
"""Reads partitions again from the committed offsets; see `FetchThread.seek_to_committed`."""

log = logging.getLogger(__name__)


class Batches:
    """The batches at work, at most one of each channel.

    Parameters
    ----------
    wake
        Called with a channel that may have its next batch.
    drain_s
        How long `drain` waits (s).
    """

    def __init__(
        self, states: ChannelStates, wake: Callable[[ChannelState], None], seek: Seek, drain_s: float
    ) -> None:
        self._states = states
        self._wake = wake
        self._seek_to_committed = seek
        self.drain_s = drain_s

    async def commit(
        self, batch: Batch[Any], runner: TransactionRunner, records: Iterable[OutRecord]
    ) -> None:
        """Write a batch's outputs and its offsets in one transaction.

        The batch is still at work afterwards: apply it to local state, then call `done`.

        Raises
        ------
        TransactionAborted
            Nothing of it counts, local state must not change, and the batch is rewound already.

        Notes
        -----
        A caller that is cancelled does not learn whether the transaction committed: it must drop its local state
        and restore it. The channel waits for the transaction's end in any case.
        """
        if self._states.of(batch).batch is not batch or batch.state != "at work":
            text = f"{batch!r} was taken back; its records are read again"
            raise TransactionAborted(text, certain=True)
        batch.state = "committing"
        transaction = asyncio.ensure_future(runner.commit(records, batch.offsets, batch.metadata))
        try:
            await asyncio.shield(transaction)
        except asyncio.CancelledError:
            transaction.add_done_callback(lambda ended: self._abandoned(batch, ended))
            raise
        except BaseException as error:
            self._rejected(batch, error)
            raise
        batch.state = "committed"

    def done(self, batch: Batch[Any]) -> None:
        """Release the channel for its next batch; the batch's offsets are committed."""
        state = self._states.of(batch)
        if state.batch is batch:
            batch.state = "committed"
            state.finish()
            self._wake(state)

    def rewind(self, batch: Batch[Any]) -> None:
        """Read the channel's partitions again from what is committed; the batch did not count."""
        state = self._states.of(batch)
        if state.batch is batch:
            batch.state = "dropped"
            state.finish()
            self.seek(state)

    def finish(self, batch: Batch[Any]) -> None:
        """End a batch that nobody works on any more: `done` if it was committed, else `rewind`."""
        if batch.state == "committed":
            self.done(batch)
        elif batch.state == "at work":
            if self._states.of(batch).batch is batch:
                log.warning("%r ended without a commit and is read again", batch)
            self.rewind(batch)

    def keep(self, batch: Batch[Any], records: list[Record[Any]]) -> None:
        """Keep a part of a batch at work; the others are delivered again, in order.

        Parameters
        ----------
        records
            Of each partition the first ones.
        """
        state = self._states.of(batch)
        if len(records) == len(batch.records) or state.batch is not batch:
            return
        kept = set(map(id, records))
        for record in reversed(batch.records):
            if id(record) not in kept and record.partition in state.queues:
                state.queues[record.partition].appendleft(record)
        batch.keep(records)

    async def drain(self, states: Iterable[ChannelState]) -> list[ChannelState]:
        """Wait for the batches at work of some channels.

        Returns
        -------
        list
            The channels whose batch was taken back: after `drain_s` it was not being committed yet.
        """
        busy = [state for state in states if state.batch is not None]
        waiting = [asyncio.ensure_future(state.idle.wait()) for state in busy]
        if waiting:
            _, late = await asyncio.wait(waiting, timeout=self.drain_s)
            for task in late:
                task.cancel()
        taken_back = []
        for state in busy:
            if state.batch is not None:
                log.warning("%r did not end within %g s of a rebalance", state.batch, self.drain_s)
                if state.batch.state == "at work":
                    state.batch.state = "dropped"
                    state.finish()
                    taken_back.append(state)
        return taken_back

    def seek(self, state: ChannelState) -> None:
        """Read all partitions of a channel again from what is committed."""
        state.seeking += 1

        def sought(partitions: list[Partition]) -> None:
            for partition in partitions:
                if partition in state.buffers:
                    state.buffers[partition].drop()
            state.seeking -= 1
            self._wake(state)

        self._seek_to_committed(list(state.buffers), sought)

    def _rejected(self, batch: Batch[Any], error: BaseException) -> None:
        state = self._states.of(batch)
        if isinstance(error, GenerationLost | ProducerFenced):
            # Not again with this metadata: the group is about to report that this consumer has lost its place.
            state.rejected = batch.metadata
        if isinstance(error, ProducerFenced):
            # Unless only the transactional id was taken over: then the group reports nothing.
            asyncio.get_running_loop().call_later(FENCED_WAIT_S, self._allow, state)
        batch.state = "at work"
        self.rewind(batch)

    def _allow(self, state: ChannelState) -> None:
        state.rejected = None
        self._wake(state)

    def _abandoned(self, batch: Batch[Any], ended: asyncio.Future[None]) -> None:
        error = asyncio.CancelledError() if ended.cancelled() else ended.exception()
        if error is None:
            self.done(batch)
        else:
            self._rejected(batch, error)
