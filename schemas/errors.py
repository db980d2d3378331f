"""Every error riverloop raises on purpose.

RiverloopError
├── UsageError          a person called a command wrongly: no traceback, exit code 2
│   └── TaskError       a task file is wrong: says where and why
├── BadRecord           a record that goes to the dead letters: reason code and a sentence
├── SchemaPending       a record whose schema is asked for; it is read again
├── Unreadable          a record on a topic that only riverloop writes; the worker ends, exit code 3
├── SnapshotError       a snapshot that must not or cannot be loaded
├── StoreError          the join's state on this machine cannot be used; it is made anew from the changelog
├── NotReproducible     the load check found a component whose scores or state differ
├── BrokerError         the embedded broker or the cluster does not do what was asked
│   └── RecordsGone     records that are still needed are not on the cluster any more: says what to do
├── CallFailed          a worker's answer to a client's call that is no success: status, reason, field
├── FeaturesUnavailable the store of features does not answer in time, or refuses; serving goes on without
├── CommandRejected     a command for models that cannot be done now: says why and what to do
└── TransactionAborted  a micro-batch did not commit; it is read again
    └── ModelMissing    the model that answers is not in the task file; another worker reads the batch
"""

from __future__ import annotations


class RiverloopError(Exception):
    """Base of all errors that riverloop raises on purpose."""


class UsageError(RiverloopError):
    """A person's mistake; the message says what to do instead."""


class TaskError(UsageError):
    """A task file is wrong; the message names the place and the reason."""


class FeaturesUnavailable(RiverloopError):
    """The store of features does not answer in time, or refuses."""


class BadRecord(RiverloopError):
    """A record that cannot be used.

    Parameters
    ----------
    reason
        One of the codes in `schemas.reasons.REASONS`.
    message
        A sentence that a service engineer understands; names the field where there is one.
    field
        The field at fault, as a path such as ``features.LeadTime``; empty when it is the whole record.
    """

    def __init__(self, reason: str, message: str, field: str = "") -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.field = field


class SchemaPending(RiverloopError):
    """A record's schema is not known yet: it is asked for, and the record read again."""


class Unreadable(RiverloopError):
    """A record that cannot be read, on a topic that only riverloop writes; says where and what to do."""


class SnapshotError(RiverloopError):
    """A snapshot that is rejected: unlisted class, wrong digest, failed probe, missing file."""


class StoreError(RiverloopError):
    """State of the join that lies on this machine is damaged, or cannot be written; names the folder."""


class NotReproducible(RiverloopError):
    """A model whose scores or state depend on more than its entries; names the component."""


class BrokerError(RiverloopError):
    """The embedded broker or the cluster failed; the message names the log file or the address."""


class RecordsGone(BrokerError):
    """Retention, or a person, has deleted records from which reading must go on; nothing is skipped in silence."""


class CallFailed(RiverloopError):
    """A call of a client that did not succeed.

    Parameters
    ----------
    status
        The worker's HTTP status; 0 when nobody answered.
    reason
        A code for programs, from the reference page of HTTP; ``unreachable`` when nobody answered.
    detail
        A sentence for people.
    field
        The field at fault; empty when it is the whole call.
    """

    def __init__(self, status: int, reason: str, detail: str, field: str = "") -> None:
        super().__init__(f"{reason}: {detail}")
        self.status = status
        self.reason = reason
        self.detail = detail
        self.field = field


class CommandRejected(RiverloopError):
    """A command for models that cannot be done now; says why and what to do."""


class TransactionAborted(RiverloopError):
    """A micro-batch's transaction did not commit; its input is read again.

    Parameters
    ----------
    certain
        Whether it is known that nothing was written. Else it may have committed after all, and only what is
        committed can tell.
    """

    def __init__(self, message: str, *, certain: bool = False) -> None:
        super().__init__(message)
        self.certain = certain


class ModelMissing(TransactionAborted):
    """The model that answers a request is not in this worker's task file; another worker has it.

    Parameters
    ----------
    name
        The model's.
    """

    def __init__(self, name: str) -> None:
        super().__init__(f"model {name} answers, and this worker's task file has no such model", certain=True)
