"""The two tasks of the page about chains, under names of their own, with more rows, and a play of both."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from infra.kafka.replay import Replay
from schemas.records import Request
from streams.datafile import Event
from streams.join.join_rules import JoinRules
from streams.schedule import Sync, schedule
from streams.task import Task
from tests.pages import ROOT, write_files

PAGE = ROOT / "docs" / "how-to" / "chain-tasks.md"
UNANSWERED = 40
FIRST_DAY = datetime(2024, 1, 1, tzinfo=UTC)


def chained_task(folder: Path, name: str, count: int) -> Path:
    """Write the page's tasks as `NAME-fraud` and `NAME-appeal`, with so many rows; gives the file."""
    folder.mkdir(parents=True, exist_ok=True)
    file = next(path for path in write_files(PAGE, folder) if path.name == "payments.py")
    text = file.read_text()
    for task in ("fraud", "appeal"):
        assert text.count(f'name="{task}"') == 1
        text = text.replace(f'name="{task}"', f'name="{name}-{task}"')
    file.write_text(text)
    chance, rows = random.Random(3), ["payment,paid_at,amount,hour,fraud,appeal,known_at"]
    for number in range(count):
        paid = FIRST_DAY + timedelta(minutes=47 * number)
        amount, hour = chance.randrange(5, 1000), paid.hour
        fraud = amount > 600 and hour < 12
        appeal = fraud != (chance.random() < 0.1)
        words = ["yes" if each else "no" for each in (fraud, appeal)]
        known = paid + timedelta(hours=chance.randrange(2, 60))
        cells = [f"p-{number}", f"{paid:%Y-%m-%dT%H:%M}", amount, hour, *words, f"{known:%Y-%m-%dT%H:%M}"]
        rows.append(",".join(map(str, cells)))
    (folder / "orders.csv").write_text("\n".join(rows) + "\n")
    return file


class Link:
    """A task of a chain in a play: what it is to be told, and when.

    Parameters
    ----------
    complete
        In lockstep: waits until the worker has applied the punctuation at an offset; None: a free play.
    """

    def __init__(
        self,
        task: Task,
        events: Sequence[Event],
        replay: Replay,
        complete: Callable[[int], None] | None = None,
    ) -> None:
        self.replay, self._complete = replay, complete
        self._steps: Iterator[Request | Sync] = schedule(events, JoinRules.of(task).horizon_ms)
        self._next = next(self._steps, None)
        self._asked = 0

    def before(self, request: Request) -> None:
        """Report all that is due before a request, which then counts as asked."""
        self._report(lambda sync: sync.ts <= request.ts)
        assert isinstance(self._next, Request)
        assert self._next.request_id == request.request_id
        self._asked += 1
        self._next = next(self._steps, None)

    def rest(self) -> None:
        """Report what is left."""
        self._report(lambda sync: True)

    def _report(self, due: Callable[[Sync], bool]) -> None:
        while isinstance(self._next, Sync) and due(self._next):
            if self._complete is not None:
                self.replay.flush()
                self.replay.answers.wait(self._asked, "chain")
            for outcome in self._next.outcomes:
                self.replay.report(outcome)
            if self._complete is None:
                self.replay.flush()
            else:
                self._complete(self.replay.punctuate(self._next.ts))
            self._next = next(self._steps, None)


def play(
    first: Link, *others: Link, events: Sequence[Event], tick: Callable[[], None] = lambda: None
) -> None:
    """Send the requests of the first task, and report outcomes to all of them as they fall due.

    Parameters
    ----------
    tick
        Called often.
    """
    links = [first, *others]
    for number, event in enumerate(events):
        for link in links:
            link.before(event.request)
        first.replay.ask(event.request)
        for link in links:
            if number - link.replay.answers.count >= UNANSWERED:
                first.replay.flush()
                link.replay.answers.wait(number - UNANSWERED // 2, "chain", tick)
        tick()
    first.replay.flush()
    for link in links:
        link.replay.answers.wait(len(events), "chain", tick)
    for link in links:
        link.rest()
