"""Queries for the ends of partitions that pickers wait for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from infra.kafka.buffers import NEVER, Partition, PartitionBuffer
from infra.kafka.channel_state import ChannelState, ChannelStates
from infra.kafka.stable import StableOffsets

RETRY_S = 0.1


class EndQueries:
    """Learns which empty partitions are caught up, with one query at a time.

    Parameters
    ----------
    states
        The channels whose partitions are queried.
    wake
        Called with a channel after an answer.
    """

    def __init__(
        self, stable: StableOffsets, states: ChannelStates, wake: Callable[[ChannelState], None]
    ) -> None:
        self._stable = stable
        self._states = states
        self._wake = wake
        self._wanted: set[Partition] = set()
        self._asking = False

    def is_caught_up(self, buffer: PartitionBuffer, since: float) -> bool:
        """Whether all that a partition held at a moment (s, monotonic) was handed over.

        Where that is unknown, the next `ask` includes the partition.
        """
        if buffer.known_through < since and buffer.asked < since:
            self._wanted.add(buffer.partition)
        return buffer.known_through >= since

    def ask(self) -> None:
        """Send the next query, if one is wanted and none is open."""
        if self._asking or not self._wanted:
            return
        asked, wanted = time.monotonic(), self._wanted
        self._asking, self._wanted = True, set()
        for partition in wanted:
            if (buffer := self._states.buffer(partition)) is not None:
                buffer.asked = asked
        self._stable.ask(wanted, lambda ends: self._answer(asked, wanted, ends))

    def _answer(self, asked: float, wanted: set[Partition], ends: dict[Partition, int]) -> None:
        self._asking = False
        for partition in wanted:
            state = self._states.by_topic[partition.topic]
            buffer = state.buffers.get(partition)
            if buffer is None:
                continue
            if partition in ends:
                buffer.answer(asked, ends[partition])
                self._wake(state)
            else:
                buffer.asked = NEVER
                asyncio.get_running_loop().call_later(RETRY_S, self._wake, state)
        self.ask()
