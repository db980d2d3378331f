"""Tokens for personal data: a keyed hash stands for the value; without the key it means nothing.

What names a person is put in its stored form here, once: features of requests and of predictions from outside, and
the fields `entity_key`, `parents` and `reporter`. The key of a token is its subject's (`schemas.subject_keys`): the
entity's, where a request names one, else the value's own.
"""

from __future__ import annotations

import hmac
import re
from dataclasses import replace
from typing import Any, Final, TypeVar

from schemas.codec.readers import FeaturePlan
from schemas.dictionary import Dictionary
from schemas.errors import TaskError
from schemas.features import PersonalData
from schemas.records import Features, FeatureValue, Outcome, Prediction, Request
from schemas.subject_keys import SubjectKeys

TOKEN_LENGTH: Final = 32
"""Hex digits: 128 bits of HMAC-SHA256."""
FIELD_TOKEN: Final = "token:"  # noqa: S105  no secret
"""Begins what stands in a field, as opposed to a feature: it is not hashed again where it is read again."""
_FIELD_TOKEN: Final = re.compile(FIELD_TOKEN + r"[0-9a-f]{32}\Z")
MASKED: Final = "personal"
"""Stands for every personal value where records are compared without their keys."""
Asked = TypeVar("Asked", Request, Prediction)


def token(key: bytes, feature: str, value: str) -> str:
    """Give the token of a value; equal values of two features have different tokens.

    Examples
    --------
    >>> token(b"key", "Guest", "Ada Lovelace")
    'eb8d5e33fffd413af6f7cfde02719c75'
    """
    return hmac.digest(key, f"{feature}\0{value}".encode(), "sha256").hex()[:TOKEN_LENGTH]


def request_plan(dictionary: Dictionary) -> FeaturePlan:
    """Give how the features of requests become canonical: ranges and levels may reject."""
    convert = {each.name: each.canonical for each in dictionary}
    return FeaturePlan(convert, frozenset(each.name for each in dictionary if each.rejects))


def stored_plan(dictionary: Dictionary) -> FeaturePlan:
    """Give how the features of predictions and entries are read: as they were stored."""
    return FeaturePlan({each.name: each.canonical for each in dictionary.stored()})


class Protection:
    """Puts records in the form in which they are stored: personal data left out, or tokens in their place.

    Parameters
    ----------
    dictionary
        The task's: it says what is personal.
    keys
        The subjects' keys; None where no record will be read that needs one.
    serving
        Whether missing keys are an error now, or only when a record needs one.

    Raises
    ------
    TaskError
        Without the keys that the dictionary needs.
    """

    def __init__(
        self, dictionary: Dictionary, keys: SubjectKeys | None = None, *, serving: bool = False
    ) -> None:
        self.dictionary, self.keys = dictionary, keys
        self._hashed = {each.name: each.missing for each in dictionary if each.personal_data == "tokenised"}
        self._personal = [each.name for each in dictionary if each.personal_data != "none"]
        self._open = dictionary.entity_key == dictionary.parents == "none"
        if serving and keys is None and dictionary.tokenised:
            raise self._no_key(dictionary.tokenised[0])

    def asked(self, record: Asked) -> Asked:
        """Give a request, or a prediction from outside, as it is stored; its features are canonical."""
        entity = record.entity_key
        if self._hashed:
            record = replace(record, features=self._features(record.features, entity))
        if self._open or (entity is None and not record.parents):
            return record
        kept, lineage = self.dictionary.entity_key, self.dictionary.parents
        parents = (self._field(lineage, "parents", each, entity) for each in record.parents)
        return replace(
            record,
            entity_key=None if entity is None else self._field(kept, "entity_key", entity),
            parents=tuple(each for each in parents if each is not None),
        )

    def served(self, prediction: Prediction) -> Prediction:
        """Give a prediction from outside as it is stored: it is checked against the dictionary like a request.

        Raises
        ------
        BadRecord
            When the dictionary rejects its features.
        """
        return self.asked(self.checked(prediction))

    def checked(self, prediction: Prediction) -> Prediction:
        """Give a prediction from outside with canonical features, personal ones in plain."""
        return replace(prediction, features=self.dictionary.canonical(prediction.features))

    def outcome(self, outcome: Outcome) -> Outcome:
        """Give an outcome as it is stored."""
        if outcome.reporter is None or self.dictionary.reporter == "none":
            return outcome
        return replace(outcome, reporter=self._field(self.dictionary.reporter, "reporter", outcome.reporter))

    def _features(self, features: Features, entity: str | None) -> dict[str, FeatureValue]:
        found: dict[str, FeatureValue] = dict(features)
        for name, missing in self._hashed.items():
            value = found.get(name)
            if value is not None and value != missing:
                found[name] = token(self._key(name, entity or str(value)), name, str(value))
        return found

    def _field(self, personal: PersonalData, name: str, value: str, entity: str | None = None) -> str | None:
        if personal == "left_out":
            return None
        if personal == "none" or _FIELD_TOKEN.match(value):
            return value
        return FIELD_TOKEN + token(self._key(name, entity or value), name, value)

    def _key(self, name: str, subject: str) -> bytes:
        if self.keys is None:
            raise self._no_key(name)
        return self.keys.key(subject)

    def _no_key(self, name: str) -> TaskError:
        what = "feature " if name in self.dictionary.by_name else ""
        return TaskError(f"{what}{name} is tokenised, and requests cannot be read without a token key")

    # ------------------------------------------------------------------ comparing without keys

    def masked(self, record: Asked) -> Asked:
        """Give a request or a prediction without its personal data, to be compared with what was made of it."""
        features = record.features
        if self._personal:
            hidden: dict[str, Any] = dict(features)
            for name in self._personal:
                if name in hidden:
                    hidden[name] = MASKED
            features = hidden
        return replace(record, features=features, entity_key=None, parents=())
