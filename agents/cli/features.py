"""`riverloop features`: writes features of entities to their topic, and reads them from the store."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from agents.cli.cluster import cluster_options, connect
from agents.cli.common import json_option, print_json, table
from agents.cli.data import note
from agents.settings import Settings
from infra.clock import now_ms
from infra.taskfile import LoadedTask, load_task
from schemas.dictionary import Feature, Integer
from schemas.errors import BadRecord, UsageError
from schemas.escaped import harmless
from schemas.event_time import shown
from schemas.feature_row import FeatureRow, RowKey
from schemas.records import FeatureValue
from schemas.topics import TaskTopics
from streams.cells import CellForm, WrongCell
from streams.lookup import ENTITY_KEY, Lookup


@click.group()
def features() -> None:
    """Write and read features that serving looks up by the key of an entity."""


@features.command(
    epilog="Example: riverloop features put task.py customer customer_id=c-7 orders=4 --bootstrap localhost:9092"
)
@click.argument("task")
@click.argument("view")
@click.argument("cells", nargs=-1, metavar="[NAME=VALUE]...")
@click.option(
    "--data", metavar="FILE", help="CSV, JSON lines or Parquet, with columns for join keys and features."
)
@click.option(
    "--time",
    "column",
    metavar="COLUMN",
    help="Column with the event time, ISO 8601 with offset or ms; default: now.",
)
@cluster_options
@json_option
def put(
    task: str,
    view: str,
    cells: tuple[str, ...],
    data: str | None,
    column: str | None,
    bootstrap: str | None,
    properties: tuple[str, ...],
    as_json: bool,
) -> None:
    """Write rows of VIEW to the topic of TASK, from arguments or a file.

    A row replaces the entity's older row; features that it lacks become missing. The newest event time wins.
    """
    from infra.features.filler import send_rows  # noqa: PLC0415  other commands need no Kafka client for it

    loaded = load_task(task)
    if bool(cells) == bool(data):
        raise UsageError("give either NAME=VALUE arguments or --data FILE")
    reading = _Rows(loaded, view, column)
    rows = [*(reading.of_file(Path(data)) if data else [reading.of_arguments(cells)])]
    send_rows(connect(bootstrap, properties), TaskTopics(loaded.task.name).features, rows)
    if as_json:
        print_json({"rows": len(rows)})
    else:
        click.echo(f"{len(rows):,} row(s) of {view} written to {TaskTopics(loaded.task.name).features}")


@features.command(
    epilog="Example: riverloop features get task.py customer customer_id=c-7 --bootstrap localhost:9092"
)
@click.argument("task")
@click.argument("view")
@click.argument("cells", nargs=-1, required=True, metavar="JOIN_KEY=VALUE...")
@cluster_options
@json_option
def get(
    task: str,
    view: str,
    cells: tuple[str, ...],
    bootstrap: str | None,
    properties: tuple[str, ...],
    as_json: bool,
) -> None:
    """Read an entity's row of VIEW from the store, or from the topic without one; exit code 1 when missing."""
    from infra.features.filler import read_topic  # noqa: PLC0415  see `put`
    from infra.features.serving import store_of  # noqa: PLC0415  see `put`
    from infra.redis_client import Address  # noqa: PLC0415  see `put`

    loaded, settings = load_task(task), Settings.load()
    reading = _Rows(loaded, view, None)
    key, names = reading.key(_split(cells)), {view: tuple(reading.features)}
    address = None
    if settings.feature_store:
        address = Address(
            settings.feature_store, settings.feature_store_password, settings.feature_store_project
        )
    store = store_of(loaded.task, address)
    if address is None:
        read_topic(connect(bootstrap, properties), TaskTopics(loaded.task.name).features, store, names)
    (row,) = store.read([key], names)
    store.close()
    if as_json:
        print_json({"row": None if row is None else {"ts": row.ts, "values": dict(row.values)}})
    elif row is None:
        click.echo(f"{harmless(str(key))}: no row")
    else:
        found = [[name, row.values.get(name, "(missing)")] for name in names[view]]
        click.echo(f"{harmless(str(key))} since {shown(row.ts)}")  # no title: it would be read as markup
        table("features", ["feature", "value"], found)
    if row is None:
        raise click.exceptions.Exit(1)


class _Rows:
    """Makes rows of one view."""

    def __init__(self, loaded: LoadedTask, view: str, time: str | None) -> None:
        lookups = [each for each in loaded.task.lookup if each.view == view]
        if not lookups:
            known = ", ".join(sorted({each.view for each in loaded.task.lookup})) or "none"
            raise UsageError(f"task {loaded.task.name} has no look-up of {view!r}; it has {known}")
        by_name = loaded.task.features.by_name
        self._lookup: Lookup = lookups[0]
        self._by_name, self._time = by_name, time
        self.features: dict[str, Feature] = {
            stored: by_name[name] for each in lookups for name, stored in each.names.items()
        }

    def key(self, cells: Mapping[str, str]) -> RowKey:
        """Return the key of an entity."""
        entity: dict[str, str | int] = {}
        for join_key, name in self._lookup.keys.items():
            text = cells.get(join_key, "")
            if text == "":
                raise UsageError(f"view {self._lookup.view} needs the join key {join_key}: {join_key}=VALUE")
            whole = name != ENTITY_KEY and isinstance(self._by_name[name], Integer)
            try:
                entity[join_key] = int(text) if whole else text
            except ValueError:
                raise UsageError(f"{join_key}={text!r} must be a whole number") from None
        return RowKey.of(self._lookup.view, entity)

    def of_arguments(self, texts: tuple[str, ...]) -> FeatureRow:
        """Return the row of NAME=VALUE arguments."""
        cells = _split(texts)
        known = {*self._lookup.keys, *self.features}
        if unknown := sorted(set(cells) - known):
            raise UsageError(
                f"view {self._lookup.view} has no {unknown[0]!r}; it has {', '.join(sorted(known))}"
            )
        return self._row(cells, now_ms())

    def of_file(self, path: Path) -> Iterator[FeatureRow]:
        """Return the rows of a file."""
        from infra.datafiles.rows import FileForm, rows  # noqa: PLC0415  arguments need none of it

        needed = [*self._lookup.keys, *([self._time] if self._time else [])]
        now, form = now_ms(), CellForm(("iso", "epoch_ms"))
        for cells in rows(path, FileForm(needed=needed), note):
            try:
                yield self._row(cells, now if self._time is None else form.time(cells[self._time]))
            except (UsageError, WrongCell, KeyError) as error:
                what = f"no column {error}" if isinstance(error, KeyError) else str(error)
                raise UsageError(f"{cells.place}: {what}") from None

    def _row(self, cells: Mapping[str, str], ts: int) -> FeatureRow:
        values: dict[str, FeatureValue] = {}
        for name, feature in self.features.items():
            text = cells.get(name, "")
            if text == "":
                continue
            try:
                value: Any = feature.parse(text)
                found = feature.convert(value)
            except (ValueError, BadRecord) as error:
                raise UsageError(f"{name}={text!r:.60}: {error}") from None
            if found is not None:
                values[name] = found
        return FeatureRow(self.key(cells), ts, values)


def _split(texts: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for text in texts:
        name, sign, value = text.partition("=")
        if not sign:
            raise UsageError(f"argument {text!r} must be NAME=VALUE")
        found[name] = value
    return found
