"""Who has left a consumer group, and an end to the transactions that they left open."""

from __future__ import annotations

import logging
import time
import warnings
import zlib
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Final

from confluent_kafka import KafkaException

from infra.kafka.admin import client_of, failed
from infra.kafka.connection import Connection
from infra.kafka.transaction import TransactionRunner
from schemas.errors import BrokerError, TransactionAborted

ANSWER_S: Final = 3.0
HIGHEST: Final = 1 << 63
log = logging.getLogger(__name__)


def client_id(group: str, slot: str, rank: int | None = None) -> str:
    """Give the client id of a slot in a group.

    Brokers and assignors sort members by their ids, which begin with it. The digest in front makes another slot the
    first in each group: otherwise one worker would own the logs of all tasks.

    Parameters
    ----------
    rank
        Puts members of a higher rank in front; -1 is the lowest. None: the group has no ranks.

    Examples
    --------
    >>> client_id("riverloop.hotel.log", "host-0")
    'd588ebf3.host-0'
    >>> client_id("riverloop.hotel.log", "host-0", 7)
    '7ffffffffffffff8-d588ebf3.host-0'
    """
    front = "" if rank is None else f"{HIGHEST - rank - 1:016x}-"
    return f"{front}{zlib.crc32(f'{group} {slot}'.encode()):08x}.{slot}"


def members(connection: Connection, group: str) -> frozenset[str]:
    """Give the slots of a group's members (blocks).

    Notes
    -----
    `list_groups` asks the brokers and not a coordinator that the client has known, so it does not meet the crash of
    ADR 21. Of a group of the `consumer` protocol it knows nothing.

    Raises
    ------
    BrokerError
        When the cluster does not answer within 3 s.
    """
    with client_of(connection) as admin, warnings.catch_warnings():
        # Its successor, describe_consumer_groups, asks a coordinator.
        warnings.filterwarnings("ignore", r"list_groups\(\) is deprecated", DeprecationWarning)
        try:
            found = admin.list_groups(group, timeout=ANSWER_S)
        except KafkaException as error:
            raise failed(connection, f"the members of group {group} are unknown", error) from error
    # Whoever else has joined the group has no slot, and nothing that could be fenced.
    named = (str(member.client_id).partition(".") for each in found for member in each.members)
    return frozenset(slot for _, dot, slot in named if dot)


class Fencing:
    """Ends the transactions of members that have left a group, at each rebalance.

    A worker that was killed may leave a transaction open. Until the broker aborts it, after its time-out, nobody
    reads the partitions behind it: neither the training log nor the offsets of the group. Whoever initialises the
    transactional id ends it at once (docs/concepts/exactly-once.md).

    Parameters
    ----------
    group
        The consumer group; its members have the client ids that `client_id` gives.
    own
        This worker's slot, which is never fenced.
    ids
        Gives the transactional ids of a slot.
    """

    def __init__(
        self, connection: Connection, group: str, own: str, ids: Callable[[str], Iterable[str]]
    ) -> None:
        self._connection, self._group, self._own, self._ids = connection, group, own, ids
        self._known: frozenset[str] = frozenset()

    def rebalanced(self) -> list[str]:
        """Fence the slots that were members and are no longer (blocks); gives them.

        What the cluster does not answer costs nothing but time: the broker's time-out ends the transactions, too.
        """
        started = time.monotonic()
        try:
            now = members(self._connection, self._group)
        except BrokerError as error:
            log.warning("%s; transactions of dead members end by time-out", error)
            return []
        gone = sorted(self._known - now - {self._own}) if now else []
        self._known = (self._known | now) - set(gone)
        ids = [each for slot in gone for each in self._ids(slot)]
        if ids:
            with ThreadPoolExecutor(len(ids)) as pool:
                list(pool.map(self._fence, ids))
            log.info(
                "%s: fenced %s, which left the group, in %.2f s",
                *(self._group, ", ".join(gone), time.monotonic() - started),
            )
        return gone

    def _fence(self, transactional_id: str) -> None:
        with suppress(BrokerError, TransactionAborted):
            TransactionRunner(self._connection, transactional_id).fence(ANSWER_S)
