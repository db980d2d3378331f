"""`riverloop snapshots`: the stored versions of a task's models."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import click
import fsspec

from agents.cli.common import json_option, print_json, table
from agents.settings import Settings
from infra.snapshots.store import MANIFEST, SnapshotStore
from infra.taskfile import load_task
from schemas.errors import SnapshotError, UsageError
from schemas.records import Manifest
from streams.version import Version

uri_option = click.option(
    "--snapshots",
    metavar="URI",
    help="Where they lie; or RIVERLOOP_SNAPSHOTS. The user's data folder by default.",
)


@click.group()
def snapshots() -> None:
    """List or show the stored versions of a task's models."""


@snapshots.command("list", epilog="Example: riverloop snapshots list task.py")
@click.argument("task")
@uri_option
@json_option
def list_(task: str, snapshots: str | None, as_json: bool) -> None:
    """List the snapshots of TASK, the newest first."""
    name, store = load_task(task).task.name, _store(snapshots)
    found = store.manifests(name)
    hidden = _folders(store, name) - len(found)
    if as_json:
        print_json(
            {
                "unreadable": hidden,
                "task": name,
                "uri": store.where(name),
                "snapshots": [
                    {**_summary(each), "bytes": _size(store, name, each.version)} for each in found
                ],
            }
        )
        return
    if hidden:
        click.echo(f"{hidden} in {store.where(name)} are damaged or not signed with the key given", err=True)
    if not found:
        click.echo(f"there are no usable snapshots of {name} in {store.where(name)}")
        return
    table(
        f"snapshots of {name} in {store.where(name)}",
        ["version", "kind", "log offset", "learned", "state digest", "written", "bytes"],
        [
            [
                each.version,
                each.kind,
                each.log_offset,
                each.learned,
                each.state_digest[:16],
                _when(each),
                _size(store, name, each.version),
            ]
            for each in found
        ],
    )


@snapshots.command(epilog="Example: riverloop snapshots show task.py lr.1@9999")
@click.argument("task")
@click.argument("version")
@uri_option
@json_option
def show(task: str, version: str, snapshots: str | None, as_json: bool) -> None:
    """Show the snapshot VERSION of TASK: manifest, lineage, probes. Nothing of its state is opened."""
    name, store = load_task(task).task.name, _store(snapshots)
    known = [each.version for each in store.manifests(name)]
    if version not in known:
        try:
            Version.parse(version)
        except ValueError as error:
            raise UsageError(f"{error}, for example lr.1@9999") from None
        there = f"the newest ones are {', '.join(known[:5])}" if known else "there are none"
        raise UsageError(f"{store.where(name)} has no snapshot {version}; {there}")
    try:
        stored = store.load(name, version)
    except SnapshotError as error:
        raise SnapshotError(f"{error}; a worker passes it over and uses the one before it") from error
    manifest = stored.manifest
    if as_json:
        print_json(
            {"manifest": asdict(manifest), "probes": stored.probes, "bytes": _size(store, name, version)}
        )
        return
    table(f"{name}: {version}", ["what", "is"], [[key, value] for key, value in _told(manifest).items()])
    click.echo(f"specification:\n{manifest.spec_text}")
    table(
        "probes: what this state answers",
        ["score", "label", "features"],
        [
            [
                probe["score"],
                probe["label"],
                ", ".join(f"{key}={value}" for key, value in probe["features"].items()),
            ]
            for probe in stored.probes
        ],
    )


def _store(uri: str | None) -> SnapshotStore:
    settings = Settings.load({"snapshots": uri})
    return SnapshotStore(settings.snapshot_uri, settings.snapshot_key.encode() or None)


def _size(store: SnapshotStore, task: str, version: str) -> int:
    """Give the bytes that a snapshot takes."""
    files, _ = fsspec.core.url_to_fs(store.uri)
    return int(files.du(store.where(task, version)))


def _folders(store: SnapshotStore, task: str) -> int:
    """Count the snapshots that lie there, readable or not."""
    files, _ = fsspec.core.url_to_fs(store.uri)
    place = store.where(task)
    if not files.exists(place):
        return 0
    return sum(files.exists(f"{folder}/{MANIFEST}") for folder in _whole(files.ls(place, detail=False)))


def _whole(folders: Iterable[str]) -> list[str]:
    return [folder.rstrip("/") for folder in folders if not folder.rstrip("/").endswith(".tmp")]


def _when(manifest: Manifest) -> str:
    return datetime.fromtimestamp(manifest.created_at / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _summary(manifest: Manifest) -> dict[str, Any]:
    names = (
        "version",
        "kind",
        "model",
        "revision",
        "log_offset",
        "learned",
        "state_digest",
        "spec",
        "created_at",
    )
    return {name: getattr(manifest, name) for name in names}


def _told(manifest: Manifest) -> dict[str, Any]:
    """Give a manifest's fields as people read them."""
    told = asdict(manifest)
    for name in ("spec_text", "metrics", "schemas", "parents"):
        del told[name]
    told["created_at"] = f"{_when(manifest)} UTC"
    told["parents"] = ", ".join(manifest.parents) or "none: folded from the log"
    told["signature"] = manifest.signature[:16] or "none"
    told |= {f"schema {name}": mark for name, mark in sorted(manifest.schemas.items())}
    told |= {f"metric {name}": f"{value:.6f}" for name, value in sorted(manifest.metrics.items())}
    return {key: str(value) for key, value in told.items()}
