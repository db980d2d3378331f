"""`riverloop plan`: what a task needs at a rate."""

from __future__ import annotations

from dataclasses import asdict
from datetime import timedelta

import click

from agents.cli.common import json_option, print_json, table
from infra.capacity import EXAMPLES, record_sizes, time_of_models
from infra.taskfile import load_task
from schemas.errors import UsageError
from streams.capacity import COSTS, Load
from streams.capacity import plan as compute

UNITS = (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3))


@click.command(epilog="Example: riverloop plan task.py --rate 200 --outcome-after 3")
@click.argument("task")
@click.option(
    "--rate", type=float, required=True, metavar="N", help="Requests per second, in the busiest hour."
)
@click.option("--horizon", type=float, metavar="DAYS", help="Horizon of the outcomes; default: the task's.")
@click.option(
    "--outcome-after",
    type=float,
    metavar="DAYS",
    help="Delay of a typical outcome; default: the horizon.",
)
@click.option(
    "--labelled", type=float, default=1.0, show_default=True, help="Share of requests that get an outcome."
)
@click.option("--replication", type=click.IntRange(1, 1000), default=3, show_default=True, help="Replicas.")
@click.option(
    "--snapshot-every",
    type=click.IntRange(1),
    default=10_000,
    show_default=True,
    help="Entries, as of a worker.",
)
@click.option(
    "--learn-us",
    type=float,
    metavar="µS",
    help="CPU of all models for one example; default: measured now.",
)
@click.option("--json-records", is_flag=True, help="Services send JSON instead of Avro.")
@json_option
def plan(
    task: str,
    rate: float,
    horizon: float | None,
    outcome_after: float | None,
    labelled: float,
    replication: int,
    snapshot_every: int,
    learn_us: float | None,
    json_records: bool,
    as_json: bool,
) -> None:
    """Compute what TASK needs at a rate: workers, partitions, memory, disk and restart times.

    Costs were measured on two busy cores; --json lists each with its benchmark. Record sizes and model times
    are measured now. Test the plan with your own load.
    """
    loaded = load_task(task).task
    for name, value in (("horizon", horizon), ("outcome-after", outcome_after), ("learn-us", learn_us)):
        if value is not None and not 0 <= value < 1e9:
            raise UsageError(f"--{name} {value:g} must be 0 or more")
    day = timedelta(days=1).total_seconds()
    horizon_s = loaded.horizon.total_seconds() if horizon is None else horizon * day
    sizes = record_sizes(loaded, json=json_records)
    load = Load(
        rate=rate,
        horizon_s=horizon_s,
        revision_horizon_s=loaded.revision_horizon.total_seconds(),
        outcome_after_s=horizon_s if outcome_after is None else outcome_after * day,
        labelled=labelled,
        learn_us=time_of_models(loaded) if learn_us is None else learn_us,
        request_bytes=sizes.request,
        prediction_bytes=sizes.prediction,
        outcome_bytes=sizes.outcome,
        entry_bytes=sizes.entry,
        state_bytes=sizes.state,
        replication=replication,
        snapshot_every=snapshot_every,
    )
    found = compute(load)
    if as_json:
        costs = [cost._asdict() for cost in COSTS]
        print_json({"task": loaded.name, "plan": asdict(found), "load": asdict(load), "costs": costs})
        return
    measured = f"{EXAMPLES:,} synthetic examples here" if learn_us is None else "as given"
    table(
        f"{loaded.name} at {rate:g} requests/s",
        ["what", "value", "note"],
        [
            ["partitions", f"{found.partitions}", "cannot be changed later"],
            ["workers", f"{found.workers}", "one core each; one is in reserve"],
            ["log's owner is busy", f"{found.busy_share:.0%}", f"at most {found.most_rate:,.0f} requests/s"],
            ["models, one example", f"{load.learn_us:,.0f} µs", measured],
            ["memory of a worker", shown(found.memory_bytes), "join_store=memory"],
            ["disk of a worker", shown(found.join_disk_bytes), "join_store=rocks, for the join"],
            ["pending requests", f"{found.pending:,}", f"and {found.resolved:,} resolved ones"],
            ["requests, predictions, outcomes", shown(found.inputs_bytes), f"{load.retention_days:g} days"],
            ["training log", f"{shown(found.log_bytes_per_day)}/day", "kept for ever"],
            ["join's changelog", shown(found.state_topic_bytes), "compacted"],
            ["brokers' disks, first year", shown(found.disk_bytes_first_year), f"{replication} replicas"],
            ["restart", f"{found.restart_s:,.0f} s", "at most, from a snapshot"],
            ["start without snapshots", f"{found.rebuild_first_year_s / 3600:,.1f} h", "after one year"],
        ],
    )


def shown(size: int) -> str:
    """Return a size in the unit that a person reads.

    Examples
    --------
    >>> shown(1_530_000_000), shown(12)
    ('1.5 GB', '12 B')
    """
    for unit, value in UNITS:
        if size >= value:
            return f"{size / value:,.1f} {unit}"
    return f"{size} B"
