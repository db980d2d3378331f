"""How long the loop stood still, and where the time of a failover goes, phase by phase."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

from tests.faults.history import History
from tests.faults.probe import Arrivals, Place
from tests.faults.report import Round

PHASES: Final[Mapping[str, str]] = {
    "noticed": "the group has ended the dead worker's session and reassigns its partitions",
    "assigned": "the other workers have them",
    "fenced": "the dead worker's open transactions have ended",
    "restored": "the joins are restored",
    "answered": "every partition has new predictions that can be read",
    "moved": "the training log grows again for its readers",
}
"""In order. Each is measured from the death of a worker, or from the return of the broker."""
_LINE: Final = re.compile(r"^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}) \w+ (\S+) (.*)$")
_SIGNS: Final = (
    ("noticed", "agents.app", "are revoked by a rebalance"),
    ("assigned", "agents.app", "are assigned here"),
    ("fenced", "infra.kafka.fencing", "fenced "),
    ("restored", "infra.task.join", " restored: "),
)
"""Phase, logger, and a text in the workers' logs that shows its end."""
FAILOVER_ENDS_MS: Final = 120_000
"""Later events belong to no failover."""


def mark_stalls(rounds: Sequence[Round], history: History, pauses: Sequence[tuple[int, int]]) -> None:
    """Set the longest stall of the log and the delay of facts on each round.

    Parameters
    ----------
    rounds
        In order.
    history
        The gaps of the log, and the delay of each fact.
    pauses
        When nothing was sent, so that there was nothing to do (ms UTC); they do not count as stalls.
    """
    begins = [each.begins for each in rounds]
    for since, until in history.gaps:
        if number := bisect_right(begins, until):
            each = rounds[number - 1]
            each.stall_ms = max(each.stall_ms, until - since - _paused(since, until, pauses))
    delays: list[list[int]] = [[] for _ in rounds]
    for appended, delay in zip(history.appended, history.delays, strict=True):
        if number := bisect_right(begins, appended):
            delays[number - 1].append(delay)
    for each, found in zip(rounds, delays, strict=True):
        if found:
            found.sort()
            each.freshness_p99_ms = found[len(found) * 99 // 100]


def mark_phases(
    rounds: Sequence[Round],
    logs: Mapping[int, Path],
    arrivals: Mapping[Place, Arrivals],
    log: str,
    pauses: Sequence[tuple[int, int]] = (),
) -> None:
    """Set the duration of each phase (ms) on the rounds with an outage.

    Parameters
    ----------
    rounds
        In order.
    logs
        By worker: its log.
    arrivals
        When records could be read.
    log
        The training log's topic; the others are predictions.
    pauses
        When nothing was sent, so that there was nothing to do (ms UTC).
    """
    lines = [(number, *line) for number, file in logs.items() for line in _lines(file)]
    for index, each in enumerate(rounds):
        if not each.outage[0]:
            continue
        begin, number = each.outage
        end = min([begin + FAILOVER_ENDS_MS] + [later.begins for later in rounds[index + 1 : index + 2]])
        for phase, logger, text in _SIGNS:
            times = [
                at
                for of, at, by, message in lines
                if of != number and begin <= at < end and by == logger and text in message
            ]
            if times:
                # The first sign of each; of restorations the last one within a second of the first.
                first = min(times)
                each.phases[phase] = (
                    max(at for at in times if at < first + 1000) if phase == "restored" else first
                ) - begin
        answered = [_end_of_gap(found, begin) for (topic, _), found in arrivals.items() if topic != log]
        each.phases["answered"] = max(answered, default=begin) - begin
        moved = [
            (until - since - _paused(since, until, pauses), until)
            for since, ended in arrivals[log, 0].gaps
            if begin - 500 <= since < end and ended > begin
            # The rest of the gap belongs to the next fault.
            for until in [min(ended, end)]
        ]
        each.phases["moved"] = max(moved, default=(0, begin))[1] - begin


def _paused(since: int, until: int, pauses: Sequence[tuple[int, int]]) -> int:
    return sum(max(0, min(until, end) - max(since, begin)) for begin, end in pauses)


def _end_of_gap(arrivals: Arrivals, begin_ms: int) -> int:
    """Return the end of the gap that contains a time; the time itself if none does."""
    for since, until in arrivals.gaps:
        if until > begin_ms + 300 and since <= begin_ms:
            return until
    return begin_ms


def _lines(file: Path) -> Iterator[tuple[int, str, str]]:
    for text in file.read_text(errors="replace").splitlines() if file.exists() else ():
        if (found := _LINE.match(text)) is not None:
            at = datetime.strptime(found[1], "%Y-%m-%d %H:%M:%S,%f").astimezone()
            yield int(at.timestamp() * 1000), found[2], found[3]
