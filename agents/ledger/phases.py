"""Where the time of a failover goes: from a worker's death to the log that moves again, phase by phase."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

from agents.ledger.report import Round
from infra.ledger.probe import Place, Seen

PHASES: Final[Mapping[str, str]] = {
    "noticed": "the group has ended the dead worker's session, and its partitions are given out anew",
    "assigned": "the others have them",
    "fenced": "what the dead worker left open is ended",
    "restored": "the joins are restored",
    "answered": "every partition has predictions again that can be read",
    "moved": "the training log grows again for its readers",
}
"""In order. Each is counted from the death of a worker, or from the return of the broker."""
_LINE: Final = re.compile(r"^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}) \w+ (\S+) (.*)$")
_SAID: Final = (
    ("noticed", "agents.app", "are given up for a rebalance"),
    ("assigned", "agents.app", "are assigned here"),
    ("fenced", "infra.kafka.fencing", "fenced "),
    ("restored", "agents.join", " restored: "),
)
LASTS_MS: Final = 120_000
"""What happens later belongs to no failover."""


def mark_phases(
    rounds: Sequence[Round],
    logs: Mapping[int, Path],
    seen: Mapping[Place, Seen],
    log: str,
    pauses: Sequence[tuple[int, int]] = (),
) -> None:
    """Put on each round with a death, or a return, how long each phase took (ms).

    Parameters
    ----------
    rounds
        In order, with `struck`.
    logs
        By worker: its log.
    seen
        When records could be read.
    log
        The training log's topic; the others are predictions.
    pauses
        When nothing was sent, so that there was nothing to do (ms UTC).
    """
    said = [(number, *line) for number, file in logs.items() for line in _lines(file)]
    for index, each in enumerate(rounds):
        if not each.struck[0]:
            continue
        begin, number = each.struck
        end = min([begin + LASTS_MS] + [later.begins for later in rounds[index + 1 : index + 2]])
        for phase, logger, text in _SAID:
            times = [
                at
                for of, at, by, what in said
                if of != number and begin <= at < end and by == logger and text in what
            ]
            if times:
                # The first sign of each; of restorations those of the first time only.
                first = min(times)
                each.phases[phase] = (
                    max(at for at in times if at < first + 1000) if phase == "restored" else first
                ) - begin
        answered = [_first_after(found, begin) for (topic, _), found in seen.items() if topic != log]
        each.phases["answered"] = max(answered, default=begin) - begin
        moved = [
            (until - since - _idle(since, until, pauses), until)
            for since, ended in seen[log, 0].silences
            if begin - 500 <= since < end and ended > begin
            # What goes on after that belongs to the next fault.
            for until in [min(ended, end)]
        ]
        each.phases["moved"] = max(moved, default=(0, begin))[1] - begin


def _idle(since: int, until: int, pauses: Sequence[tuple[int, int]]) -> int:
    return sum(max(0, min(until, end) - max(since, begin)) for begin, end in pauses)


def _first_after(seen: Seen, begin_ms: int) -> int:
    """Give when the silence in which something happened, or the first one after it, was over."""
    for since, until in seen.silences:
        if until > begin_ms + 300 and since <= begin_ms:
            return until
    return begin_ms


def _lines(file: Path) -> Iterator[tuple[int, str, str]]:
    for text in file.read_text(errors="replace").splitlines() if file.exists() else ():
        if (found := _LINE.match(text)) is not None:
            at = datetime.strptime(found[1], "%Y-%m-%d %H:%M:%S,%f").astimezone()
            yield int(at.timestamp() * 1000), found[2], found[3]
