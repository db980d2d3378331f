"""A task's records as Arrow tables, for notebooks and scripts.

Each function takes a task as the command line does (`task.py`, `task.py:name`, a module) and reads the cluster
(`bootstrap`, by default `RIVERLOOP_BOOTSTRAP`) or, with `folder`, files of `riverloop export`. Both give the same
columns. Times without a zone are UTC. They need the extra `riverloop[parquet]`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, Unpack

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


class Source(TypedDict, total=False):
    """Where records are read from."""

    folder: str | Path | None
    """Exported files in this folder, not the cluster."""
    bootstrap: str | None
    """The cluster."""


class Selection(Source, total=False):
    """Which records are read, and where from."""

    since: Moment | None
    """Records of this time or later."""
    until: Moment | None
    """Records before this time."""


def examples(task: str, **selection: Unpack[Selection]) -> pyarrow.Table:
    """Return one row for each resolved request: its features, its scores and its newest outcome.

    Parameters
    ----------
    task
        The task.
    **selection
        `since`, `until` (event times of requests), `folder`, `bootstrap`: see `Selection`.

    Returns
    -------
    pyarrow.Table
        In the order of the log. `kind` is the resolution, `value` the outcome.

    Raises
    ------
    UsageError
        A time cannot be read, nothing is exported, or pyarrow is missing.
    BrokerError
        The cluster does not answer.
    """
    read, span = _open(task, **selection)
    return reading.of_requests(reading.examples(read("log", TimeSpan())), span)


def as_of(task: str, when: int | Moment, **source: Unpack[Source]) -> pyarrow.Table:
    """Return the examples as they were known at a moment.

    Parameters
    ----------
    task
        The task.
    when
        A time, by the event times of the log's entries, inclusive; or a log offset, inclusive: `9999` gives what
        the version `lr.1@9999` had read.
    **source
        `folder`, `bootstrap`: see `Source`.

    Returns
    -------
    pyarrow.Table
        As `examples`, without later records.

    Raises
    ------
    UsageError, BrokerError
        See `examples`.
    """
    read, _ = _open(task, **source)
    if isinstance(when, int):
        return reading.examples(reading.known_at(read("log", TimeSpan()), when))
    at = ms_of("when", when)
    return reading.examples(read("log", TimeSpan(None, None if at is None else at + 1)))


def predictions(task: str, **selection: Unpack[Selection]) -> pyarrow.Table:
    """Return the predictions as served, by partition and offset; see `examples`."""
    return records(task, "predictions", **selection)


def metrics(task: str, name: str | None = None, **selection: Unpack[Selection]) -> pyarrow.Table:
    """Return metrics over time: those of a name, or all; see `examples`."""
    table = records(task, "metrics", **selection)
    return table if name is None else reading.equal(table, "name", name)


def records(task: str, what: What, **selection: Unpack[Selection]) -> pyarrow.Table:
    """Return all records of a kind: `log`, `predictions`, `outcomes`, `metrics`, `alerts` or `decisions`."""
    read, span = _open(task, **selection)
    return read(what, span)


def _open(
    task: str,
    *,
    since: Moment | None = None,
    until: Moment | None = None,
    folder: str | Path | None = None,
    bootstrap: str | None = None,
) -> tuple[Read, TimeSpan]:
    span = TimeSpan(ms_of("since", since), ms_of("until", until))
    loaded = load_task(task)
    if folder is not None:
        return reading.from_files(Path(folder), loaded.task.name), span
    connection = connect(bootstrap, ())
    token_key, skip = from_environment("token_key").encode(), places(Settings.load().skip)
    return reading.from_cluster(lambda what: TaskRows(loaded, connection, what, token_key, skip)), span
