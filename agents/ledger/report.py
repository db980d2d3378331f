"""What a run of the ledger says about itself, as plain data for people, machines and the page."""

from __future__ import annotations

import os
import platform
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from infra.ledger.sending import Sender
from infra.runtime import runtime_fingerprint
from streams.ledger.check import Check
from streams.ledger.findings import Tally

OURS = "riverloop"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a run is told."""

    seed: int
    rounds: int
    requests: int
    workers: int
    partitions: int
    faults: tuple[str, ...]
    """Names; empty: none strikes."""
    loop: str = OURS
    """Its name on the page."""
    command: tuple[str, ...] = ()
    """What runs a worker of another loop; empty for riverloop's own."""

    @property
    def repeat(self) -> str:
        """The command that repeats the run."""
        faults = ",".join(self.faults) or "none"
        told = (
            f"--seed {self.seed} --rounds {self.rounds} --requests {self.requests} --workers {self.workers}"
        )
        other = f" --name {self.loop!r} --command {' '.join(self.command)!r}" if self.command else ""
        return f"riverloop ledger run {told} --partitions {self.partitions} --faults {faults}{other}"


@dataclass(slots=True)
class Round:
    """One round, and what struck in it."""

    fault: str
    begins: int
    """When the fault struck (ms UTC, wall clock)."""
    begins_at: int = 0
    """How many requests had been sent then."""
    failures: list[str] = field(default_factory=list)
    """What did not hold while it struck, beside what is read afterwards: a worker that died by itself."""
    seconds: float = 0.0
    """How long it took until it was healed."""
    struck: tuple[int, int] = (0, -1)
    """When a worker died or hung (ms UTC), and its number; or when the broker was back, and -1."""
    phases: dict[str, int] = field(default_factory=dict)
    """By phase of `agents.ledger.phases`: how long after that it was over (ms)."""
    stall_ms: int = 0
    """Longest time without an entry, while there was something to do."""
    fresh_p99_ms: int = 0
    """From an outcome's arrival in Kafka to its fact in the log, over the facts from the fault to the next one."""


def report(
    options: Options, task: str, rounds: Sequence[Round], check: Check, sender: Sender, seconds: float
) -> dict[str, Any]:
    """Give a run's report."""
    findings = check.findings
    return {
        "loop": options.loop,
        "ok": findings.ok,
        "date": datetime.now(UTC).date().isoformat(),
        "task": task,
        "command": options.repeat,
        "seed": options.seed,
        "rounds": options.rounds,
        "requests": options.requests,
        "workers": options.workers,
        "partitions": options.partitions,
        "records": sender.records,
        "misplaced": sender.moved,
        "seconds": round(seconds, 1),
        "entries": dict(sorted(check.facts.kinds.items())),
        "fates": dict(sorted(check.expected.fates.items())),
        "dead_letters": check.expected.letters.total(),
        "refused": dict(check.refused),
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


def _row(fault: str, options: Options, rounds: Sequence[Round], check: Check) -> dict[str, Any]:
    mine = [each for each in rounds if each.fault == fault]
    begins = [0, *(each.begins_at for each in rounds[1:])]
    findings = check.findings

    def about(tally: Tally) -> int:
        """How much of a tally is about requests of the rounds in which the fault struck."""
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
        "freshness_p99_s": max(each.fresh_p99_ms for each in mine) / 1000,
        "longest_s": round(max(each.seconds for each in mine), 1),
        "phases_s": {
            phase: max(each.phases[phase] for each in mine if phase in each.phases) / 1000
            for phase in dict.fromkeys(phase for each in mine for phase in each.phases)
        },
    }
