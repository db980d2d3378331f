"""Named points at which a program around a worker may observe or interrupt it; nothing happens there by default.

Fault tests use them: a subclass of `Hooks` is installed before the worker starts, and kills the process at a point,
delays a transaction or aborts it.
"""

from __future__ import annotations

from typing import Any, Final

COMMAND_POINTS: Final = (
    "before-command",  # the log's owner decides a command, and nothing of it is written
    "in-command",  # its records are produced, and not committed
    "after-command",  # they are committed, and the owner has not applied the command
    "before-revision",  # the same three where it opens a revision that a worker has asked for
    "in-revision",
    "after-revision",
)
"""Reached by each decision, in this order: its own three."""

ASIDE_POINTS: Final = (
    "before-aside",  # the owner starts the process that prepares a rollback
    "after-aside",  # that has ended, and its command is not asked for
)
"""Reached by each rollback that needs another state, in this order, in the log's owner."""

TRANSACTION_POINTS: Final = ("before-produce", "after-produce", "between-produce-and-commit", "after-commit")
"""Reached by each transaction, in this order. At the third the offsets are sent as well. At the last the
transaction is committed, and local state has not changed yet."""

MAP_POINT: Final = "between-map-and-commit"
"""What records of a topic outside the task give is produced, and not committed."""

POINTS: Final = (
    "after-poll",  # a batch is picked and not delivered yet
    "after-predict",  # a batch of requests is scored, and nothing of it is written
    *TRANSACTION_POINTS,
    *COMMAND_POINTS,
    *ASIDE_POINTS,
    "between-publish-and-commit",  # the log's owner has produced metrics and manifests, and not committed them
    MAP_POINT,
    "in-revoke",  # partitions are being revoked, their batches have ended
    "in-restore",  # the changelog is being read
    "in-snapshot",  # between two of a snapshot's files
)
"""All points."""


class Hooks:
    """What happens at the points: nothing. Subclasses override what they need.

    Methods are called from several threads.
    """

    def reached(self, point: str) -> None:
        """Act at a point of `POINTS`."""

    def transaction_begins(self, transactional_id: str) -> None:
        """Act before a transaction; may block."""

    def transaction_commits(self, transactional_id: str, producer: Any) -> None:
        """Act before the commit of a transaction on a `confluent_kafka.Producer`.

        Raises
        ------
        TransactionAborted
            When the hook has aborted it.
        """


class _Installed:
    hooks: Hooks = Hooks()


def install(hooks: Hooks) -> None:
    """Use hooks in this process from now on; transaction runners that exist keep theirs."""
    _Installed.hooks = hooks


def installed() -> Hooks:
    """Return the hooks of this process."""
    return _Installed.hooks


def reached(point: str) -> None:
    """Call the hooks of this process at a point."""
    _Installed.hooks.reached(point)
