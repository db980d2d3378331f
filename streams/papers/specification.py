"""The specification of a revision: its parts, read from the text that manifests carry."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from schemas.dictionary import Boolean, Category, Dictionary, Feature, Integer, Number

PERSONAL = {"none": "no", "left_out": "yes: never stored", "tokenised": "yes: stored as a keyed hash"}
HIDDEN = "not shown"
WORDS = {each.avro: each.word for each in (Number, Integer, Boolean, Category)}
"""Types of features by their Avro types."""
OPTIONAL = "may be missing"


class FeatureFacts(NamedTuple):
    """What is declared of a feature; empty: not declared, or not known."""

    name: str
    type: str
    unit: str
    limits: str
    missing: str
    personal: str
    owner: str
    purpose: str


@dataclass(frozen=True, slots=True)
class Specification:
    """What fixes a revision, as far as it is known."""

    digest: str = ""
    """Empty: the log names none."""
    text: str = ""
    """As `Model.describe` gave it; empty: no snapshot and no task file has it."""
    source: str = ""
    """Where the text is from."""
    dictionary: str = ""
    """Digest of the data dictionary."""
    runtime: str = ""
    runtime_text: str = ""
    """Libraries and processor; empty: not known."""
    commit: str = ""
    """Git commit of the task file; empty: not known."""
    features: tuple[FeatureFacts, ...] = ()
    features_source: str = ""
    """Where the features are from."""
    only_types: bool = False
    """Whether of the features only names and types are known."""
    task: Mapping[str, str] = field(default_factory=dict)
    """Settings of the task file that a version does not carry, such as its horizon."""

    @property
    def parameters(self) -> dict[str, str]:
        """The parameters with their values as Python writes them."""
        return parts(self.text)[0]

    @property
    def policy(self) -> str:
        """The label policy as Python writes it."""
        return parts(self.text)[1]

    @property
    def pipeline(self) -> str:
        """The River pipeline as Python writes it."""
        return parts(self.text)[2]


def parts(text: str) -> tuple[dict[str, str], str, str]:
    r"""Return parameters, policy and pipeline of a specification's text.

    Examples
    --------
    >>> parts("lr-2(rate=0.1, levels=('a', 'b'))\npolicy: OnArrival()\nScaler (\n)")
    ({'rate': '0.1', 'levels': "('a', 'b')"}, 'OnArrival()', 'Scaler (\n)')
    """
    head, _, rest = text.partition("\n")
    policy, _, pipeline = rest.partition("\n")
    inner = head.partition("(")[2].removesuffix(")")
    call = f"f({inner})"
    try:
        found = ast.parse(call, mode="eval").body
    except (SyntaxError, ValueError, RecursionError):
        return {"parameters": inner}, policy.removeprefix("policy: "), pipeline
    named = found.keywords if isinstance(found, ast.Call) else []
    values = {each.arg or "": ast.get_source_segment(call, each.value) or "" for each in named}
    return values, policy.removeprefix("policy: "), pipeline


def declared(dictionary: Dictionary) -> tuple[FeatureFacts, ...]:
    """Return what a dictionary declares; of personal data neither limits nor values."""
    return tuple(_facts(each) for each in dictionary)


def _facts(feature: Feature) -> FeatureFacts:
    is_personal = feature.personal_data != "none"
    low, high = getattr(feature, "low", None), getattr(feature, "high", None)
    limits = ", ".join(getattr(feature, "levels", ())) or "any"
    if low is not None or high is not None:
        limits = f"{'' if low is None else f'{low:g}'} … {'' if high is None else f'{high:g}'}".strip()
    if feature.rejects:
        limits += ", others are rejected"
    missing = OPTIONAL if feature.optional else "required"
    if feature.missing is not None:
        missing = f"stored as {feature.missing}"
    if is_personal:
        limits, missing = HIDDEN, "stored as a fixed value" if feature.missing is not None else missing
    about = (feature.name, feature.word, feature.unit, limits, missing, PERSONAL[feature.personal_data])
    return FeatureFacts(*about, feature.owner, feature.purpose)


def stored(schema: str, dictionary: Dictionary) -> tuple[FeatureFacts, ...]:
    """Return the features of an older dictionary, from the schema of predictions that its revision names.

    Parameters
    ----------
    schema
        Avro, as JSON. It has no features that were left out, and no limits.
    dictionary
        The task file's: owner and purpose of features of the same name.
    """
    fields: Any = next(
        each["type"]["fields"] for each in json.loads(schema)["fields"] if each["name"] == "features"
    )
    found = []
    for each in fields:
        nullable = isinstance(each["type"], list)
        kind = each["type"][-1] if nullable else each["type"]
        today = dictionary.by_name.get(each["name"])
        said = (today.owner, today.purpose) if today else ("", "")
        missing = OPTIONAL if nullable else "required, or stored as a value"
        found.append(FeatureFacts(each["name"], WORDS.get(kind, str(kind)), "", "", missing, "", *said))
    return tuple(found)
