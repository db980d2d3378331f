"""Delivers the batches of a consumer's channels: which channel may have its next batch, and when."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, cast

from infra.hooks import reached
from infra.kafka.buffers import Partition
from infra.kafka.channel import Batch
from infra.kafka.channel_state import ChannelState, ChannelStates
from infra.kafka.end_queries import EndQueries
from infra.kafka.stable import StableOffsets


class Dispatcher:
    """Delivers the next batch of each channel as soon as it is allowed.

    Parameters
    ----------
    stable
        Answers which partitions are caught up.
    failed
        Called when a picker or `deliver` raises.
    """

    def __init__(
        self,
        states: ChannelStates,
        stable: StableOffsets,
        deliver: Callable[[Batch[Any]], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        self._states = states
        self._deliver = deliver
        self._failed = failed
        self._ends = EndQueries(stable, states, self.wake)
        self.paused = False
        """While it is set, nothing is delivered."""
        self.metadata = b""
        """The group's metadata for new batches; empty while this consumer is no member."""

    def wake_all(self) -> None:
        """Check soon for each channel whether its next batch may be delivered."""
        for state in self._states.all:
            self.wake(state)

    def wake(self, state: ChannelState) -> None:
        """Check soon whether a channel's next batch may be delivered."""
        if not state.scheduled:
            state.scheduled = True
            asyncio.get_running_loop().call_soon(self._dispatch, state)

    def _dispatch(self, state: ChannelState) -> None:
        state.scheduled = False
        if self.paused or not state.open or not self.metadata or state.rejected == self.metadata:
            return
        if not state.channel.may():
            return
        now = time.monotonic()
        if (rest_s := state.rest_s(now)) > 0:
            state.scheduled = True
            asyncio.get_running_loop().call_later(rest_s, self._dispatch, state)
            return

        def caught_up(partition: tuple[str, int], since: float) -> bool:
            return self._ends.is_caught_up(state.buffers[cast(Partition, partition)], since)

        try:
            records = state.picker.pick(state.queues, caught_up, state.channel.max_batch)
            state.waiting = not records and any(state.queues.values())
            if records:
                batch = Batch(state.channel, records, self.metadata)
                state.start(batch)
                state.picked = now
                reached("after-poll")
                self._deliver(batch)
        except Exception as error:  # a picker or deliver that raises: no batch of this channel is committed
            self._failed(error)
            return
        self._ends.ask()
