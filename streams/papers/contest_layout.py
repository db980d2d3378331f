"""Gate, race and validations in a model card."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from streams.papers.contested import ContestFacts
from streams.papers.document import Block, Heading, Paragraph, Table, fields, when
from streams.papers.validated import ValidationFacts

SHOWN: Final = 20
"""Decisions of the gate on a card, the newest."""


def contest_blocks(contest: ContestFacts | None, rollout: Mapping[str, Any] | None) -> Iterator[Block]:
    """Return what is said about all challengers, and about the rollout of the card's model."""
    if contest is not None:
        yield Heading("Race" if contest.leaderboard else "Gate")
        yield Paragraph(
            f"The {contest.kind} of the task file, {contest.digest}, at the end of the log: {contest.rule}"
        )
        if contest.since:
            yield Paragraph(f"It counts from log offset {contest.since:,} on: earlier entries were deleted.")
        if contest.leaderboard:
            columns = (
                "model",
                "status",
                "recent loss",
                "gain over the leader",
                "interval",
                "requests",
                "why",
            )
            yield Table(columns, [_place(line) for line in contest.leaderboard])
        yield from _challengers(contest.challengers)
        if contest.decisions:
            yield Heading(f"What the {contest.kind} has said", 3)
            columns = ("log offset", "complete up to", "said", "about", "gain", "matured requests", "reason")
            yield Table(columns, [_said(each) for each in contest.decisions[-SHOWN:]])
    if rollout is not None:
        yield Heading("Rollout", 2 if contest is None else 3)
        names = ("verdict", "gain, with its interval", "matured requests", "rollout", "waits for")
        shown = zip(names, ("gate", "gain", "matured", "state", "waits for"), strict=True)
        rows = [(name, str(rollout[key])) for name, key in shown]
        yield fields([*rows, ("decided", rollout["decision"]["at"])])


def _challengers(lines: Sequence[Mapping[str, Any]]) -> Iterator[Block]:
    if not lines:
        yield Paragraph("No challenger has a matured request yet.")
        return
    yield Heading("Challengers", 3)
    columns = (
        "challenger",
        "against",
        "verdict",
        "gain",
        "matured requests",
        "made",
        "e-value",
        "answers",
        "waits for",
    )
    yield Table(columns, [_challenger(each) for each in lines])


def _challenger(line: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        line["challenger"],
        line["against"],
        line["verdict"],
        _gain(line),
        _count(line),
        _made(line["cohorts"]) if line["labelled"] + line["unlabelled"] else "",
        f"{line['e_value']:.3g} of {line['e_needed']:.3g}",
        f"{line['share']:.0%}",
        line["waits_for"],
    )


def _place(line: Mapping[str, Any]) -> tuple[str, ...]:
    leads, known = line["status"] == "leads", line["count"] > 0
    return (
        line["model"],
        line["status"],
        f"{line['loss']:.4f}" if known else "",
        "" if leads or not known else f"{line['gain']:+.4f}",
        "" if leads or line["low"] is None else f"{line['low']:+.4f} to {line['high']:+.4f}",
        f"{line['count']:,}",
        line["why"],
    )


def _said(each: Mapping[str, Any]) -> tuple[str, ...]:
    step = f" {each['share']} %" if each["share"] else ""
    said = (
        f"{each['verdict']}" if each["action"] == "verdict" else f"{each['action']}{step}, {each['verdict']}"
    )
    about = f"{each['challenger']} against {each['against']}"
    return str(each["offset"]), when(each["ts"]), said, about, _gain(each), _count(each), each["reason"]


def _gain(line: Mapping[str, Any]) -> str:
    if not line["labelled"]:
        return ""
    return f"{line['gain']:+.4f} ({line['low']:+.4f} to {line['high']:+.4f})"


def _count(line: Mapping[str, Any]) -> str:
    without = f", {line['unlabelled']:,} without a label" if line["unlabelled"] else ""
    return f"{line['labelled']:,}{without}"


def _made(cohorts: Sequence[int]) -> str:
    return f"{when(cohorts[0])[:10]} to {when(cohorts[1])[:10]}"


def validation_blocks(validations: Sequence[ValidationFacts]) -> Iterator[Block]:
    """Return the validations of the card's model."""
    if not validations:
        return
    yield Heading("Validations")
    rows = [
        (str(each.at), when(each.ts), each.version, each.verdict, each.text, each.author)
        for each in validations
    ]
    yield Table(("log offset", "validated", "version", "verdict", "text", "by"), rows)
    newest = validations[-1]
    yield Paragraph(f"The checks at log offset {newest.at}:")
    checks = [(str(each["name"]), _result(each), str(each["text"])) for each in newest.checks]
    yield Table(("check", "result", "found"), checks)


def _result(check: Mapping[str, Any]) -> str:
    if not check["passed"]:
        return "failed"
    return "passed" if check["judged"] else "not judged"
