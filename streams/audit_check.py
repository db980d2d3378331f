"""Checking an audit chain: which records were altered, dropped, moved or inserted."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from difflib import SequenceMatcher
from typing import Any, Final

from streams.audit import GENESIS, LINK, Checkpoint, Line, canonical, digest_of, hash_of

MOST: Final = 100
"""Findings that a report lists."""
KEYS: Final = {"number", "previous", "hash", "record"}


@dataclass(slots=True)
class AuditReport:
    """What a check of a chain has found."""

    size: int = 0
    head: str = GENESIS
    linked: int = 0
    """Records that links cover."""
    not_linked: int = 0
    """Records behind them, but for links."""
    checkpoints: int = 0
    """Checkpoints and snapshots that were compared."""
    findings: list[str] = field(default_factory=list)
    found: int = 0
    notes: list[str] = field(default_factory=list)

    def add(self, what: str) -> None:
        """Add something that does not hold."""
        self.found += 1
        if len(self.findings) < MOST:
            self.findings.append(what)

    @property
    def ok(self) -> bool:
        """Whether everything holds."""
        return not self.found

    def as_data(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "ok": self.ok,
            "records": self.size,
            "head": self.head,
            "not_yet_linked": self.not_linked,
            "checkpoints": self.checkpoints,
            "found": self.found,
            "findings": self.findings,
            "notes": self.notes,
        }


def export(lines: Iterable[Line]) -> Iterator[bytes]:
    """Return the lines of an export: the records, and at last how many there are."""
    size, head = 0, GENESIS
    for each in lines:
        size, head = size + 1, each.hash
        yield canonical(each._asdict()) + b"\n"
    yield canonical({"end": {"head": head, "size": size}}) + b"\n"


def read_export(data: Iterable[bytes], report: AuditReport) -> list[Line]:
    """Read an export, and report every line that is not as `export` has written it, or not in its place."""
    lines, seen, end = list[Line](), dict[int, Line](), None
    for row, text in enumerate(data, start=1):
        parsed = _parse(text)
        if end is not None:
            report.add(f"line {row} comes after the end")
        elif parsed is None:
            report.add(f"line {row} is not a record of an export in its canonical form")
        elif isinstance(parsed, Line):
            _place(parsed, row, seen, report)
            lines.append(parsed)
        else:
            end = parsed
    last = lines[-1] if lines else None
    for number in sorted(set(range(max(seen, default=-1) + 1)) - seen.keys()):
        report.add(f"record {number} is missing")
    for line in lines:
        before = (
            GENESIS if line.number == 0 else seen[line.number - 1].hash if line.number - 1 in seen else None
        )
        if before is not None and line.previous != before:
            report.add(f"{_named(line)} does not follow the record before it: one of them was altered")
    if end is None:
        report.add("the export has no end: its last lines are missing")
    elif end != {"head": last.hash if last else GENESIS, "size": len(lines)}:
        report.add(f"the export does not end with its record {end['size'] - 1}: lines were removed or added")
    return sorted(seen.values())


def _parse(text: bytes) -> Line | dict[str, Any] | None:
    try:
        found = json.loads(text)
        if canonical(found) != text.rstrip(b"\n"):
            return None
    except (ValueError, TypeError, AttributeError, RecursionError):
        return None
    if not isinstance(found, dict):
        return None
    if found.keys() == KEYS and type(found["number"]) is int and isinstance(found["record"], dict):
        return Line(**found) if found["number"] >= 0 else None
    end = found.get("end")
    if found.keys() == {"end"} and isinstance(end, dict) and type(end.get("size")) is int:
        return end
    return None


def _place(line: Line, row: int, seen: dict[int, Line], report: AuditReport) -> None:
    if hash_of(line.number, line.previous, line.record) != line.hash:
        report.add(f"{_named(line)} was altered (line {row})")
    if line.number in seen:
        report.add(f"{_named(line)} occurs twice, again in line {row}")
    elif seen and line.number < max(seen):
        report.add(f"{_named(line)} was moved to line {row}")
    seen.setdefault(line.number, line)


def check(lines: Sequence[Line], report: AuditReport) -> None:
    """Compare a chain with the statements of its own links.

    Parameters
    ----------
    lines
        In order, with numbers from 0.
    """
    report.size, report.head = len(lines), lines[-1].hash if lines else GENESIS
    stated, first = list[str](), None
    for line in lines:
        if line.record.get("record") != LINK:
            continue
        size, digests = line.record.get("size"), line.record.get("digests", [])
        if type(size) is not int or not isinstance(digests, list | tuple) or size < len(digests):
            report.add(f"{_named(line)} is no link of the chain")
            continue
        del stated[size - len(digests) :]
        if len(stated) == size - len(digests):
            stated += digests
        if 0 < size <= line.number and lines[size - 1].hash == line.record.get("head"):
            report.linked = max(report.linked, size)
        elif first is None:
            first = line
    report.not_linked = sum(line.record.get("record") != LINK for line in lines[report.linked :])
    if first is not None:
        report.add(
            f"{_named(first)} states another chain than the records before it: one of the first "
            f"{first.record['size']} records was altered, dropped, moved or inserted"
        )
        _compare(stated, lines, report)


def _compare(stated: Sequence[str], lines: Sequence[Line], report: AuditReport) -> None:
    """Name the records that differ from what the links state."""
    there = [digest_of(each.record) for each in lines]
    gone, new = dict[str, list[int]](), dict[str, list[int]]()
    for kind, a, b, c, d in SequenceMatcher(None, stated, there, autojunk=False).get_opcodes():
        if kind == "replace" and b - a == d - c:
            for number in range(c, d):
                report.add(f"{_named(lines[number])} was altered")
        elif kind != "equal":
            for number in range(a, b):
                gone.setdefault(stated[number], []).append(number)
            # What lies behind the statements is not yet linked.
            for number in range(c, d) if a < len(stated) else ():
                new.setdefault(there[number], []).append(number)
    for digest, numbers in gone.items():
        for number, now in zip(numbers, [*new.pop(digest, []), *[None] * len(numbers)], strict=False):
            what = "is missing" if now is None else f"was moved: it is now {_named(lines[now])}"
            report.add(f"record {number} of the linked chain (SHA-256 {digest[:16]}…) {what}")
    for numbers in new.values():
        for number in numbers:
            report.add(f"{_named(lines[number])} was inserted")


def compare(
    lines: Sequence[Line],
    checkpoints: Iterable[Checkpoint],
    report: AuditReport,
    is_signed: Callable[[Checkpoint], bool] | None = None,
) -> None:
    """Compare a chain with checkpoints that were kept elsewhere.

    Parameters
    ----------
    is_signed
        Checks a signature; None: without the key it cannot be checked.
    """
    for each in checkpoints:
        report.checkpoints += 1
        name = f"{each.origin or 'the checkpoint'} of {time_text(each.ts)}"
        if is_signed is not None and not is_signed(each):
            report.add(f"{name} does not have the key's signature")
        elif each.size == 0:
            continue  # from before the first record
        elif not 0 < each.size <= len(lines):
            report.add(
                f"{name} covers {each.size} records, but the chain has {len(lines)}: records are missing, or the "
                "chain was rewritten"
            )
        elif lines[each.size - 1].hash != each.head:
            report.add(
                f"{name} covers another chain up to record {each.size - 1}: the chain was rewritten since then"
            )


def _named(line: Line) -> str:
    return f"record {line.number} ({title(line.record)})"


def title(record: Mapping[str, Any]) -> str:
    """Return a record's kind and command in a few words."""
    command = record.get("command")
    name = (
        f" {command.get('name', '')} {command.get('model', '')}".rstrip() if isinstance(command, dict) else ""
    )
    ts = record.get("ts")
    at = f", {time_text(ts)}" if type(ts) is int else ""
    return f"{str(record.get('kind') or record.get('record'))[:20]}{name[:80]}{at}"


def time_text(ts: int) -> str:
    """Return a time of the wall clock (ms) for people."""
    try:
        return datetime.fromtimestamp(ts / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError, OSError):
        return f"{ts} ms"
