"""`riverloop schemas`: exports the contract of a task for services in any language."""

from __future__ import annotations

from pathlib import Path

import click

from agents.cli.cluster import codec_of, registry_client
from agents.cli.common import json_option, print_json
from infra.clock import now_ms
from infra.taskfile import load_task
from schemas.codec.compatibility import check as check_recorded
from schemas.export import export as export_to


@click.group()
def schemas() -> None:
    """Export schemas, or check their compatibility."""


@schemas.command(epilog="Example: riverloop schemas export task.py contracts/")
@click.argument("task")
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
@json_option
def export(task: str, directory: Path, as_json: bool) -> None:
    """Write Avro and JSON schemas, examples and the dictionary of TASK to DIRECTORY."""
    made = export_to(codec_of(load_task(task)), directory, now_ms())
    if as_json:
        print_json([str(path) for path in made])
    else:
        click.echo(f"wrote {len(made)} files to {directory}; start with {directory / 'README.md'}")


@schemas.command(epilog="Example: riverloop schemas register task.py --compatibility FULL")
@click.argument("task")
@click.option(
    "--compatibility",
    type=click.Choice(["BACKWARD", "BACKWARD_TRANSITIVE", "FORWARD", "FULL", "FULL_TRANSITIVE", "NONE"]),
    default="BACKWARD",
    show_default=True,
    help="Level of new subjects.",
)
@json_option
def register(task: str, compatibility: str, as_json: bool) -> None:
    """Register the schemas of TASK's requests, outcomes and predictions in the schema registry.

    Subjects are named by topic: T.requests-value. A schema that is incompatible with its subject's latest
    version is rejected. RIVERLOOP_SCHEMA_REGISTRY names the registry.
    """
    client = registry_client()
    from infra.registry.setup import register as register_all  # noqa: PLC0415  not imported without a registry

    found = register_all(client, codec_of(load_task(task)), compatibility)
    if as_json:
        print_json(found)
    else:
        for subject, schema_id in found.items():
            click.echo(f"{subject:<50} id {schema_id}, {client.compatibility(subject) or 'global level'}")


@schemas.command(epilog="Example: riverloop schemas check")
@json_option
def check(as_json: bool) -> None:
    """Check the schemas against the recorded versions; exit code 1 when they are incompatible."""
    found = check_recorded()
    if as_json:
        print_json({"problems": found})
    else:
        for sentence in found or [
            "the schemas are compatible with every recorded version, backward and forward"
        ]:
            click.echo(sentence)
    if found:
        raise click.exceptions.Exit(1)
