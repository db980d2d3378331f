"""Commands that the log's owner gives without a request: the gate's decisions, blocks, withdrawn proposals."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from confluent_kafka import Message

from infra.clock import now_ms
from infra.kafka.log import LogReader
from infra.task.context import TaskContext
from schemas.errors import BadRecord, BrokerError, RecordsGone
from schemas.records import Command, Control
from streams.gate.lines import GateMonitor
from streams.gate.rules import MS
from streams.roles import Roles
from streams.rollout import GATE, PROPOSAL
from streams.rollout_checks import TTL

QUALITY: Final = "quality"
"""Name of the block by open data quality episodes."""
MONITOR: Final = b"quality"
"""Key of the alerts of data quality."""
log = logging.getLogger(__name__)


class GateDesk:
    """Says which command the owner gives next.

    The gate's decisions follow from the log alone. What is known elsewhere, such as an open data quality episode,
    becomes a command as well, so that the gate's fold knows it and the log proves it.

    Parameters
    ----------
    wake
        Called when there may be something to do.
    """

    def __init__(self, context: TaskContext, wake: Callable[[], None]) -> None:
        self._context, self._wake = context, wake
        self._reading: asyncio.Task[None] | None = None
        self._caught_up = False
        self._open: dict[str, str] = {}
        """Open data quality episodes, with the sentence of each."""

    def open(self) -> None:
        """Begin to read the alerts: this worker owns the log now."""
        self.close()
        if self._context.task.gate is not None:
            self._reading = asyncio.get_running_loop().create_task(self._read(), name="gate")

    def close(self) -> None:
        """Stop reading."""
        self._caught_up = False
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None

    async def _read(self) -> None:
        while True:
            self._open.clear()
            try:
                async with LogReader(
                    self._context.connection, self._context.topics.alerts, 0, None
                ) as reader:
                    async for batch in reader:
                        for message in batch.messages:
                            self.take(message)
                        self._caught_up = self._caught_up or batch.caught_up
                        self._wake()
            except (BrokerError, RecordsGone) as error:
                self._caught_up = False
                log.warning("%s: the gate waits for alerts: %s", self._context.task.name, error)
            await asyncio.sleep(1.0)

    def take(self, message: Message) -> None:
        """Take a record of `T.alerts`; episodes that only inform block nothing."""
        if message.key() != MONITOR:
            return
        try:
            alert = self._context.codec.decode_alert(message.value())
        except BadRecord:
            return
        if alert.state == "closed":
            self._open.pop(alert.episode, None)
        elif alert.severity != "info":
            self._open[alert.episode] = alert.text

    # ------------------------------------------------------------------ what is next

    def next(self, roles: Roles, gate: GateMonitor | None, is_known: Callable[[str], bool]) -> Control | None:
        """Return the request for the next command, None when there is none.

        Parameters
        ----------
        roles, gate
            At the end of the log.
        is_known
            Whether the command of an id is done, or rejected.
        """
        found = self._withdrawal(roles, gate)
        if found is None and gate is None and QUALITY in roles.rollout.blocks:
            found = self._end_block("the task file has no gate", roles)
        elif found is None and gate is not None and self._caught_up:
            found = self._block(roles) or self._decision(gate, is_known)
        if found is None or is_known(found.id):
            return None
        now = now_ms()
        return Control("request", replace(found, author=GATE, asked=now), now)

    def _withdrawal(self, roles: Roles, gate: GateMonitor | None) -> Command | None:
        for each in roles.rollout.proposals.values():
            changed = each.gate and (gate is None or gate.gate.digest != each.gate)
            if changed or now_ms() > each.expires:
                reason = "the gate's configuration has changed" if changed else "the proposal has expired"
                return Command(
                    "withdraw", each.model, {PROPOSAL: each.id}, reason=reason, id=f"{each.id}-withdrawn"
                )
        return None

    def _block(self, roles: Roles) -> Command | None:
        if bool(self._open) == (QUALITY in roles.rollout.blocks):
            return None
        if not self._open:
            return self._end_block("no data quality episode is open", roles)
        episode, text = next(iter(self._open.items()))
        reason = f"open data quality episode {episode}: {text}"[:400]
        return Command("pause", "", {"block": QUALITY}, reason=reason, id=self._block_id(roles))

    def _end_block(self, reason: str, roles: Roles) -> Command:
        arguments = {"block": QUALITY, "end": "true"}
        return Command("pause", "", arguments, reason=reason, id=self._block_id(roles))

    @staticmethod
    def _block_id(roles: Roles) -> str:
        """Return an id that no block has had: it names the command before, which the roles contain."""
        return f"gate-{QUALITY}-{roles.decisions[-1].offset}"

    def _decision(self, gate: GateMonitor, is_known: Callable[[str], bool]) -> Command | None:
        for each in gate.unlogged():
            if not is_known(each.id):
                command = each.logged()
                valid = {TTL: str(gate.gate.valid // MS)} if command.name == "propose" else {}
                return replace(command, arguments=dict(command.arguments) | valid)
        return None
