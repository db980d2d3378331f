"""What a snapshot may name: exact (module, name) pairs, no prefixes, no dotted names.

Under a rule such as "everything in `river`", `river.datasets.base` would lend a snapshot its imports, and
with them a shell. So every pair stands here or, generated from River's own classes, in
`streams.allowed_river`.
"""

from __future__ import annotations

from typing import Final

from streams.allowed_river import RIVER
from streams.restoring import CALLABLE

Pair = tuple[str, str]

INSTANTIATED: Final[frozenset[Pair]] = RIVER | {
    ("statistics", "NormalDist"),  # the adaptive tree for regression compares branches with it
    ("streams.select", "Select"),
}
"""Classes of which a snapshot may make an object, without its `__init__`, and set its state."""

CALLED: Final[frozenset[Pair]] = frozenset(
    {
        # Containers. Their constructors keep what they are given.
        ("collections", "Counter"),
        ("collections", "OrderedDict"),
        ("collections", "defaultdict"),
        ("collections", "deque"),
        # Keeps a callable for later; it can only be one that is listed here, or the task's own.
        ("functools", "partial"),
        # Plain values.
        ("datetime", "date"),
        ("datetime", "datetime"),
        ("datetime", "timedelta"),
        ("datetime", "timezone"),
        # River classes that are pickled as a call: containers too.
        ("river._river_rust.vectordict", "VectorDict"),
        ("river.time_series.holt_winters", "AdditiveLevel"),
        ("river.time_series.holt_winters", "AdditiveSeason"),
        ("river.time_series.holt_winters", "MultiplicativeLevel"),
        ("river.time_series.holt_winters", "MultiplicativeSeason"),
        ("river.time_series.holt_winters", "Trend"),
        # Ours, in place of numpy's, copyreg's and getattr: see there.
        *(("streams.restoring", name) for name in CALLABLE),
    }
)
"""What a snapshot may call while it is read."""

FUNCTIONS: Final[frozenset[Pair]] = frozenset(
    {
        # Types that stand as default factories and parameters; a snapshot cannot call them while it is read.
        *(("builtins", name) for name in ("bool", "float", "int", "list", "dict", "set", "str", "tuple")),
        ("numbers", "Number"),
        # Makes the groups of Agg, Grouper, OneVsOneClassifier, SoftmaxRegression from a prototype.
        ("copy", "deepcopy"),
        # Distances of nearest-neighbour models.
        ("river._river_rust.vectordict", "euclidean_distance_dict"),
        ("river._river_rust.vectordict", "euclidean_distance_tuple"),
    }
)
"""What a snapshot may refer to, without making or calling it."""
