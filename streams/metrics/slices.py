"""The stream cut into slices: the last labels, panes of event time, levels of a feature, revisions.

Each holds tallies of one kind, from which a label can be taken back.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any, Final, Protocol

OTHER: Final = "other"
"""What is not followed or not shown on its own."""


class Tally(Protocol):
    """Sums over a slice of the stream."""

    @property
    def n(self) -> int:
        """Scored labels."""

    def add(self, seen: Any, by: int = 1) -> None:
        """Add an observation, or with -1 take it back."""

    def merge(self, other: Any, by: int = 1) -> None:
        """Add another tally, or with -1 take out a part."""

    def snapshot(self) -> Any:
        """Return the sums as plain values."""

    def restore(self, state: Any) -> None:
        """Take over what `snapshot` gave."""


Make = Callable[[], Any]


class Rows(Protocol):
    """First labels in their order, which are made when they are asked for."""

    def __len__(self) -> int:
        """How many."""

    def rows(self, start: int) -> Iterable[tuple[str, Any]]:
        """Give request ids, and what each label adds, from one of them on."""


class _One:
    def __init__(self, request_id: str, seen: Any) -> None:
        self._row = request_id, seen

    def __len__(self) -> int:
        return 1

    def rows(self, start: int) -> Iterable[tuple[str, Any]]:
        return () if start else (self._row,)


class Rolling:
    """The newest labels: of the last `size` that were given, those that still stand.

    A correction takes the place of what it corrects; a label that was taken back leaves its place empty.
    """

    def __init__(self, make: Make, size: int) -> None:
        self._make, self.size = make, size
        self._given = 0
        self._held: OrderedDict[str, tuple[int, Any]] = OrderedDict()
        """By request: the label's number and what it adds, in the order of the numbers; without `_rows`."""
        self._rows: list[tuple[int, Rows]] = []
        """Labels that nobody has asked for since they were given, with the number before theirs."""

    @property
    def _seen(self) -> OrderedDict[str, tuple[int, Any]]:
        """All labels."""
        held, oldest = self._held, self._given - self.size
        rows, self._rows = self._rows, []
        for before, given in rows:
            start = max(0, oldest - before)
            for number, (request_id, seen) in enumerate(given.rows(start), before + start + 1):
                held.pop(request_id, None)
                held[request_id] = number, seen
        while rows and held and next(iter(held.values()))[0] <= oldest:
            held.popitem(last=False)
        return held

    def give(self, rows: Rows) -> None:
        """Take first labels as `add` does, without looking at them."""
        self._rows.append((self._given, rows))
        self._given += len(rows)
        while self._rows[0][0] + len(self._rows[0][1]) <= self._given - self.size:
            self._rows.pop(0)

    @property
    def tally(self) -> Any:
        """The tally of the labels that stand, added up at each call: it carries no rounding of labels that left."""
        tally = self._make()
        for _, seen in self._seen.values():
            tally.add(seen)
        return tally

    def add(self, request_id: str, seen: Any) -> None:
        """Take a first label."""
        if self._rows:
            return self.give(_One(request_id, seen))
        held = self._held
        held.pop(request_id, None)
        self._given += 1
        held[request_id] = self._given, seen
        while next(iter(held.values()))[0] <= self._given - self.size:
            held.popitem(last=False)
        return None

    def replace(self, request_id: str, seen: Any) -> None:
        """Put a corrected label in the place of the one that is corrected, if it is still here."""
        held = self._seen
        if request_id in held:
            held[request_id] = held[request_id][0], seen

    def take(self, request_id: str) -> None:
        """Take a label back."""
        self._seen.pop(request_id, None)

    def snapshot(self) -> Any:
        """Return the labels that stand, in order, and how many were given."""
        rows = [(number, request_id, tuple(seen)) for request_id, (number, seen) in self._seen.items()]
        return (self._given, rows)

    def restore(self, state: Any) -> None:
        """Take over what `snapshot` gave."""
        self._given, rows = state
        self._rows = []
        self._held = OrderedDict((request_id, (number, seen)) for number, request_id, seen in rows)


class Panes:
    """Tallies by the time of the request, in panes of equal width; those that grew too old are dropped.

    Parameters
    ----------
    make
        Makes a tally.
    width_ms
        Of a pane.
    keep_ms
        Panes that end longer ago than this, in stream time, are dropped.
    """

    def __init__(self, make: Make, width_ms: int, keep_ms: int) -> None:
        self._make, self.width_ms, self.keep_ms = make, width_ms, keep_ms
        self.panes: dict[int, Any] = {}
        self.first = 0
        """The oldest pane that may still be here."""

    def advance(self, stream_time: int) -> None:
        """Drop what is too old."""
        first = (stream_time - self.keep_ms) // self.width_ms
        if first > self.first:
            self.first = first
            for number in [number for number in self.panes if number < first]:
                del self.panes[number]

    def at(self, ts: int) -> Any | None:
        """Return the tally of a request time; None when it is too old."""
        number = ts // self.width_ms
        return None if number < self.first else self.made(number)

    def made(self, number: int) -> Any:
        """Return the tally of a pane by its number."""
        tally = self.panes.get(number)
        if tally is None:
            tally = self.panes[number] = self._make()
        return tally

    def between(self, start: int, end: int) -> Any:
        """Add up the panes that begin within [start, end), times in ms."""
        total = self._make()
        for number, tally in sorted(self.panes.items()):  # sums in one order, also after a restart
            if start <= number * self.width_ms < end:
                total.merge(tally)
        return total

    def snapshot(self) -> Any:
        """Return the panes as plain values."""
        return (self.first, [(number, self.panes[number].snapshot()) for number in sorted(self.panes)])

    def restore(self, state: Any) -> None:
        """Take over what `snapshot` gave."""
        self.first, rows = state
        self.panes = dict(_restored(self._make, rows))


class Levels:
    """Tallies by level of a feature: the first levels on their own, all others together."""

    def __init__(self, make: Make, most: int) -> None:
        self.make, self.most = make, most
        self.tallies: dict[str, Any] = {}

    def at(self, level: str) -> Any:
        """Return the tally that a level counts in."""
        if level not in self.tallies:
            if len(self.tallies) - (OTHER in self.tallies) >= self.most:
                level = OTHER
            if level not in self.tallies:
                self.tallies[level] = self.make()
        return self.tallies[level]

    def chosen(self, top: int, least: int) -> list[tuple[str, Any]]:
        """Return the levels with most labels, those with enough of them."""
        by_count = sorted(
            (each for each in self.tallies.items() if each[0] != OTHER),
            key=lambda each: (-each[1].n, each[0]),
        )
        return [each for each in by_count[:top] if each[1].n >= least]

    def shown(self, top: int, least: int) -> list[tuple[str, Any]]:
        """Return the same, and the rest together as `other`."""
        chosen = self.chosen(top, least)
        rest = self.make()
        names = {name for name, _ in chosen}
        for name, each in self.tallies.items():
            if name not in names:
                rest.merge(each)
        return [*chosen, (OTHER, rest)] if rest.n else chosen

    def snapshot(self) -> Any:
        """Return the tallies as plain values, in the order in which the levels came."""
        return [(name, tally.snapshot()) for name, tally in self.tallies.items()]

    def restore(self, state: Any) -> None:
        """Take over what `snapshot` gave."""
        self.tallies = dict(_restored(self.make, state))


class Newest:
    """Tallies by revision: the newest on their own, older ones together under the key -1."""

    def __init__(self, make: Make, most: int) -> None:
        self._make, self.most = make, most
        self.tallies: dict[int, Any] = {}
        self._oldest = 0
        """The oldest revision that is on its own."""

    def at(self, revision: int) -> Any:
        """Return the tally that a revision counts in."""
        key = revision if revision >= self._oldest else -1
        if key not in self.tallies:
            self.tallies[key] = self._make()
            self._bound()
        return self.tallies[key if key in self.tallies else -1]

    def _bound(self) -> None:
        own = sorted(key for key in self.tallies if key >= 0)
        for key in own[: -self.most]:
            self._oldest = key + 1
            if -1 not in self.tallies:
                self.tallies[-1] = self._make()
            self.tallies[-1].merge(self.tallies.pop(key))

    def total(self) -> Any:
        """Add up all revisions, in one order also after a restart: sums of floats depend on it."""
        whole = self._make()
        for key in sorted(self.tallies):
            whole.merge(self.tallies[key])
        return whole

    def snapshot(self) -> Any:
        """Return the tallies as plain values."""
        return (self._oldest, [(key, self.tallies[key].snapshot()) for key in sorted(self.tallies)])

    def restore(self, state: Any) -> None:
        """Take over what `snapshot` gave."""
        self._oldest, rows = state
        self.tallies = dict(_restored(self._make, rows))


def _restored(make: Make, rows: Iterable[tuple[Any, Any]]) -> Iterable[tuple[Any, Any]]:
    for key, state in rows:
        tally = make()
        tally.restore(state)
        yield key, tally
