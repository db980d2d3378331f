"""The links of the audit chain, while this worker owns the log: its records, and the checkpoints kept elsewhere."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from infra.audit.chain import AuditRecord
from infra.audit.checkpoints import Checkpoints
from infra.clock import now_ms
from infra.kafka.transaction import OutRecord
from infra.task.context import TaskContext
from schemas.audit_link import AuditLink
from streams.audit import AuditChain, Checkpoint

RETRY_S: Final = 30.0
log = logging.getLogger(__name__)


class AuditLinks:
    """Follows the chain, says which link is missing, and writes a checkpoint of each.

    A link is written in a transaction of the log's owner, so that an owner from before writes none. The same link
    written twice is the same statement.

    Parameters
    ----------
    checkpoints
        Where checkpoints go; None: nowhere.
    """

    def __init__(self, context: TaskContext, checkpoints: Checkpoints | None = None) -> None:
        self._context, self._checkpoints = context, checkpoints
        self.chain = AuditChain()
        self._offered = self._written = 0
        """The size in the newest link that `next` gave, and in the newest one that is committed."""
        self._kept: AuditLink | None = None
        """The link of the newest checkpoint."""
        self._keeping: asyncio.Task[None] | None = None

    def reset(self) -> None:
        """Begin again: `T.control` is another topic now."""
        self.chain, self._offered, self._written = AuditChain(), 0, 0

    def take(self, record: AuditRecord | None, data: bytes | None) -> None:
        """Take the next record of `T.control`."""
        false_links = self.chain.false_links
        self.chain.take(record, data)
        if self.chain.false_links > false_links:
            log.error(
                "%s: record %d of the control topic is a link that states another chain; run riverloop audit check",
                *(self._context.task.name, self.chain.size - 1),
            )

    @property
    def head(self) -> tuple[int, str]:
        """Size and head of the chain, for manifests."""
        return self.chain.top

    def next(self) -> list[OutRecord]:
        """Return the link that is to be written now; nothing while all is covered or on its way."""
        link = self.chain.link(now_ms()) if self.chain.covered >= self._written else None
        if link is None:
            return []
        self._offered = link.size
        name, codec = self._context.task.name.encode(), self._context.codec
        return [OutRecord(self._context.topics.control, name, codec.encode(link), 0)]

    def written(self) -> None:
        """Take that what `next` gave is committed; it comes back with the topic."""
        self._written = self._offered

    # ------------------------------------------------------------------ checkpoints

    def keep(self) -> None:
        """Write a checkpoint of the newest link, beside what else is done."""
        if self._checkpoints is None or self.chain.linked in {None, self._kept}:
            return
        if self._keeping is None or self._keeping.done():
            self._keeping = asyncio.get_running_loop().create_task(self._keep(), name="audit-checkpoint")

    async def _keep(self) -> None:
        while self._checkpoints is not None and (link := self.chain.linked) not in {None, self._kept}:
            assert link is not None
            checkpoint = Checkpoint(self._context.task.name, link.size, link.head, link.ts)
            try:
                await asyncio.to_thread(self._checkpoints.write, checkpoint)
                self._kept = link
            except Exception as error:  # the folder's own library may raise anything
                log.error(
                    "%s: the audit's checkpoint cannot be written to %s, tried again in %.0f s: %s",
                    *(self._context.task.name, self._checkpoints.uri, RETRY_S, error),
                )
                await asyncio.sleep(RETRY_S)

    def close(self) -> None:
        """Write no more checkpoints: another worker owns the log."""
        if self._keeping is not None:
            self._keeping.cancel()
            self._keeping = None
