"""How long texts and lists of the contract may be: declared here once, for checks, schemas and pages.

A record is read whole before it is checked, so these bounds hold memory and keys, not the wire: that is the
topic's limit. Category features have a bound of their own, `schemas.features.MAX_TEXT`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from schemas.errors import BadRecord


@dataclass(frozen=True, slots=True)
class Limit:
    """Bounds of one field."""

    characters: int
    """Most characters of the text, or of each text in the list."""
    items: int | None = None
    """Most texts in the list; None: the field is a single text."""

    def sentence(self) -> str:
        """Say the bounds, as the end of a field's description.

        Examples
        --------
        >>> Limit(200).sentence(), Limit(200, 100).sentence()
        ('At most 200 characters.', 'At most 100, each of at most 200 characters.')
        """
        each = f"of at most {self.characters:,} characters"
        return (
            f"At most {self.characters:,} characters."
            if self.items is None
            else f"At most {self.items:,}, each {each}."
        )


NAME: Final = Limit(200)
"""What names something: ids, entities, reporters, classes, models, versions."""
REASON: Final = Limit(1_000)
"""What a person wrote."""
FAILURE: Final = Limit(300)
"""What the code of a task file raised."""
TOPIC: Final = Limit(249)
"""Kafka's own limit of a topic's name."""
PARENTS: Final = Limit(NAME.characters, 100)
SCORES: Final = 100
"""Most scores of a prediction."""

LIMITS: Final[Mapping[tuple[str, str], Limit]] = {
    ("Request", "request_id"): NAME,
    ("Request", "entity_key"): NAME,
    ("Request", "parents"): PARENTS,
    ("Prediction", "request_id"): NAME,
    ("Prediction", "entity_key"): NAME,
    ("Prediction", "parents"): PARENTS,
    ("Score", "model"): NAME,
    ("Score", "label"): NAME,
    ("Score", "failure"): FAILURE,
    ("Position", "topic"): TOPIC,
    ("Outcome", "request_id"): NAME,
    ("Outcome", "value"): NAME,
    ("Outcome", "reason"): REASON,
    ("Outcome", "reporter"): NAME,
    ("Alert", "request_id"): NAME,
    ("Alert", "exception"): FAILURE,
    ("Command", "model"): NAME,
    ("Command", "author"): NAME,
    ("Command", "reason"): REASON,
    ("Command", "id"): NAME,
    ("Command", "authentication"): NAME,
    ("Command", "evidence"): REASON,
}
"""By record and field."""


def check_text(text: str, limit: Limit, field: str) -> None:
    """Reject a text that is too long; the message has its length and never its content.

    Raises
    ------
    BadRecord
        `out_of_range`, naming the field.
    """
    if len(text) > limit.characters:
        raise _too_long(field, f"at most {limit.characters:,} characters, not {len(text):,}")


def check_texts(texts: Sequence[str], limit: Limit, field: str) -> None:
    """Reject a list that has too many texts, or one that is too long; raises as `check_text`."""
    if limit.items is not None and len(texts) > limit.items:
        raise _too_long(field, f"at most {limit.items:,} items, not {len(texts):,}")
    for text in texts:
        check_text(text, limit, field)


def check_scores(scores: Sequence[Any]) -> None:
    """Reject too many scores, or names or classes that are too long; raises as `check_text`."""
    if len(scores) > SCORES:
        raise _too_long("scores", f"at most {SCORES} items, not {len(scores):,}")
    most = NAME.characters
    for each in scores:
        label, score = each.label, each.score
        if len(each.model) > most:
            raise _too_long("scores", f"models of at most {most} characters")
        if isinstance(label, str) and len(label) > most:
            raise _too_long("scores.label", f"at most {most} characters, not {len(label):,}")
        if isinstance(score, Mapping) and any(len(name) > most for name in score):
            raise _too_long("scores.score", f"classes of at most {most} characters")


def _too_long(field: str, wanted: str) -> BadRecord:
    return BadRecord("out_of_range", f"{field} must have {wanted}", field)
