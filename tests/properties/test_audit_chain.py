"""No mutation of an exported audit goes unnoticed; an old checkpoint unmasks a chain that was rewritten whole."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from docs.examples.check_audit import canonical as canonical_of_docs
from docs.examples.check_audit import check as check_of_docs
from schemas.applied import Applied
from schemas.records import Command, Control
from streams.audit import AuditChain, Checkpoint, Line, canonical, hash_of
from streams.audit_check import AuditReport, check, compare, export, read_export

MUTATIONS = 1_000
NAMES: Final = ("promote", "share", "freeze", "topics", "forget", "replay")


def chain_of(rng: random.Random, count: int) -> list[Line]:
    """A chain with links now and then, all of it linked but for the newest records."""
    chain, lines = AuditChain(), list[Line]()
    for number in range(count):
        what = f"{rng.choice('aäß€𝄞')}{number}"
        command = Command(
            rng.choice(NAMES), "lr", {"é": what, "z": "1"}, "ada", what, f"c-{number}", asked=number
        )
        record: Control | Applied = Control(
            rng.choice(("request", "audit")), command, 1_700_000_000_000 + number
        )
        if rng.random() < 0.2:
            record = Applied("worker-1", number, 1_700_000_000_000 + number, {what: number})
        lines.append(chain.take(record, b""))
        if rng.random() < 0.3 and (link := chain.link(number)) is not None:
            lines.append(chain.take(link, b""))
    return lines


def findings(data: list[bytes], checkpoints: list[Checkpoint] | None = None) -> list[str]:
    """What the check of an export finds."""
    report = AuditReport()
    lines = read_export(data, report)
    if report.ok:
        check(lines, report)
        compare(lines, checkpoints or [], report)
    return report.findings


def altered(rng: random.Random, data: list[bytes]) -> list[bytes]:
    """One value of one line is another; now and then it is hashed anew."""
    at = rng.randrange(len(data))
    found: Any = json.loads(data[at])
    part, path, key = found, found, ""
    while isinstance(part, dict) and part:
        path, key = part, rng.choice(list(part))
        part = path[key]
    if isinstance(part, list) and part:
        part[rng.randrange(len(part))] = "0" * 64
    else:
        path[key] = part + 1 if isinstance(part, int) else f"{part}x"
    if "hash" in found and rng.random() < 0.5:
        previous = found["previous"]
        number = found["number"]
        if isinstance(number, int) and isinstance(previous, str):
            found["hash"] = hash_of(number, previous, found["record"])
    return [*data[:at], canonical(found) + b"\n", *data[at + 1 :]]


def removed(rng: random.Random, data: list[bytes]) -> list[bytes]:
    """Some lines are missing."""
    at = rng.randrange(len(data))
    return data[:at] + data[at + rng.choice((1, 1, 2, 5)) :]


def moved(rng: random.Random, data: list[bytes]) -> list[bytes]:
    """A line lies elsewhere."""
    at, to = rng.sample(range(len(data)), 2)
    rest = data[:at] + data[at + 1 :]
    return [*rest[:to], data[at], *rest[to:]]


def inserted(rng: random.Random, data: list[bytes]) -> list[bytes]:
    """A line is added, hashed as if it followed the one before it."""
    at = rng.randrange(len(data))
    before: Any = json.loads(data[at - 1]) if at else {"number": -1, "hash": "0" * 64}
    record = {"record": "control", "kind": "audit", "ts": rng.randrange(10**12)}
    number, previous = before["number"] + 1, before["hash"]
    line = Line(number, previous, hash_of(number, previous, record), record)
    return [*data[:at], canonical(line._asdict()) + b"\n", *data[at:]]


def duplicated(rng: random.Random, data: list[bytes]) -> list[bytes]:
    """A line occurs twice."""
    at, to = rng.randrange(len(data)), rng.randrange(len(data) + 1)
    return [*data[:to], data[at], *data[to:]]


def flipped(rng: random.Random, data: list[bytes]) -> list[bytes]:
    """One bit is another."""
    at = rng.randrange(len(data))
    line = bytearray(data[at])
    line[rng.randrange(len(line) - 1)] ^= 1 << rng.randrange(7)
    return b"".join([*data[:at], bytes(line), *data[at + 1 :]]).splitlines(keepends=True)


KINDS: list[Callable[[random.Random, list[bytes]], list[bytes]]] = [
    *(altered, removed, moved, inserted, duplicated, flipped)
]


@pytest.mark.parametrize("seed", range(4))
def test_every_mutation_of_an_export_is_found(seed: int) -> None:
    rng = random.Random(seed)
    lines = chain_of(rng, 60)
    data = list(export(lines))
    assert findings(data) == []
    assert check_of_docs(data) == ""
    for number in range(MUTATIONS // 4):
        mutate = KINDS[number % len(KINDS)]
        changed = mutate(rng, data)
        while changed == data:
            changed = mutate(rng, data)
        assert findings(changed), f"mutation {number}: {mutate.__name__}"
        assert said_by_docs(changed), f"mutation {number}: {mutate.__name__}"


def said_by_docs(data: list[bytes]) -> str:
    """What the script of the docs says; an exception is a finding, too."""
    try:
        return check_of_docs(data)
    except Exception as error:
        return f"{error!r}"


def rewritten(lines: list[Line], at: int) -> list[Line]:
    """The whole chain made anew after one record was altered, links included."""
    chain, made, waiting = AuditChain(), list[Line](), 0
    for number, line in enumerate(lines):
        record = dict(line.record)
        if record["record"] == "audit_link":
            link = chain.link(record.get("ts", 0))
            assert link is not None
            made.append(chain.take(link, b""))
            continue
        command = record.get("command", {})
        reason = "rewritten" if number == at else command.get("reason", "")
        made.append(chain.take(Control("audit", Command("freeze", "lr", reason=reason), waiting), b""))
    return made


def test_one_old_checkpoint_unmasks_a_chain_that_was_rewritten_whole() -> None:
    lines = rewritten(chain_of(random.Random(7), 40), -1)
    old = Checkpoint("orders", 20, lines[19].hash, 1_700_000_000_000)
    assert findings(list(export(lines)), [old]) == []
    forged = rewritten(lines, 5)
    data = list(export(forged))
    assert findings(data) == []  # nothing but the checkpoint tells
    assert check_of_docs(data) == ""
    assert "the chain was rewritten" in findings(data, [old])[0]
    assert "the chain was rewritten" in check_of_docs(data, json.loads(old.dump()))
    short = list(export(lines[:10]))
    assert "records are missing" in findings(short, [old])[0]
    assert "records were removed" in check_of_docs(short, json.loads(old.dump()))


@pytest.mark.parametrize("what", ["altered", "dropped", "moved", "inserted"])
def test_the_links_name_the_record_that_differs_on_the_topic(what: str) -> None:
    lines = chain_of(random.Random(3), 40)
    forms = [dict(each.record) for each in lines]
    at = next(n for n, form in enumerate(forms[5:], start=5) if form["record"] == "control")
    if what == "altered":
        forms[at]["ts"] = 1
        expected = f"record {at} (", "was altered"
    elif what == "dropped":
        del forms[at]
        expected = f"record {at} of the linked chain", "is missing"
    elif what == "moved":
        forms.insert(at + 9, forms.pop(at))
        expected = f"record {at} of the linked chain", f"it is now record {at + 9}"
    else:
        forms.insert(at, {"record": "control", "kind": "audit", "ts": 5})
        expected = f"record {at} (", "was inserted"
    report, made = AuditReport(), list[Line]()
    for number, form in enumerate(forms):
        previous = made[-1].hash if made else "0" * 64
        made.append(Line(number, previous, hash_of(number, previous, form), form))
    check(made, report)
    assert any(all(part in each for part in expected) for each in report.findings), report.findings


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@settings(max_examples=200, deadline=None)
@given(values)
def test_the_canonical_form_is_the_same_for_everybody(value: Any) -> None:
    text = canonical(value)
    assert json.loads(text) == value
    assert canonical(json.loads(text)) == text == canonical_of_docs(value)


def test_the_canonical_form_is_that_of_rfc_8785() -> None:
    # Section 3.2.3 of the RFC: keys are sorted by UTF-16 code units, so the emoji comes before U+FB33.
    value = {"€": 1, "\r": 2, "\ufb33": 3, "1": 4, "😀": 5, "\x80": 6, "ö": 7}
    assert list(json.loads(canonical(value)).values()) == [2, 4, 6, 7, 1, 5, 3]
    assert canonical({"a": '€$\x0f\nA\'B"\\\\"/'}) == '{"a":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'.encode()
    with pytest.raises(TypeError):
        canonical({"a": 0.5})
