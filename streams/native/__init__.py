"""The native core: what the loop does most often, compiled. Python stays complete, and is the reference.

It takes runs of records as bytes (docs/adr/0043-native-core.md), and holds the **fused pipelines**: `Select`,
`StandardScaler`, `MinMaxScaler`, `OneHotEncoder` and unions of them, in front of River's linear or logistic
regression with `SGD`, as one kernel over the task's dictionary.

- `kernel.hpp`, `_kernel.pyx`: the kernel, C++17 without Python, and its door to Python.
- `plan.py`: a River pipeline as plain data, from which a kernel is made; `NotFused` says why there is none.
- `state.py`: the state between River's objects and the kernel, both ways.
- `proof.py`: some thousand steps of a pipeline over its dictionary, beside River.
- `records.hpp`, `_records.pyx`, `records.py`: a scanner of records, made from a schema.
- `views.hpp`, `writer.hpp`, `join.hpp`, `_turn.pyx`: the turn: records that are scanned only, and the join's table.
- `turn.py`, `table.py`: the turn's plan, and the table as the state of a `Join`.
- `requests.hpp`, `_serving.pyx`, `serving.py`: requests that are scanned only, and the predictions of them.
- `counts.hpp`: counts of the features of scanned requests, for `streams.quality.columns`.
- `tallies.py`: what was counted, as bytes.
- `facts.hpp`, `monitors.hpp`, `_log.pyx`, `watch.py`: entries that are scanned only, and what the log's monitors do
  with them.
- `fused.py`: a pipeline as a model's fold uses it: the kernel, and River for every example that the kernel rejects.

Bits are equal: a state's digest does not depend on which of the two learned it, and each restores the snapshots
of the other. A pipeline that the kernel does not do, or whose proof fails, runs in River; `ModelFold.prepare`
gives the reason.

The build compiles the core where there is a C++ compiler (`infra/build/hook.py`). After a change of its sources,
run `pip install -e .` again.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Sequence
from typing import Any, Final

from schemas.errors import UsageError

CORES: Final = ("auto", "native", "python")
"""Which implementation: the native one where it is built; the native one or an error; the reference."""


class _Chosen:
    core: str = "auto"


def choose(core: str) -> None:
    """Set the implementation for all folds that this process makes from now on.

    Raises
    ------
    UsageError
        When the native one is asked for and not built.
    """
    if core not in CORES:
        raise UsageError(f"RIVERLOOP_CORE must be one of {', '.join(CORES)}, not {core[:60]!r}")
    if core == "native" and built() is None:
        raise UsageError(
            "RIVERLOOP_CORE=native, and the native core is not built: install riverloop where there is a C++ "
            "compiler, or set RIVERLOOP_CORE=auto"
        )
    _Chosen.core = core


def chosen() -> str:
    """Return the implementation that is set."""
    return _Chosen.core


@functools.cache
def built() -> Any:
    """Return the compiled module of the kernel; None where it is not built."""
    return _module("_kernel")


@functools.cache
def log_module() -> Any:
    """Return the compiled module of the log; None where it is not built."""
    return _module("_log")


@functools.cache
def record_module() -> Any:
    """Return the compiled module of the records; None where it is not built."""
    return _module("_records")


@functools.cache
def serving_module() -> Any:
    """Return the compiled module of serving; None where it is not built."""
    return _module("_serving")


@functools.cache
def turn_module() -> Any:
    """Return the compiled module of the turn; None where it is not built."""
    return _module("_turn")


def request_counts(
    features: Sequence[tuple[float, float, float | None] | None], name: Callable[[float], str]
) -> Any:
    """Return what counts the features of scanned requests; None where the core is not built.

    Parameters
    ----------
    features
        Of each number: its lowest value, its highest, and the one that stands for a missing one, or None; None for
        any other feature.
    name
        Gives the name of a bin by its edge.
    """
    module = serving_module()
    return None if module is None else module.RequestCounts(features, name)


def cells_of(
    rows: Sequence[Any], newest: int, width_ms: int, ids: tuple[set[str], set[str], set[str]]
) -> tuple[list[tuple[int, int, int, int]], int] | None:
    """Put scanned requests in cells of event time, and their ids to the first of some sets.

    Parameters
    ----------
    newest
        The latest time before them (ms).
    width_ms
        Of a cell.
    ids
        Those that were there before.

    Returns
    -------
    tuple or None
        Of successive requests in one cell: its start, how many they are, how many of them are older than one before
        them, and how many have an id that was there before. Then the latest time. None where one was not scanned.
    """
    module = serving_module()
    found: tuple[list[tuple[int, int, int, int]], int] | None = None
    if module is not None and rows and type(rows[0]) is module.ScannedRequest:
        found = module.cells(rows, newest, width_ms, *ids)
    return found


def _module(name: str) -> Any:
    try:
        return importlib.import_module(f"streams.native.{name}")
    except ImportError:
        return None


def described(core: str = "") -> str:
    """Say which implementation is used, for people.

    Examples
    --------
    >>> described("python")
    'core python'
    """
    if (core or chosen()) == "python":
        return "core python"
    module = built()
    return "core python (native is not built)" if module is None else f"core native {module.SOURCES}"
