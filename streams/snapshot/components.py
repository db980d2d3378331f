"""What a River model is made of, by place and name, and what is known of it without running it."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from river import base, compose, feature_extraction, neighbors, proba, rules, sketch, stats
from river.tree.hoeffding_tree import HoeffdingTree

from streams.amrules import AMRules
from streams.snapshot import scikit


class Component(NamedTuple):
    """A part of a model that stands for itself in a pipeline or union."""

    place: str
    """Class and path, for example `compose.Select at TransformerUnion/Pipeline/Select`."""
    estimator: Any
    before: tuple[Any, ...] | None
    """The transformers that its input has gone through; None when it is no transformer."""


def label(estimator: object) -> str:
    """Name a class as River's users know it: `compose.Select`, not `river.compose.select.Select`."""
    kind = type(estimator)
    parts = kind.__module__.split(".")
    return f"{parts[1]}.{kind.__name__}" if parts[0] == "river" and len(parts) > 1 else kind.__name__


def text_of(model: Any) -> str:
    """Give a model's text for people: River's, or its components where River's fails at a rolling window."""
    try:
        return repr(model)
    except Exception:  # `utils.Rolling` passes what its text needs on to the statistic inside
        return "\n".join(each.place for each in components(model))


def components(model: Any) -> list[Component]:
    """Give a model's components, each one after those inside or before it; the model itself last."""
    out: list[Component] = []
    _collect(model, "", (), out)
    if not out or out[-1].estimator is not model:
        out.append(Component(label(model), model, None))
    return out


def _collect(estimator: Any, path: str, before: tuple[Any, ...], out: list[Component]) -> None:
    if isinstance(estimator, compose.Pipeline):
        reached = before
        for name, step in estimator.steps.items():
            _collect(step, f"{path}{name}/", reached, out)
            reached = (*reached, step)
        return
    if isinstance(estimator, compose.TransformerUnion):
        for name, part in estimator.transformers.items():
            _collect(part, f"{path}{name}/", before, out)
    transforms = isinstance(estimator, base.Transformer | base.SupervisedTransformer)
    place = f"{label(estimator)} at {path[:-1]}" if path else label(estimator)
    out.append(Component(place, estimator, before if transforms else None))


# Known to break, by class; each was observed with River 0.26.1.
_KNOWN: Final[Mapping[type, str]] = {
    neighbors.SWINN: "keeps part of its graph on the class, not in snapshots; set engine=neighbors.LazySearch()",
    feature_extraction.RandomTreesEmbedding: "identifies leaves by memory address, which a snapshot cannot keep",
    sketch.Counter: "depends on Python's hash of strings, which changes from process to process",
    sketch.Set: "depends on Python's hash of strings, which changes from process to process",
    rules.AMRules: (
        "identifies rules by memory address, which changes in every process and may come twice; use "
        "streams.AMRules, which numbers them"
    ),
    stats.KolmogorovSmirnov: "draws from Python's global random generator",
}


def static_faults(model: Any) -> Iterator[tuple[str, str]]:
    """Give what is known to be irreproducible in a fresh model, as (component, what)."""
    places = {id(each.estimator): each.place for each in components(model)}
    for part in members(model):
        place = places.get(id(part), f"{label(part)} in {label(model)}")
        if isinstance(part, compose.Select) and len(part.keys) > 1:
            yield (
                place,
                (
                    "returns its features in another order in every process (it iterates over a set); use "
                    "streams.Select"
                ),
            )
        for kind, what in _KNOWN.items():
            if issubclass(type(part), kind) and not isinstance(
                part, AMRules
            ):  # a pipeline says that it is of its last step's class
                yield place, what
        if scikit.is_wrapper(part):
            yield from ((place, what) for what in scikit.faults(part))
        if _prunes_by_size(part):
            what = f"prunes when it measures more than max_size={part.max_size} MiB, and what it measures "
            what += "changes when it is stored and read; leave max_size alone or set it to math.inf, and "
            yield place, what + "bound the tree with max_depth"


def _prunes_by_size(part: Any) -> bool:
    """Whether a tree's size limit was set to something that it may reach.

    The default stays: 100 MiB (500 in forests), looked at once in a million examples, is out of reach of a
    tree that one would serve, and rejecting it would reject every Hoeffding tree. Infinity is never reached.
    """
    parameter = inspect.signature(type(part).__init__).parameters.get("max_size")
    if parameter is None or not (isinstance(part, HoeffdingTree) or hasattr(part, "memory_estimate_period")):
        return False
    size = getattr(part, "max_size", parameter.default)
    return size != parameter.default and not (isinstance(size, float) and math.isinf(size))


def unseeded(model: Any) -> Iterator[str]:
    """Give the components that have a `seed` which is None."""
    for part in members(model):
        if isinstance(part, base.Base) and not isinstance(part, proba.base.Distribution):
            has_seed = "seed" in inspect.signature(type(part).__init__).parameters
            if has_seed and getattr(part, "seed", 0) is None:
                yield label(part)


def members(model: Any) -> Iterator[Any]:
    """Give the model and every River or user object in it, once each."""
    seen: set[int] = set()
    ahead: list[Any] = [model]
    kept: list[Any] = []
    while ahead:
        part = ahead.pop()
        if id(part) in seen or isinstance(part, type | str | bytes | int | float | None):
            continue
        seen.add(id(part))
        kept.append(part)  # an id is only good while its object lives
        if isinstance(part, Mapping):
            ahead.extend(part.values())
        elif isinstance(part, list | tuple | set | frozenset):
            ahead.extend(part)
        elif hasattr(part, "__dict__"):
            yield part
            ahead.extend(vars(part).values())
