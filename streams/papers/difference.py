"""The comparison of two versions, as rows: what differs, and on request what is equal."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from streams.papers.card import Card, MeasuredPart
from streams.papers.document import UNKNOWN, when
from streams.papers.specification import OPTIONAL, FeatureFacts, Specification

ABSENT = "absent"


class Row(NamedTuple):
    """A thing that two versions have."""

    section: str
    name: str
    one: str
    other: str

    @property
    def equal(self) -> bool:
        """Whether it is equal, as far as is known."""
        return self.one == self.other


def compare(one: Card, other: Card) -> list[Row]:
    """Compare two cards; what a task file's model cannot have, such as metrics, is left out.

    Returns
    -------
    list
        All rows; see `Row.equal`.
    """
    found = [
        *_specification(one, other),
        *_dictionary(one.specification, other.specification),
    ]
    if one.training is not None and other.training is not None:
        found += _pairs("training", _training(one), _training(other))
        found += _pairs("metrics", _metrics(one), _metrics(other))
    return found


def _specification(one: Card, other: Card) -> Iterator[Row]:
    a, b = one.specification, other.specification
    yield from _pairs("parameters", a.parameters, b.parameters)
    for name, values in (
        ("policy", (a.policy, b.policy)),
        ("digest", (a.digest, b.digest)),
        ("data dictionary", (a.dictionary, b.dictionary)),
        ("runtime", (a.runtime, b.runtime)),
        ("libraries", (a.runtime_text, b.runtime_text)),
        ("git commit", (a.commit, b.commit)),
    ):
        yield Row("specification", name, *(each or UNKNOWN for each in values))
    if a.pipeline and b.pipeline and a.pipeline != b.pipeline:
        yield Row("specification", "pipeline, differing lines", *_lines(a.pipeline, b.pipeline))
    else:
        yield Row("specification", "pipeline", a.pipeline or UNKNOWN, b.pipeline or UNKNOWN)


def _lines(one: str, other: str) -> tuple[str, str]:
    r"""Return the lines that only one of two texts has.

    Examples
    --------
    >>> _lines("a\nb\nc", "a\nB\nc")
    ('b', 'B')
    """
    found = list(difflib.ndiff(one.splitlines(), other.splitlines()))
    gone, new = ("\n".join(each[2:] for each in found if each[0] == sign) for sign in "-+")
    return gone, new


def _pairs(section: str, one: Mapping[str, str], other: Mapping[str, str]) -> Iterator[Row]:
    if not one and not other:
        return
    for name in dict.fromkeys([*one, *other]):
        yield Row(section, name, one.get(name, ABSENT), other.get(name, ABSENT))


def _dictionary(one: Specification, other: Specification) -> Iterator[Row]:
    """Compare features by what is known of both."""
    say = _type if one.only_types or other.only_types else _feature
    a, b = ({each.name: say(each) for each in card.features} for card in (one, other))
    return _pairs("dictionary", a, b)


def _type(found: FeatureFacts) -> str:
    return f"{found.type}; {OPTIONAL}" if found.missing == OPTIONAL else found.type


def _feature(found: FeatureFacts) -> str:
    said = {
        "": found.type,
        "unit ": found.unit,
        "limits ": found.limits,
        " ": found.missing,
        "personal data: ": found.personal,
        "owner ": found.owner,
        "purpose: ": found.purpose,
    }
    return "; ".join(f"{name}{value}".strip() for name, value in said.items() if value)


def _training(card: Card) -> dict[str, str]:
    training, state = card.training, card.state
    if training is None or state is None:
        return {}
    known = {"learned": state.learned, "skipped": state.skipped, "stopped at": state.stopped}
    return {
        "log offsets": f"{training.first_offset} to {training.last_offset}",
        "times of the entries": f"{when(training.first_ts)} to {when(training.last_ts)}",
        **{name: UNKNOWN if value is None else str(value) for name, value in known.items()},
        "left out": state.left_out or (UNKNOWN if state.learned is None else "nothing"),
        "digest of the state": state.digest or UNKNOWN,
        **{f"entries {kind}": str(count) for kind, count in training.kinds.items()},
    }


def _metrics(card: Card) -> dict[str, str]:
    found: dict[str, str] = {}
    for part in card.measured:
        found |= _part(part)
    return found


def _part(part: MeasuredPart) -> dict[str, str]:
    where = f"{part.role}, {part.scored_by}"
    found = {f"labels ({where})": f"{part.labels:,}"}
    found |= {f"{each.name} ({where})": str(each) for each in part.metrics}
    for segment, metrics in part.segments.items():
        found |= {f"{each.name} of {segment} ({where})": str(each) for each in metrics}
    return found
