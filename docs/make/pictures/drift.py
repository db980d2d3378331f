"""Pictures of drift on real data: `python -m docs.make.pictures.drift` plays the examples and draws drift-*.svg.

It prints the episodes of each task too. `--check` compares only.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from infra.taskfile import load_task
from schemas.alert import Alert
from schemas.records import Entry
from streams.drift.fold import DriftFold
from streams.driver import MemoryDriver
from streams.task import Task

DOCS = Path(__file__).resolve().parents[2]
IMAGES, EXAMPLES = DOCS / "images", DOCS / "examples"
TASKS = {
    "hotel-cancellation": "hotel_bookings/task.py:cancellation",
    "hotel-cancellation-30d": "hotel_bookings/task.py:cancellation_within_30_days",
    "purchase-intention": "online_shoppers/task.py:purchase",
}
WIDTH, HEIGHT, LEFT, TOP, PLOT = 880, 330, 60, 44, 210
COLOURS = {"label mean": "#2a78d6", "score mean": "#1baf7a", "error": "#e34948"}
FAMILIES = {"loss": "#e34948", "drift": "#eda100", "delay": "#4a3aa7", "outage": "#8a1c1c"}
BLOCK = 500


class Blocks:
    """Means of the champion's label, score and error over blocks of resolutions."""

    def __init__(self, task: Task) -> None:
        self.model = task.models[0]
        self.next_offset = 0
        self.rows: list[tuple[float, float, float]] = []
        self.offsets: list[int] = []
        self._now: list[tuple[float, float, float]] = []

    def apply(self, offset: int, entry: Entry) -> None:
        """See `Fold.apply`."""
        label = self.model.policy.label(entry) if entry.prediction else None
        if label is None or entry.prediction is None or label.value is None or label.replaces is not None:
            return
        score = entry.prediction.scores[0]
        if isinstance(score.score, float):
            self._now.append((float(label.value is True), score.score, float(score.label != label.value)))
        if len(self._now) == BLOCK:
            self.rows.append(tuple(sum(column) / BLOCK for column in zip(*self._now, strict=True)))
            self.offsets.append(offset)
            self._now = []

    def snapshot(self) -> None:
        """See `Fold.snapshot`; this one is not stored."""

    def restore(self, state: object) -> None:
        """See `Fold.restore`."""


class Play:
    """A task played in memory: its alerts, and the blocks."""

    def __init__(self, reference: str) -> None:
        loaded = load_task(str(EXAMPLES / reference))
        self.task = loaded.task
        self.blocks, fold = Blocks(self.task), DriftFold(self.task)
        driver = MemoryDriver(self.task, folds=[fold, self.blocks])
        for _ in driver.run(loaded.events(None, None)):
            pass
        self.alerts: list[Alert] = list(fold.alerts())
        self.length = len(driver.log)

    def episodes(self, *, loss: bool = False) -> list[list[Alert]]:
        """Return the alerts by episode: of the loss, or of all else."""
        found: dict[str, list[Alert]] = {}
        for alert in self.alerts:
            if (alert.family == "loss") is loss:
                found.setdefault(alert.episode, []).append(alert)
        return list(found.values())


def day(ts: int) -> str:
    """Return a date."""
    return datetime.fromtimestamp(ts / 1000, UTC).date().isoformat()


def table(play: Play) -> str:
    """Return the episodes as a Markdown table."""
    dated = play.task.name.startswith("hotel")
    lines = [
        "| # | opened | closed | family | leads | alarms | first sentence |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for number, alerts in enumerate(play.episodes(), start=1):
        first, last = alerts[0], alerts[-1]
        start = day(first.ts) if dated else f"{first.log_offset:,}"
        end = (day(last.ts) if dated else f"{last.log_offset:,}") if last.state == "closed" else "open"
        leads = f"{last.signal} {last.direction} {last.model}".strip()
        lines.append(
            f"| {number} | {start} | {end} | {first.family} | {leads} | {last.alarms} | {first.text} |"
        )
    return "\n".join(lines)


def picture(play: Play) -> str:
    """Return the picture as SVG: three means over the log, episodes as bands and lanes."""
    top = max(max(row) for row in play.blocks.rows) * 1.1

    def x(offset: int) -> float:
        return LEFT + (WIDTH - LEFT - 20) * offset / play.length

    def y(value: float) -> float:
        return TOP + PLOT * (1 - value / top)

    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="sans-serif" font-size="13">',
        f"<title>{play.task.name}: means over {BLOCK} resolutions, and episodes</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        f'<text x="{LEFT}" y="20" font-size="15" font-weight="bold" fill="#1c1c1a">{play.task.name}</text>',
    ]
    for step in range(5):
        value = top * step / 4
        out.append(f'<path d="M{LEFT} {y(value):.1f}H{WIDTH - 20}" stroke="#e4e3df"/>')
        out.append(
            f'<text x="{LEFT - 8}" y="{y(value) + 4:.1f}" text-anchor="end" fill="#5c5b57">{value:.0%}</text>'
        )
    numbered = [(0, each) for each in play.episodes(loss=True)]
    numbered += enumerate(play.episodes(), start=1)
    for number, alerts in numbered:
        first, last = alerts[0], alerts[-1]
        start, end = x(first.log_offset), x(last.log_offset if last.state == "closed" else play.length)
        colour = FAMILIES[first.family]
        # What pages is shaded; what has only moved has a lane at the top.
        low = TOP + (16 if first.family == "delay" else 0)
        wide, high = max(end - start, 2), PLOT if last.severity != "info" else 14
        out.append(
            f'<rect x="{start:.1f}" y="{low:.1f}" width="{wide:.1f}" height="{high:.1f}" '
            f'fill="{colour}" fill-opacity="{0.18 if high == PLOT else 0.35}"/>'
        )
        if number:
            out.append(f'<text x="{start + 4:.1f}" y="{low + 12:.1f}" fill="#1c1c1a">{number}</text>')
    for place, (name, colour) in enumerate(COLOURS.items()):
        points = " ".join(
            f"{x(offset):.1f},{y(row[place]):.1f}"
            for offset, row in zip(play.blocks.offsets, play.blocks.rows, strict=True)
        )
        out.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        out.append(
            f'<rect x="{LEFT + place * 120}" y="{HEIGHT - 22}" width="12" height="12" fill="{colour}"/>'
        )
        out.append(f'<text x="{LEFT + place * 120 + 17}" y="{HEIGHT - 11}" fill="#1c1c1a">{name}</text>')
    for place, (name, colour) in enumerate(FAMILIES.items()):
        left = LEFT + 330 + place * 122
        out.append(
            f'<rect x="{left}" y="{HEIGHT - 22}" width="12" height="12" fill="{colour}" fill-opacity="0.4"/>'
        )
        out.append(f'<text x="{left + 17}" y="{HEIGHT - 11}" fill="#1c1c1a">{name} episode</text>')
    out += ticks(play, x)
    return "\n".join([*out, "</svg>"]) + "\n"


def ticks(play: Play, x: Callable[[int], float]) -> list[str]:
    """Return the labels of the horizontal axis."""
    out = []
    for step in range(6):
        offset = (play.length - 1) * step // 5
        said = f"{offset:,}"
        anchor = "start" if step == 0 else "end" if step == 5 else "middle"
        out.append(
            f'<text x="{x(offset):.1f}" y="{TOP + PLOT + 18}" text-anchor="{anchor}" fill="#5c5b57">{said}</text>'
        )
    out.append(
        f'<text x="{WIDTH - 20}" y="{TOP + PLOT + 34}" text-anchor="end" fill="#5c5b57">log offset</text>'
    )
    return out


def main(arguments: Sequence[str]) -> int:
    """Draw or compare."""
    stale = 0
    for name, reference in TASKS.items():
        play = Play(reference)
        path, drawn = IMAGES / f"drift-{name}.svg", picture(play)
        print(f"{name}: {play.length:,} entries, {len(play.episodes())} episodes\n\n{table(play)}\n")
        if "--check" in arguments:
            stale += path.read_text("utf-8") != drawn
        else:
            path.write_text(drawn, "utf-8")
    return int(stale > 0)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
