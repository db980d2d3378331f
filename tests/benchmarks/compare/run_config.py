"""What a contender is told, and what may be named as one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig:
    """What one run is told: the inputs lie on their topics already; it goes on until it is ended."""

    bootstrap: str
    task: str
    """Reference of the task file."""
    requests: str
    outcomes: str
    predictions: str
    """Topics, by what lies on them."""
    examples: str
    """The topic of the labelled examples; riverloop's own is the training log."""
    group: str
    """Consumer group, and the first part of other names that must be unique on the cluster."""
    folder: str
    """For what it keeps on this machine; removed after the run."""
    number: int = 0
    """Which of the processes that do the job together."""
    options: Mapping[str, str] = field(default_factory=dict)
    """The contender's own, from its line below."""


@dataclass(frozen=True, slots=True)
class Contender:
    """One way to do the job.

    Parameters
    ----------
    name
        As in the table.
    module
        The file under `tests/benchmarks/compare/` that does it: `main(given)`.
    says
        How it is made, in a few words.
    promise
        What it promises about delivery and state when it is killed.
    packages
        The distributions whose versions belong to the result; all must be installed.
    options
        Told to it.
    entries
        Whether its examples are entries of a training log, or records of `tests.benchmarks.compare.job`.
    share
        Of the pairs, how many it gets: one that takes ten times as long would take all of the benchmark's time.
    processes
        How many do the job together.
    partitions
        Of the topics keyed by request.
    """

    name: str
    module: str
    says: str
    promise: str
    packages: tuple[str, ...]
    options: Mapping[str, str] = field(default_factory=dict)
    entries: bool = False
    share: float = 1.0
    processes: int = 1
    partitions: int = 1


OURS: Final = "ours"
BY_HAND: Final = ("confluent-kafka", "fastavro", "river")
CONTENDERS: Final = (
    Contender(
        OURS,
        "ours",
        "a riverloop worker with its defaults: joined state, snapshots, metrics",
        "outputs and joined state exactly once; model and metrics restored",
        ("riverloop", *BY_HAND),
        entries=True,
    ),
    Contender(
        "handwritten",
        "handwritten",
        "a single-purpose loop of confluent-kafka, fastavro, River and a dict",
        "outputs exactly once; joined state and model lost",
        BY_HAND,
        {"transactional": "true"},
    ),
    Contender(
        "handwritten-at-least-once",
        "handwritten",
        "the same without transactions",
        "outputs at least once; joined state and model lost",
        BY_HAND,
        {"transactional": "false"},
    ),
    Contender(
        "plain-faust",
        "plain_faust",
        "Faust agents and a Table around riverloop's join and model",
        "at least once; joined state restored, model lost",
        ("faust-streaming", "aiokafka", "river"),
        {"state": "table"},
        entries=True,
        share=0.1,
    ),
    Contender(
        "plain-faust-dict",
        "plain_faust",
        "the same with a dict as Table",
        "at least once; joined state and model lost",
        ("faust-streaming", "aiokafka", "river"),
        {"state": "dict"},
        entries=True,
        share=0.1,
    ),
    Contender(
        "quix",
        "quix",
        "Quix Streams with a dict for the join",
        "at least once; joined state and model lost",
        ("quixstreams", *BY_HAND),
        {"guarantee": "at-least-once"},
    ),
    Contender(
        "quix-exactly-once",
        "quix",
        "Quix Streams with its interval join and state store",
        "outputs and joined state exactly once; model lost",
        ("quixstreams", *BY_HAND),
        {"guarantee": "exactly-once"},
    ),
    Contender(
        "bytewax",
        "bytewax_flow",
        "Bytewax with its join operator, without a recovery store",
        "everything lost",
        ("bytewax", *BY_HAND),
    ),
)

UNWATCHED: Final = Contender(
    "ours-unwatched",
    "ours",
    "the same worker without metrics, drift and data quality: what seeing costs, is the difference",
    "as ours, and nobody notices anything",
    ("riverloop", *BY_HAND),
    {"watched": "false"},
    entries=True,
)
"""Beside ours where the stages are measured; not in the table, since nobody can run it."""
SCALED: Final = (
    replace(CONTENDERS[0], name="one-worker", partitions=2),
    replace(CONTENDERS[0], name="two-workers", partitions=2, processes=2),
    replace(CONTENDERS[0], name="one-worker-tenfold", partitions=2, share=10.0),
)
"""Ours, where it is measured how it scales."""


def contender(name: str) -> Contender:
    """Give a contender by name.

    Raises
    ------
    KeyError
        For a name that is none of theirs.

    Examples
    --------
    >>> contender("bytewax").module
    'bytewax_flow'
    """
    return {each.name: each for each in (*CONTENDERS, UNWATCHED, *SCALED)}[name]
