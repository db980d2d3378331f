"""`riverloop audit request`, also as `riverloop trace`: what became of one request."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any

import click

from agents.cli.cluster import cluster_options, connect, with_registry
from agents.cli.common import json_option, print_json, progress, table
from agents.settings import Settings
from infra.audit.replay import replay as replay_scores
from infra.audit.requests import RequestAudit
from infra.runtime import runtime_fingerprint
from infra.snapshots.store import SnapshotStore
from infra.taskfile import LoadedTask, load_task
from schemas.errors import UsageError
from streams.audit_check import time_text


@click.command("request", epilog="Example: riverloop audit request task.py b-1042 --replay")
@click.argument("task")
@click.argument("request_id")
@click.option("--replay", is_flag=True, help="Recompute the scores from the training log, bit for bit.")
@click.option("--snapshots", metavar="URI", help="With --replay: snapshots to start from.")
@click.option("--data", metavar="FOLDER", help="Folder of the index of requests. [RIVERLOOP_DATA]")
@cluster_options
@json_option
def request(
    task: str,
    request_id: str,
    replay: bool,
    snapshots: str | None,
    data: str | None,
    bootstrap: str | None,
    properties: tuple[str, ...],
    as_json: bool,
) -> None:
    """Show the answer to REQUEST_ID in TASK, who let that model answer, and what was learned.

    The first call indexes the task's topics, later ones new records. Exit code 1: the request is unknown, or a
    replayed score differs.
    """
    loaded, settings = load_task(task), Settings.load({"data": data})
    connection = connect(bootstrap, properties)
    with closing(RequestAudit(connection, loaded, settings.data_folder, registered=with_registry)) as audit:
        with progress("index", None) as advance:
            audit.update(advance)
        found = audit.find(request_id)
        if replay:
            found["replay"] = _replay(audit, loaded, settings, snapshots, request_id)
    if as_json:
        print_json(found)
    else:
        _show(found)
    if not found["found"] or any(each["result"] == "differs" for each in found.get("replay", ())):
        raise click.exceptions.Exit(1)


trace = copy.copy(request)
trace.name, trace.epilog = (
    "trace",
    "Example: riverloop trace task.py b-1042",
)


def _replay(
    audit: RequestAudit, loaded: LoadedTask, settings: Settings, snapshots: str | None, request_id: str
) -> list[dict[str, Any]]:
    prediction = audit.prediction(request_id)
    if prediction is None:
        raise UsageError(
            f"no prediction of request {request_id!r:.200} is on the topics: nothing can be replayed"
        )
    store = SnapshotStore(snapshots, settings.snapshot_key.encode() or None) if snapshots else None
    with progress("replay", prediction.log_offset) as advance:
        runtime = runtime_fingerprint()[0]
        return replay_scores(loaded, audit.codec, audit.reader, prediction, runtime, store, advance)


def _show(found: Mapping[str, Any]) -> None:
    if not found["found"]:
        click.echo(
            f"nothing is known of request {found['request_id']!r:.200}: topics are kept for a limited time"
        )
        return
    rows = [row for part in (_asked, _answered, _became) for row in part(found)]
    table(f"{found['task']}: request {found['request_id']}", ["at", "what", "", "where"], rows)
    for each in found["predictions"][:1]:
        features = [[name, value] for name, value in each["features"].items()]
        table("features as seen", ["feature", "value"], features)
        scores = [
            [s["role"], s["version"], _text(s["score"]), s["label"], s["failure"]] for s in each["scores"]
        ]
        table("scores", ["role", "version", "score", "label", "failure"], scores)
    if replayed := found.get("replay"):
        shown = [[each["version"], each["result"], _text(each["score"]), each["why"]] for each in replayed]
        table("made again from the log", ["version", "result", "score", ""], shown)


def _asked(found: Mapping[str, Any]) -> Iterator[list[str]]:
    for each in found["requests"]:
        by = f"made of {each['made_of']}" if each["made_of"] else each["client"] or ""
        yield [time_text(each["arrived"]), "request", by, each["at"]]
    for number, each in enumerate(found["predictions"]):
        what = "duplicate prediction" if number else "prediction"
        about = f"over {each['over']} by worker {each['worker'] or 'unknown'}"
        yield [time_text(each["arrived"]), what, about, each["at"]]
        for before in each["after"]:
            yield ["", "chain", f"{before['task']} answered with {before['version']}", ""]


def _answered(found: Mapping[str, Any]) -> Iterator[list[str]]:
    answered = found["answered"]
    if answered is None:
        return
    for what, key in (("put there by", "put_there_by"), ("revision opened by", "revision_by")):
        by = answered.get(key)
        if by is not None:
            command = f"{by['command']} {by['model']}".strip()
            text = f"{by['author']}, {command}: {by['reason']}"
            text += f" (evidence: {by['evidence']})" if by["evidence"] else ""
            yield [time_text(by["ts"]), f"{answered['version']} {what}", text, _log_place(by["log_offset"])]


def _became(found: Mapping[str, Any]) -> Iterator[list[str]]:
    for each in found["outcomes"]:
        value = each["reason"] if each["value"] is None else _text(each["value"])
        yield [
            time_text(each["arrived"]),
            "outcome",
            f"{value}, by {each.get('reporter') or 'unknown'}",
            each["at"],
        ]
    for each in found["entries"]:
        learned = ", ".join(
            f"{one['model']} leaves it out"
            if one["left_out"]
            else f"{one['version']} learns {_text(one['label'])}"
            for one in each["learned_by"]
        )
        yield [time_text(each["arrived"]), each["kind"], learned, _log_place(each["log_offset"])]
    for each in found["skipped"]:
        yield ["", "skipped", f"{each['version']}: {each['exception']}", _log_place(each["log_offset"])]
    for each in found["dead_letters"]:
        again = each["replayed_by_audit"]
        more = "" if again is None else f", replayed (audit record {again})"
        yield [
            time_text(each["arrived"]),
            f"dead letter {each['reason']}",
            each["message"] + more,
            each["at"],
        ]


def _log_place(offset: int | None) -> str:
    return "" if offset is None else f"log offset {offset}"


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {share:.4g}" for name, share in value.items())
    return f"{value:.6g}" if isinstance(value, float) else str(value)
