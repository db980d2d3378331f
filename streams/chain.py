"""Chains: a task whose requests are made of another task's predictions, live and from a data file alike."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from schemas.dictionary import Boolean, Category, Dictionary, Number
from schemas.errors import BadRecord, TaskError
from schemas.records import Outcome, Prediction, Request
from schemas.topics import TaskTopics
from streams.datafile import Event

if TYPE_CHECKING:
    from streams.task import Task

SEPARATOR: Final = "/"
"""Between a task and a version, in the lineage of a request; no task's name has it."""


@dataclass(frozen=True, slots=True)
class After:
    """Each prediction of another task is a request of this one, with the same id and event time.

    The dictionary says which features the request has. The two that are named here hold the answer, the others are
    features of the other task, by name. Features that serving adds are added as to any request.

    Parameters
    ----------
    task
        The other task.
    score
        The number that gets the score: P(true), or the predicted number. Missing where there is no score.
    label
        The boolean or category that gets the decision. Missing where there is none.
    """

    task: Task = field(repr=False)
    score: str = ""
    label: str = ""

    @property
    def topic(self) -> str:
        """The topic of the other task's predictions."""
        return TaskTopics(self.task.name).predictions

    def problems(self, dictionary: Dictionary) -> Iterator[str]:
        """Yield what does not fit a task with this dictionary, which knows what serving adds."""
        kind, asked = self.task.kind, dictionary.asked.by_name
        if not self.score and not self.label:
            yield "needs score= or label=, the feature that gets the answer"
        if self.score and kind == "multiclass":
            yield f"score={self.score!r}: {self.task.name} has a score for each of its classes; use label="
        if self.label and kind == "regression":
            yield f"label={self.label!r}: {self.task.name} predicts a number, which is its score; use score="
        taken = {
            self.score: (Number, "a Number"),
            self.label: (Category, "a Category") if kind == "multiclass" else (Boolean, "a Boolean"),
        }
        for name, (wanted, word) in taken.items():
            if name and not isinstance(asked.get(name), wanted):
                yield f"{name!r} must be {word} in the dictionary that requests carry"
        theirs = self.task.features.by_name
        for name, feature in asked.items():
            other = theirs.get(name)
            if feature.personal_data != "none" or (other is not None and other.personal_data != "none"):
                yield f"feature {name} is personal data, which does not pass from task to task"
            elif name in taken:
                continue
            elif type(other) is not type(feature):
                yield f"feature {name} must be a {feature.word} of task {self.task.name} as well"
        if dictionary.parents != "none":
            yield "needs Dictionary(..., parents='none'), where the other task's version is recorded"

    def request(self, prediction: Prediction, dictionary: Dictionary) -> Request:
        """Return the request that a prediction gives.

        Its `parents` name the task and the version that answered, `fraud/lr.1@4211`, behind those of a prediction
        that is of a chain itself. The entity key passes where the other task stores it in plain.

        Parameters
        ----------
        dictionary
            Of the task that has this.

        Raises
        ------
        BadRecord
            A feature is missing that must not be, or is not as the dictionary says.
        """
        asked: dict[str, Any] = dict(prediction.features)
        for name in (self.score, self.label):
            asked.pop(name, None)
        parents = prediction.parents if self.task.after is not None else ()
        if prediction.scores:
            answer = prediction.scores[0]
            asked |= {self.score: answer.score, self.label: answer.label}
            parents = (*parents, f"{self.task.name}{SEPARATOR}{answer.version}")
        given = dictionary.asked.canonical({name: each for name, each in asked.items() if name})
        entity = prediction.entity_key if self.task.features.entity_key == "none" else None
        return Request(prediction.request_id, prediction.ts, given, entity, parents)

    def events(
        self, theirs: Iterable[Event], own: Iterable[Event], dictionary: Dictionary
    ) -> tuple[list[Event], Counter[str]]:
        """Run the other task in memory, and return what a file gives for this one.

        Parameters
        ----------
        theirs
            The other task's, in the order of their request times.
        own
            Events with the outcomes of this task; their features and times do not count.
        dictionary
            As of `request`.

        Returns
        -------
        events
            In the order of the predictions.
        left_out
            How many requests gave none, by reason: the other task or this one rejects them.
        """
        from streams.driver import MemoryDriver  # noqa: PLC0415  it runs tasks, which are declared with this

        outcomes: dict[str, list[tuple[Outcome, ...]]] = {}
        for each in own:
            outcomes.setdefault(each.request.request_id, []).append(each.outcomes)
        driver = MemoryDriver(self.task, keep_log=False)
        found, left_out = [], Counter[str]()
        for prediction in driver.run(theirs):
            rows = outcomes.get(prediction.request_id)
            reported = rows.pop(0) if rows else ()
            try:
                request = self.request(prediction, dictionary)
            except BadRecord as bad:
                left_out[bad.reason] += 1
                continue
            found.append(Event(request, reported))
        left_out.update(bad.reason for _, bad in driver.rejected)
        return found, left_out


def check_after(after: object, dictionary: Dictionary, made: type, where: str) -> None:
    """Reject a chain that a task cannot have.

    Parameters
    ----------
    made
        The class of tasks.
    where
        Begins the messages.

    Raises
    ------
    TaskError
        Saying what is wrong with it.
    """
    if after is None:
        return
    if not isinstance(after, After) or not isinstance(after.task, made):
        raise TaskError(f"{where} must be After(task, ...) with the other Task, not {type(after).__name__}")
    for problem in after.problems(dictionary):
        raise TaskError(f"{where} {problem}")


def answers_before(parents: Iterable[str], after: After | None) -> list[dict[str, str]]:
    """Return the task and the version of each answer before a request, the first one first.

    Examples
    --------
    >>> answers_before(["fraud/lr.1@4211"], None)
    []
    """
    tasks: set[str] = set()
    while after is not None:
        tasks.add(after.task.name)
        after = after.task.after
    split = (each.partition(SEPARATOR) for each in parents)
    return [{"task": task, "version": version} for task, _, version in split if task in tasks]
