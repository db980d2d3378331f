"""A task's records as Arrow tables, for notebooks and scripts.

Each function takes a task as the command line does (`task.py`, `task.py:name`, a module) and reads the cluster
(`bootstrap`, by default `RIVERLOOP_BOOTSTRAP`) or, with `folder`, files of `riverloop export`. Both give the same
columns. Times without a zone are UTC. They need the extra `riverloop[parquet]`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from agents.cli.cluster import connect
from agents.settings import Settings, from_environment
from infra.frames import reading
from infra.frames.export import TimeSpan
from infra.frames.reading import Moment, Read, ms_of
from infra.frames.source import TaskRows
from infra.taskfile import load_task
from infra.trusted import places
from streams.rows import What

if TYPE_CHECKING:
    import pyarrow

__all__ = ["as_of", "examples", "metrics", "predictions", "records"]


def examples(
    task: str,
    *,
    since: Moment | None = None,
    until: Moment | None = None,
    folder: str | Path | None = None,
    bootstrap: str | None = None,
) -> pyarrow.Table:
    """Return one row for each request that is resolved: its features, its scores and its newest outcome.

    Parameters
    ----------
    task
        The task.
    since, until
        Requests of this event time or later, and before that one.
    folder
        Read exported files of `--what log` in this folder, not the cluster.
    bootstrap
        The cluster.

    Returns
    -------
    pyarrow.Table
        In the order of the log. `kind` says what became of the request, `value` is its outcome.

    Raises
    ------
    UsageError
        A time cannot be read, nothing is exported, or pyarrow is missing.
    BrokerError
        The cluster does not answer.
    """
    log = _reader(task, folder, bootstrap)("log", TimeSpan())
    return reading.of_requests(reading.examples(log), _span(since, until))


def as_of(
    task: str,
    when: int | Moment,
    *,
    folder: str | Path | None = None,
    bootstrap: str | None = None,
) -> pyarrow.Table:
    """Return the examples as they were known at a moment.

    Parameters
    ----------
    task, folder, bootstrap
        See `examples`.
    when
        A time, by the event times of the log's entries, inclusive; or a log offset, inclusive: `9999` gives what
        the version `lr.1@9999` had read.

    Returns
    -------
    pyarrow.Table
        As `examples`, without what became known later.

    Raises
    ------
    UsageError, BrokerError
        See `examples`.
    """
    read = _reader(task, folder, bootstrap)
    if isinstance(when, int):
        return reading.examples(reading.known_at(read("log", TimeSpan()), when))
    at = ms_of("when", when)
    return reading.examples(read("log", TimeSpan(None, None if at is None else at + 1)))


def predictions(
    task: str,
    *,
    since: Moment | None = None,
    until: Moment | None = None,
    folder: str | Path | None = None,
    bootstrap: str | None = None,
) -> pyarrow.Table:
    """Return the predictions as they were served, by partition and offset; see `examples`."""
    return _reader(task, folder, bootstrap)("predictions", _span(since, until))


def metrics(
    task: str,
    name: str | None = None,
    *,
    since: Moment | None = None,
    until: Moment | None = None,
    folder: str | Path | None = None,
    bootstrap: str | None = None,
) -> pyarrow.Table:
    """Return metrics over time: those of a name, or all; see `examples`."""
    table = _reader(task, folder, bootstrap)("metrics", _span(since, until))
    return table if name is None else reading.equal(table, "name", name)


def records(
    task: str,
    what: What,
    *,
    since: Moment | None = None,
    until: Moment | None = None,
    folder: str | Path | None = None,
    bootstrap: str | None = None,
) -> pyarrow.Table:
    """Return all records of a kind: `log`, `predictions`, `outcomes`, `metrics`, `alerts` or `decisions`."""
    return _reader(task, folder, bootstrap)(what, _span(since, until))


def _span(since: Moment | None, until: Moment | None) -> TimeSpan:
    return TimeSpan(ms_of("since", since), ms_of("until", until))


def _reader(task: str, folder: str | Path | None, bootstrap: str | None) -> Read:
    loaded = load_task(task)
    if folder is not None:
        return reading.from_files(Path(folder), loaded.task.name)
    connection = connect(bootstrap, ())
    token_key, skip = from_environment("token_key").encode(), places(Settings.load().skip)
    return reading.from_cluster(lambda what: TaskRows(loaded, connection, what, token_key, skip))
