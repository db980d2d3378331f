"""`riverloop snapshots`: lists and shows the stored versions of a task's models."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import click

from agents.cli.asking import commands_of
from agents.cli.cluster import cluster_options
from agents.cli.common import json_option, print_json, store_of, table
from agents.cli.model_commands import keep
from agents.settings import Settings
from infra.taskfile import load_task
from schemas.errors import SnapshotError
from schemas.escaped import harmless
from schemas.records import Manifest

SHOWN = 20
"""Skipped snapshots that are listed by name."""

uri_option = click.option(
    "--snapshots",
    metavar="URI",
    help="Snapshot store. [RIVERLOOP_SNAPSHOTS]",
)


@click.group()
def snapshots() -> None:
    """List, show or keep the stored versions of models."""


snapshots.add_command(keep)


@snapshots.command("list", epilog="Example: riverloop snapshots list task.py")
@click.argument("task")
@uri_option
@click.option("--group", help="The workers' consumer group. [RIVERLOOP_GROUP]")
@cluster_options
@json_option
def list_(
    task: str,
    snapshots: str | None,
    group: str | None,
    bootstrap: str | None,
    properties: tuple[str, ...],
    as_json: bool,
) -> None:
    """List the snapshots of TASK, newest first.

    With a cluster it also lists which are anchors, which retention never deletes, and their commands.
    """
    loaded, store, kept = load_task(task), store_of(snapshots), dict[str, str]()
    name, asked = loaded.task.name, bool(Settings.load({"bootstrap": bootstrap}).bootstrap)
    if asked:
        roles = commands_of(loaded, group, bootstrap, properties).history()[0]
        kept = {each.version: "rollback" for each in roles.revisions.rollbacks.values()} | roles.kept
    survey = store.survey(name)
    skipped, sizes = dict(survey.skipped), {}
    for each in survey.manifests:
        try:
            sizes[each.version] = store.size(name, each.version)
        except SnapshotError as error:
            skipped[each.version] = str(error)
    found = [each for each in survey.manifests if each.version in sizes]
    if as_json:
        print_json(
            {
                "unreadable": len(skipped),
                "skipped": skipped,
                "task": name,
                "uri": store.where(name),
                "snapshots": [
                    {**_summary(each), "bytes": sizes[each.version]}
                    | ({"anchor": kept.get(each.version)} if asked else {})
                    for each in found
                ],
            }
        )
        return
    for version, why in [*skipped.items()][:SHOWN]:
        click.echo(f"snapshot {version} is skipped: {harmless(why)}", err=True)
    if len(skipped) > SHOWN:
        click.echo(f"{len(skipped) - SHOWN} more skipped snapshots: see --json", err=True)
    if not found:
        click.echo(f"{store.where(name)} has no usable snapshots of {name}")
        return
    table(
        f"snapshots of {name} in {store.where(name)}",
        [
            "version",
            "kind",
            "log offset",
            "learned",
            "state digest",
            "written",
            "bytes",
            *(["anchor"] if asked else []),
        ],
        [
            [
                each.version,
                each.kind,
                each.log_offset,
                each.learned,
                each.state_digest[:16],
                _when(each),
                sizes[each.version],
                *([kept.get(each.version, "")] if asked else []),
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
    """Show the manifest, lineage and probes of snapshot VERSION of TASK. The state is not loaded."""
    name, store = load_task(task).task.name, store_of(snapshots)
    store.check_has(name, version)
    try:
        stored = store.load(name, version)
    except SnapshotError as error:
        raise SnapshotError(f"{error}; a worker skips it and uses an earlier one") from error
    manifest = stored.manifest
    if as_json:
        print_json(
            {"manifest": asdict(manifest), "probes": stored.probes, "bytes": store.size(name, version)}
        )
        return
    table(
        f"{name}: {version}", ["field", "value"], [[key, value] for key, value in _fields(manifest).items()]
    )
    click.echo(f"specification:\n{manifest.spec_text}")
    table(
        "probes",
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


def _fields(manifest: Manifest) -> dict[str, Any]:
    """Return a manifest's fields as text."""
    fields = asdict(manifest)
    for name in ("spec_text", "metrics", "schemas", "parents"):
        del fields[name]
    fields["created_at"] = f"{_when(manifest)} UTC"
    fields["parents"] = ", ".join(manifest.parents) or "none: folded from the log"
    fields["signature"] = manifest.signature[:16] or "none"
    fields |= {f"schema {name}": mark for name, mark in sorted(manifest.schemas.items())}
    fields |= {f"metric {name}": f"{value:.6f}" for name, value in sorted(manifest.metrics.items())}
    return {key: str(value) for key, value in fields.items()}
