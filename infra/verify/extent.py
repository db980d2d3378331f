"""What of a history was read, and how records become columns of the database."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Final

from infra.inbound import Message
from schemas.codec import Codec, Record
from schemas.records import Command, Manifest, Outcome, Position, Prediction, Request, Value
from schemas.state import JoinPosition
from streams.positions import KnownTopics, Place, age, plain

GONE: Final = 2**50
"""By so much the offsets of a topic lie below those of the next one of its name."""


@dataclass(slots=True)
class Extent:
    """What was read: the same for every check that follows."""

    first: dict[Place, int] = field(default_factory=dict)
    """By topic and partition: the oldest offset that is kept."""
    end: dict[Place, int] = field(default_factory=dict)
    """The offset before which reading stopped."""
    kept_since: dict[str, int] = field(default_factory=dict)
    """By topic of which something is no longer kept: a record that arrived later is there (ms)."""
    answered: Counter[int] = field(default_factory=Counter)
    """By partition of requests: the offset before which each is answered."""
    positions: dict[int, JoinPosition] = field(default_factory=dict)
    """By partition: how far the join was when its state was read."""
    manifests: dict[str, Manifest] = field(default_factory=dict)
    """The announced snapshots by version."""
    seen: set[Place] = field(default_factory=set)
    """Of the partitions that are cut: those with a record left."""

    log_since: int = 0
    """When the oldest entry of a log that was made again came (ms): versions of before are of another log."""
    validations: list[tuple[int, Command]] = field(default_factory=list)
    """The validations of the log, each with its offset."""
    audited: list[str] = field(default_factory=list)
    """The entries of commands that are done, as the audits on `T.control` name them."""
    known: KnownTopics = field(default_factory=KnownTopics)
    """Which topics the task has had."""

    def offset(self, at: Position) -> int:
        """Give a place's offset; below 0 on a topic that is gone, since another one has its name."""
        back = age(self.known.name(plain(at.topic))) - age(at.topic)
        return at.offset - back * GONE

    def note_known(self) -> list[str]:
        """Take what was lost with a topic that was made again as cut; gives a note for each."""
        notes = []
        for topic, ids in sorted(self.known.ids.items()):
            if len(ids) < 2:
                continue
            notes.append(f"{topic} was recreated {len(ids) - 1} times; its earlier records were not checked")
            if topic.endswith(".join-state"):
                # What waited was lost with it.
                self.kept_since[topic.removesuffix("join-state") + "predictions"] = 2**63 - 1
            elif not topic.endswith(".log"):
                # Of what is answered or resolved there, some counterparts lay on the topic from before.
                self.kept_since[topic] = max(self.kept_since.get(topic, 0), 2**63 - 1)
        return notes

    def begins_later(self, topic: str) -> bool:
        """Whether something came before what a topic of one partition holds."""
        return bool(self.first[topic, 0]) or len(self.known.ids.get(topic, ())) > 1

    def is_cut(self, *topics: str) -> bool:
        """Whether retention has deleted anything of the topics."""
        return any(topic in self.kept_since for topic in topics)

    def may_be_cut(self, arrived: int, *topics: str) -> bool:
        """Whether what was written to the topics after a record arrived (ms) may be deleted already."""
        return any(arrived <= self.kept_since.get(topic, -1) for topic in topics)

    def is_kept(self, topic: str, partition: int, offset: int) -> bool:
        """Whether retention has not reached a place."""
        return self.first.get((topic, partition), 0) <= offset

    def has(self, topic: str, partition: int, offset: int) -> bool:
        """Whether a place lies in what was read."""
        place = (topic, partition)
        return self.first.get(place, 0) <= offset < self.end.get(place, 2**63)

    def is_taken(self, partition: int, *, predictions: int = -1, outcomes: int = -1) -> bool:
        """Whether the join had read a record when its state was read."""
        position = self.positions.get(partition)
        return position is not None and predictions < position.predictions and outcomes < position.outcomes

    def note(self, message: Message) -> None:
        """Note since when a topic that was cut is whole: since its oldest record arrived."""
        at = place_of(message)
        place = (at.topic, at.partition)
        if self.first[place] and place not in self.seen:
            self.seen.add(place)
            arrived = message.timestamp()[1]
            self.kept_since[at.topic] = max(self.kept_since.get(at.topic, 0), arrived)


def mark(codec: Codec, record: Record) -> bytes:
    """Give a short digest of a record: equal only for records that are equal bit for bit.

    But for the reporter of an outcome, of which the log may have a token.
    """
    if isinstance(record, Outcome):
        record = replace(record, reporter=None)
    return hashlib.blake2b(codec.encode(record), digest_size=16).digest()


def asked(codec: Codec, record: Request | Prediction) -> Prediction:
    """Give what a prediction repeats of its request, in a form in which the two can be compared.

    That is without the features that serving adds: no request has them.
    Both are masked: that a token was made of this value can be shown only while its subject is not forgotten.
    """
    if isinstance(record, Prediction):
        added, features = codec.dictionary.added, record.features
        if added:
            features = {name: value for name, value in features.items() if name not in added}
        return replace(record, features=features, scores=(), source=None, propensity=None, log_offset=None)
    names = (record.request_id, record.ts, record.features)
    return Prediction(*names, (), entity_key=record.entity_key, parents=record.parents)


def made_by(prediction: Prediction) -> tuple[str | None, int | None]:
    """Give the revision of the first of a prediction's scores: model and number."""
    if not prediction.scores:
        return None, None
    return prediction.scores[0].model, prediction.scores[0].revision


def value_of(text: str | None) -> Value:
    """Read an outcome's value from its column."""
    value: Value = None if text is None else json.loads(text)
    return value


def text_of(value: Value) -> str | None:
    """Give an outcome's value as a column."""
    return None if value is None else json.dumps(value)


def place_of(message: Message) -> Position:
    """Give the place of a message."""
    return Position(message.topic() or "", message.partition() or 0, message.offset() or 0)
