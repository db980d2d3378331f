"""The report of a run, as plain data for people, machines and the page."""

from __future__ import annotations

import os
import platform
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any, Final

from infra.runtime import runtime_fingerprint
from tests.faults.check.check import Check
from tests.faults.check.findings import Tally
from tests.faults.sender import Sender

OURS: Final = "riverloop"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """The options of a run."""

    seed: int
    rounds: int
    requests: int
    workers: int
    partitions: int
    faults: tuple[str, ...]
    """Names; empty: a run without faults."""
    loop: str = OURS
    """Its name on the page."""
    command: tuple[str, ...] = ()
    """The command of another loop's worker; empty for riverloop's own."""

    @property
    def command_line(self) -> str:
        """The command that repeats the run."""
        faults = ",".join(self.faults) or "none"
        size = (
            f"--seed {self.seed} --rounds {self.rounds} --requests {self.requests} --workers {self.workers}"
        )
        foreign = f" --name {self.loop!r} --command {' '.join(self.command)!r}" if self.command else ""
        return f"python -m tests.faults run {size} --partitions {self.partitions} --faults {faults}{foreign}"


@dataclass(slots=True)
class Round:
    """One round, and its fault."""

    fault: str
    begins: int
    """When the fault was injected (ms UTC, wall clock)."""
    begins_at: int = 0
    """Requests sent by then."""
    failures: list[str] = field(default_factory=list)
    """Promises broken during the fault: a worker that ended unexpectedly, a limit that was exceeded."""
    seconds: float = 0.0
    """Until all workers were ready again."""
    outage: tuple[int, int] = (0, -1)
    """As `FaultContext.outage`."""
    phases: dict[str, int] = field(default_factory=dict)
    """By phase of `tests.faults.timing`: the time from the outage to its end (ms)."""
    stall_ms: int = 0
    """Longest time without an entry, while there was something to do."""
    freshness_p99_ms: int = 0
    """From an outcome's arrival in Kafka to its fact in the log, over the facts from this fault to the next one."""


def report(
    options: RunOptions, task: str, rounds: Sequence[Round], check: Check, sender: Sender, seconds: float
) -> dict[str, Any]:
    """Build a run's report."""
    findings = check.findings
    return {
        "loop": options.loop,
        "ok": findings.ok,
        "date": datetime.now(UTC).date().isoformat(),
        "task": task,
        "command": options.command_line,
        "seed": options.seed,
        "rounds": options.rounds,
        "requests": options.requests,
        "workers": options.workers,
        "partitions": options.partitions,
        "records": sender.records,
        "misplaced": sender.records_misplaced,
        "seconds": round(seconds, 1),
        "entries": dict(sorted(check.facts.kinds.items())),
        "scenarios": dict(sorted(check.expected.scenarios.items())),
        "dead_letters": check.expected.dead_letters.total(),
        "fault_dead_letters": dict(check.fault_dead_letters),
        **findings.as_data(),
        "faults": {
            name: _row(name, options, rounds, check) for name in sorted({each.fault for each in rounds})
        },
        "versions": {
            "riverloop": version("riverloop"),
            "runtime": runtime_fingerprint()[1],
            "system": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        },
    }


def _row(fault: str, options: RunOptions, rounds: Sequence[Round], check: Check) -> dict[str, Any]:
    mine = [each for each in rounds if each.fault == fault]
    begins = [0, *(each.begins_at for each in rounds[1:])]
    findings = check.findings

    def about(tally: Tally) -> int:
        """Count the findings about requests of the rounds with this fault."""
        return sum(
            count
            for number, count in tally.by_number.items()
            if rounds[bisect_right(begins, number) - 1].fault == fault
        )

    return {
        "rounds": len(mine),
        "requests": options.requests * len(mine) // options.rounds,
        "lost": about(findings.lost),
        "doubled": about(findings.doubled),
        "wrong": about(findings.wrong) + sum(len(each.failures) for each in mine),
        "longest_stall_s": max(each.stall_ms for each in mine) / 1000,
        "freshness_p99_s": max(each.freshness_p99_ms for each in mine) / 1000,
        "longest_s": round(max(each.seconds for each in mine), 1),
        "phases_s": {
            phase: max(each.phases[phase] for each in mine if phase in each.phases) / 1000
            for phase in dict.fromkeys(phase for each in mine for phase in each.phases)
        },
    }
