"""`riverloop snapshots`: the stored versions of a task's models."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import click

from agents.cli.common import json_option, print_json, table
from agents.settings import Settings
from infra.snapshots.store import SnapshotStore
from infra.taskfile import load_task
from schemas.errors import SnapshotError, UsageError
from schemas.escaped import harmless
from schemas.records import Manifest
from streams.version import Version

SHOWN = 20
"""Snapshots that are passed over, by name."""

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
    survey = store.survey(name)
    passed_over, sizes = dict(survey.passed_over), {}
    for each in survey.manifests:
        try:
            sizes[each.version] = store.size(name, each.version)
        except SnapshotError as error:
            passed_over[each.version] = str(error)
    found = [each for each in survey.manifests if each.version in sizes]
    if as_json:
        print_json(
            {
                "unreadable": len(passed_over),
                "passed_over": passed_over,
                "task": name,
                "uri": store.where(name),
                "snapshots": [{**_summary(each), "bytes": sizes[each.version]} for each in found],
            }
        )
        return
    for version, why in [*passed_over.items()][:SHOWN]:
        click.echo(f"snapshot {version} is passed over: {harmless(why)}", err=True)
    if len(passed_over) > SHOWN:
        click.echo(f"and {len(passed_over) - SHOWN} more, see --json", err=True)
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
                sizes[each.version],
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
            {"manifest": asdict(manifest), "probes": stored.probes, "bytes": store.size(name, version)}
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
