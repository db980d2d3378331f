"""Model cards of a task's versions, read from its log and its topics."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Final

from infra.kafka.log import read_all
from infra.kafka.offsets import first_offsets
from infra.past import PREFIX
from infra.runtime import runtime_fingerprint
from infra.snapshots.models import git_commit
from infra.versions import Versions, announced, model_named, read_entry
from schemas.alert import Alert
from schemas.errors import BadRecord, UsageError
from schemas.records import Manifest
from streams.model import ModelFold
from streams.papers.card import (
    Card,
    StateFacts,
    decisions,
    episodes,
    gains,
    measured_parts,
    role_text,
    training_facts,
)
from streams.papers.contested import ContestFacts, contest_facts, contest_fold
from streams.papers.history import VersionHistory
from streams.papers.specification import Specification, declared, stored
from streams.papers.validated import validations
from streams.roles import Roles
from streams.rollout_status import gate_row
from streams.task_model import Model
from streams.version import Version

PRESENT: Final = "@file"
"""Behind a model's name: as the task file has it now."""
SCHEMA: Final = f"{PREFIX}Prediction"
log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Asked:
    """A version that is asked for, and what is known of it before the log is read."""

    version: Version
    model: Model | None
    """None: the task file has none of that name."""
    state: StateFacts
    history: VersionHistory = field(init=False)


class Cards:
    """The cards of a task's versions.

    Parameters
    ----------
    versions
        Of the task.
    progress
        Called with the log offset before which all is read.
    """

    def __init__(self, versions: Versions, progress: Callable[[int], None] = lambda done: None) -> None:
        self.versions, self.task, self._progress = versions, versions.loaded.task, progress
        self.roles, self.audits, self.offsets = versions.decided
        self._contest: ContestFacts | None = None
        self.manifests = {
            version: each
            for version, each in announced(versions.connection, versions.codec).items()
            if each.kind == "model" and each.log_topic_id == versions.place.topic_id
        }

    def cards(self, named: Sequence[str]) -> list[Card]:
        """Return the card of each version, model, `@champion` or `MODEL@file`; the log is read once.

        Raises
        ------
        UsageError
            One of them names none, or the log does not lead to it.
        """
        asked = [None if self._present(text) else self._asked(text) for text in named]
        self._read([each for each in asked if each is not None])
        return [
            self._file_card(text) if each is None else self._card(each)
            for text, each in zip(named, asked, strict=True)
        ]

    # ------------------------------------------------------------------ what is asked for

    def _present(self, text: str) -> Model | None:
        name = text.removesuffix(PRESENT)
        return self.task.model(name) if name != text else None

    def _asked(self, text: str) -> _Asked:
        in_file = {each.name: each for each in self.task.models}
        found = model_named(text, self.task.name, dict.fromkeys([*in_file, *self.roles.models]), self.roles)
        name = found if isinstance(found, str) else found.model
        model = in_file.get(name)
        if isinstance(found, Version):
            return self._at(found, model)
        if model is not None:
            with suppress(UsageError):
                fold = self.versions.fold(model, None, self._progress)
                return self._at(fold.version, model, fold)
        # Of another specification than the task file's, or of none: the newest one that somebody has stored.
        stored_versions = [
            Version.parse(each.version) for each in self.manifests.values() if each.model == name
        ]
        if not stored_versions:
            raise UsageError(
                f"no snapshot of {name} is announced, and the task file has another specification: name a "
                f"version, such as {name}.1@9999"
            )
        return self._at(max(stored_versions, key=lambda each: each.offset), model)

    def _at(self, version: Version, model: Model | None, fold: ModelFold | None = None) -> _Asked:
        asked = _Asked(version, model, self._state(version, model, fold))
        asked.history = VersionHistory(self.task, version, model)
        return asked

    def _state(self, version: Version, model: Model | None, fold: ModelFold | None) -> StateFacts:
        manifest = self.manifests.get(str(version))
        if manifest is not None:
            numbers = (manifest.learned, manifest.skipped, manifest.stopped)
            return StateFacts(
                "the snapshot's manifest",
                *numbers,
                manifest.left_out,
                manifest.state_digest,
                manifest.parents,
            )
        if model is None:
            return StateFacts(f"no snapshot of {version} is announced, and the task file has no such model")
        opening = self.versions.opening(version)
        if opening is not None and opening.arguments.get("spec") != self.task.spec(model):
            return StateFacts(
                f"no snapshot of {version} is announced, and the task file has another specification of "
                f"{version.model}"
            )
        try:
            made = fold or self.versions.fold(model, version, self._progress)
        except UsageError as error:
            if opening is None or version.offset >= self.versions.extent.end:
                raise
            return StateFacts(str(error))
        learner, frozen = made.learner, made.frozen
        failures = learner.snapshot() if frozen is None else frozen.failures
        stopped = failures["stopped"][0] if failures["stopped"] else -1
        return StateFacts(
            "a fold of the log", made.learned, failures["skipped"], stopped, made.left_out_text, made.digest
        )

    # ------------------------------------------------------------------ the log

    def _read(self, asked: Sequence[_Asked]) -> None:
        versions = self.versions
        start, end = versions.extent.first, versions.extent.end
        if not asked or start >= end:
            return
        gate = contest_fold(self.task, start, self.audits, self.offsets)
        folds = [*(each.history for each in asked), *([] if gate is None else [gate])]
        for message in read_all(versions.connection, versions.topics.log, 0, start, end):
            offset = message.offset() or 0
            entry = read_entry(versions.codec, message, versions.skip)
            if entry is not None:
                for each in folds:
                    each.apply(offset, entry)
            if offset % 500 == 0:
                self._progress(offset)
        self._contest = None if gate is None else contest_facts(gate, gate.promotion.roles, start)

    @cached_property
    def _alerts(self) -> list[Alert]:
        found = []
        for message in read_all(self.versions.connection, self.versions.topics.alerts):
            try:
                found.append(self.versions.codec.decode_alert(message.value()))
            except BadRecord as bad:
                log.warning("skipped an alert at offset %d: %s", message.offset() or 0, bad.message)
        return found

    @cached_property
    def _alerts_begin(self) -> int:
        place = (self.versions.topics.alerts, 0)
        return first_offsets(self.versions.connection, [place])[place]

    # ------------------------------------------------------------------ the specification

    def _specification(self, version: Version, model: Model | None) -> Specification:
        arguments: Mapping[str, str] = {}
        if (opening := self.versions.opening(version)) is not None:
            arguments = opening.arguments
        digest, runtime = arguments.get("spec", ""), arguments.get("runtime", "")
        dictionary = arguments.get("dictionary", "")
        found = Specification(digest, dictionary=dictionary, runtime=runtime)
        if (manifest := self._manifest(version)) is not None:
            about = (manifest.spec, manifest.spec_text, f"the manifest of {manifest.version}")
            rest = (manifest.dictionary, manifest.runtime, manifest.runtime_text, manifest.git_commit)
            found = Specification(*about, *rest)
        elif model is not None and digest == self.task.spec(model):
            found = replace(found, text=model.describe(), source="the task file, which has this digest")
            if runtime == self.versions.runtime:
                found = replace(found, runtime_text=runtime_fingerprint()[1])
        return self._with_features(replace(found, task=self._times()))

    def _manifest(self, version: Version) -> Manifest | None:
        """Return the manifest of a version, or the nearest one of its revision."""
        mine = [
            each
            for each in self.manifests.values()
            if (each.model, each.revision) == (version.model, version.revision)
        ]
        return min(mine, key=lambda each: abs(each.log_offset - version.offset), default=None)

    def _with_features(self, found: Specification) -> Specification:
        if found.dictionary == self.task.features.digest:
            said = "As the task file declares them; the version's dictionary has the same digest."
            return replace(found, features=declared(self.task.features), features_source=said)
        for audit in self.audits:
            arguments = audit.command.arguments
            if SCHEMA in arguments and found.dictionary and arguments.get("dictionary") == found.dictionary:
                said = (
                    "Names and types are from the revision on the control topic, without what is never stored. "
                    "Owner and purpose are those of the same names in the task file, whose dictionary differs."
                )
                features = stored(arguments[SCHEMA], self.task.features)
                return replace(found, features=features, features_source=said, only_types=True)
        return found

    def _times(self) -> dict[str, str]:
        task = self.task
        return {
            "horizon, in the task file": str(task.horizon),
            "revision horizon, in the task file": str(task.revision_horizon),
        }

    # ------------------------------------------------------------------ cards

    def _card(self, asked: _Asked) -> Card:
        version, history = asked.version, asked.history
        specification = self._specification(version, asked.model)
        extent = self.versions.extent
        alerts = episodes(self._alerts, version, self.task.features)
        offsets = self.offsets | history.offsets
        return Card(
            self.task.name,
            self.task.question,
            self.task.kind,
            str(version),
            version.model,
            self.versions.topics.log,
            extent.end,
            specification,
            _role(history.roles, version.model),
            _role(self.roles, version.model),
            asked.state,
            training_facts(history, extent.first),
            measured_parts(history),
            self._policy_differs(asked.model, specification),
            gains(history),
            alerts,
            self._alerts_begin,
            decisions(self.audits, version.model, offsets),
            gate_row(version.model, self.roles),
            self._contest,
            validations(self.audits, version.model),
        )

    def _policy_differs(self, model: Model | None, specification: Specification) -> str:
        if model is None:
            return (
                "Nothing is measured: the task file has no model of this name, and so no policy for labels."
            )
        if specification.policy and specification.policy != repr(model.policy):
            return (
                f"Labels count by the policy of the task file, {model.policy!r}; the version learned by "
                f"{specification.policy}."
            )
        return ""

    def _file_card(self, text: str) -> Card:
        """Return what there is of a model in the task file, without a version."""
        model = self.task.model(text.removesuffix(PRESENT))
        digest, libraries = runtime_fingerprint()
        specification = Specification(
            self.task.spec(model),
            model.describe(),
            "the task file",
            self.task.features.digest,
            digest,
            libraries,
            git_commit(self.versions.loaded.folder),
            declared(self.task.features),
            "As the task file declares them.",
            task=self._times(),
        )
        about = (self.task.name, self.task.question, self.task.kind, text, model.name)
        return Card(*about, self.versions.topics.log, self.versions.extent.end, specification)


def _role(roles: Roles, model: str) -> str:
    if model not in roles.models:
        return ""
    role = roles.role(model)
    return role_text(role.share, role.role, role.frozen_at >= 0)
