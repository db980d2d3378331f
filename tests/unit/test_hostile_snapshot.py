"""A snapshot written by somebody else: rejected, or numbers in the places of numbers."""

from __future__ import annotations

import collections
import sys
import time
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from river import (
    compose,
    drift,
    ensemble,
    feature_extraction,
    linear_model,
    multiclass,
    naive_bayes,
    preprocessing,
    stats,
    tree,
    utils,
)

from schemas.errors import SnapshotError
from schemas.state_table import FORMAT, HEADER, StateTable, decode, encode
from streams.snapshot import dump, load
from streams.snapshot.classes import river_fields
from streams.snapshot.digest import state_digest
from streams.snapshot.write import BIG, BLOB, CONSTANT, FLOAT, INTEGER, NUMBER, OBJECT, TEXT

SCALER = "river.preprocessing.scale:StandardScaler"


class Forge:
    """Writes a state by hand, object by object."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.blobs: list[bytes] = []
        self.floats = array("d")
        self.shapes: list[int] = []
        self.count = 1
        self.cells: list[list[int]] = []

    def text(self, value: str) -> int:
        self.texts.append(value)
        return len(self.texts) - 1

    def cell(self, value: Any) -> int:
        if isinstance(value, Object):
            return value.number << 3 | OBJECT
        if isinstance(value, bool) or value is None:
            return (None, False, True).index(value) << 3 | CONSTANT
        if isinstance(value, int) and abs(value) >= 1 << 59:
            self.blobs.append(value.to_bytes(40, "little", signed=True))
            return len(self.blobs) - 1 << 3 | BIG
        if isinstance(value, int):
            return value << 3 | INTEGER
        if isinstance(value, float):
            self.floats.append(value)
            return FLOAT
        if isinstance(value, bytes):
            self.blobs.append(value)
            return len(self.blobs) - 1 << 3 | BLOB
        return self.text(value) << 3 | TEXT

    def write(self, *objects: Object) -> bytes:
        for number, each in enumerate(objects):
            each.number = number
        cells: list[int] = []
        for each in objects:
            shape = 0
            if each.cls:
                self.shapes += (len(each.fields), self.text(each.cls), *map(self.text, each.fields))
                shape, self.count = self.count, self.count + 1
            values = [self.cell(value) for value in (*each.fields.values(), *each.values)]
            cells += (NUMBER[each.kind], shape, len(each.values), *values)
        return encode(StateTable(len(objects), self.texts, self.shapes, self.floats, self.blobs, cells))


class Object:
    """An object of a forged state."""

    number = -1

    def __init__(self, kind: str, *values: Any, cls: str = "", **fields: Any) -> None:
        self.kind, self.values, self.cls, self.fields = kind, values, cls, fields


def forged(*objects: Object) -> bytes:
    return Forge().write(*objects)


def code(name: str) -> Object:
    return Object("code", name)


def with_factory(name: str) -> bytes:
    factory = code(name)
    return forged(Object("defaultdict", factory), factory)


def with_field(cls: str, name: str, value: Any = 1) -> bytes:
    more = (value,) if isinstance(value, Object) else ()
    return forged(Object("object", cls=cls, **{name: value}), *more)


def holding(kind: str, value: Object, *more: Any) -> bytes:
    return forged(Object(kind, value, *more), value)


def with_partial(name: str) -> bytes:
    function = code(name)
    partial = Object("partial", function, 1)
    return forged(Object("list", partial), partial, function)


def tuple_of_itself() -> bytes:
    itself = Object("tuple")
    itself.values = (itself,)
    return forged(Object("list", itself), itself)


def with_class(cls: str, kind: str = "object") -> bytes:
    return forged(Object(kind, cls=cls))


def nested_tuples(of: int, width: int) -> bytes:
    tuples = [Object("tuple")]
    for _ in range(of):
        tuples.insert(0, Object("tuple", *[tuples[0]] * width))
    return forged(Object("dict", tuples[0], 1), *tuples)


def method(name: str, owner: Object) -> bytes:
    bound = Object("method", name, owner)
    return forged(Object("list", bound), bound, owner)


def generator(**changes: Any) -> bytes:
    key = Object("array", "<u4", False, np.arange(624, dtype="<u4").tobytes(), 624)
    inner = Object("dict", "key", key, "pos", changes.get("pos", 1))
    state = Object(
        "dict", "bit_generator", changes.get("name", "MT19937"), "state", inner, "has_gauss", 0, "gauss", 0.0
    )
    return forged(Object("generator", state, cls="numpy.random.mtrand:RandomState"), state, inner, key)


def rust(cls: str, *values: Any) -> bytes:
    return forged(Object("compiled", *values, cls=f"stats:{cls}" if cls.startswith("Rs") else cls))


QUANTILE = bytes(168)
MEAN = "river.stats.mean:Mean"
ATTACKS: dict[str, bytes] = {
    # Code that the model does not have.
    "a function as a factory": with_factory("posix.system"),
    "eval as a factory": with_factory("builtins.eval"),
    "a class as a factory": with_factory("subprocess.Popen"),
    "a method of a class as a factory": with_factory("river.compose.pipeline.Pipeline.learn_one"),
    "a partial with a foreign callable": with_factory(f"partial {'0' * 32}"),
    "deepcopy in a partial": with_factory("copy.deepcopy"),
    "a module": with_factory("module os"),
    "a text as a factory": forged(Object("defaultdict", "posix.system")),
    "a partial with a state": with_partial("builtins.list"),
    "code in a field of numbers": with_field(MEAN, "_mean", code("builtins.list")),
    "a method of a listed class": method("river.stats.mean.Mean.update", Object("object", cls=MEAN)),
    "a method of a list": method("builtins.list.append", Object("list")),
    # Fields.
    **{
        f"the field {name}": with_field(SCALER, name)
        for name in (
            *(
                "__class__",
                "__dict__",
                "__reduce__",
                "__reduce_ex__",
                "__setstate__",
                "__deepcopy__",
                "__call__",
            ),
            *("learn_one", "transform_one", "_supervised", "not declared", "counts.x", "", "another"),
        )
    },
    "a wrapper's field that shadows its method": with_field("river.utils.rolling:Rolling", "update"),
    "a field of a class without any": with_field("river.optim.initializers:Zeros", "x"),
    "a field that is a property": with_field("river.compose.pipeline:Pipeline", "_last_step"),
    # Classes.
    **{
        f"the class {name}": with_class(name)
        for name in (
            *("os:_wrap_close", "subprocess:Popen", "builtins:type", "builtins:object", "builtins:dict"),
            *(
                "river.datasets.base:FileDataset",
                "river.datasets.phishing:Phishing",
                "river.stream.iter_csv:x",
            ),
            *(
                "streams.task:Task",
                "schemas.records:Outcome",
                "river.stats.mean:Mean.update",
                "river.stats.mean",
            ),
            *(":", "", "river.stats.mean:", "river:stats", "river.compose.pipeline:inspect", "evil"),
        )
    },
    "an abstract class": with_class("river.base.classifier:Classifier"),
    "a class as a list that it is not": with_class(SCALER, "object list"),
    "a list's class as a plain object": with_class("river.time_series.holt_winters:AdditiveLevel"),
    "a class for a plain list": with_class(SCALER, "list"),
    "an enumeration of no class": forged(Object("enum", "learn_one", cls=SCALER)),
    # Keys.
    "an object as a key": holding("dict", Object("object", cls=MEAN), 1),
    "a list as a member": holding("set", Object("list")),
    "tuples whose hash takes for ever": nested_tuples(40, 2),
    "wide tuples whose hash takes for ever": nested_tuples(20, 9),
    "a member that takes for ever": holding("frozenset", Object("tuple", *range(2000))),
    "numbers of one hash as members": forged(Object("set", *[n * ((1 << 61) - 1) for n in range(1, 2000)])),
    "a key without a value": forged(Object("dict", "a")),
    # Nesting.
    "tuples that hold themselves": tuple_of_itself(),
    # Compiled classes.
    "a compiled class of no name": rust("river._river_rust.stats:RsQuantile", b""),
    "an unknown compiled class": forged(Object("compiled", b"", cls="river._river_rust.stats:Other")),
    "too few bytes": forged(Object("compiled", QUANTILE, cls="stats:RsQuantile")),
    # Generators and arrays.
    "a position beyond the generator": generator(pos=625),
    "a negative position": generator(pos=-1),
    "an unknown generator": generator(name="os"),
    "random words that are too few": forged(Object("random", 3, bytes(8), None)),
    "random words of another version": forged(Object("random", 2, bytes(2500), None)),
    "a random position beyond the words": forged(Object("random", 3, b"\xff" * 2500, None)),
    "an array larger than its bytes": forged(Object("array", "<f8", False, bytes(8), 1 << 50)),
    "an array with negative sides": forged(Object("array", "<f8", False, bytes(8), -1, -1)),
    "an array of objects in bytes": forged(Object("array", "|O", False, bytes(8), 1)),
    "an array of a made-up type": forged(Object("array", "f8,O", False, bytes(8), 1)),
    "an array of objects of a shape": forged(Object("objects", 1, 5, "a")),
    "a scalar of two": forged(Object("scalar", "<f8", bytes(16))),
    "a time of no form": forged(Object("time", "now", cls="datetime:datetime")),
    "a vector of texts": forged(Object("vector", None, None, "a", "b")),
    "a vector with a made-up factory": forged(Object("vector", "eval", None, "a", 1.0)),
    # Damage.
    "no objects": encode(StateTable(0, [], [], array("d"), [], [])),
    "more objects than cells": encode(StateTable(9, [], [], array("d"), [], [NUMBER["list"], 0, 0])),
    "more objects than may be": encode(StateTable(1 << 40, [], [], array("d"), [], [])),
    "more values than cells": encode(StateTable(1, [], [], array("d"), [], [NUMBER["list"], 0, 1 << 40])),
    "cells left over": encode(StateTable(1, [], [], array("d"), [], [NUMBER["list"], 0, 0, 0])),
    "a float that is not there": encode(StateTable(1, [], [], array("d"), [], [NUMBER["list"], 0, 1, FLOAT])),
    "a text that is not there": encode(
        StateTable(1, [], [], array("d"), [], [NUMBER["list"], 0, 1, 8 | TEXT])
    ),
    "an object that is not there": encode(StateTable(1, [], [], array("d"), [], [0, 0, 1, 64 | OBJECT])),
    "a negative index": encode(StateTable(1, [], [], array("d"), [], [0, 0, 1, -8 | TEXT])),
    "an unknown kind": encode(StateTable(1, [], [], array("d"), [], [999, 0, 0])),
    "a negative kind": encode(StateTable(1, [], [], array("d"), [], [-1, 0, 0])),
    "a negative count": encode(StateTable(1, [], [], array("d"), [], [0, 0, -1])),
    "a shape that is cut off": encode(StateTable(1, ["a"], [5, 0], array("d"), [], [0, 0, 0])),
    "a shape of negative length": encode(StateTable(1, ["a"], [-1, 0], array("d"), [], [0, 0, 0])),
    "an unknown tag": encode(StateTable(1, [], [], array("d"), [], [0, 0, 1, 7])),
    "empty": b"",
    "a pickle": b"\x80\x05cos\nsystem\n(X\x01\x00\x00\x00atR.",
    "the header alone": HEADER,
    "another format": dump([1]).replace(b"riverloop.state\x02" + FORMAT.encode(), b"riverloop.state\x022"),
    "more after the end": dump([1]) + b"x",
    "cut off": dump([1])[:-1],
}


@contextmanager
def nothing_runs() -> Iterator[None]:
    """Fail when something is executed, imported, opened or connected to."""
    seen: list[str] = []
    Audit.seen = seen
    try:
        yield
    finally:
        Audit.seen = None
    assert not seen


class Audit:
    seen: ClassVar[list[str] | None] = None
    events = (
        "exec",
        "compile",
        "import",
        "open",
        "os.",
        "subprocess.",
        "socket.",
        "ctypes.",
        "marshal.",
        "pickle.",
    )

    @classmethod
    def hook(cls, event: str, arguments: tuple[Any, ...]) -> None:
        if cls.seen is not None and event.startswith(cls.events):
            cls.seen.append(f"{event} {arguments!r:.80}")


sys.addaudithook(Audit.hook)
river_fields()  # the list is read once


def restored(data: bytes, make: Callable[[], Any] = lambda: None) -> Any:
    """Restore under watch; gives None for what is rejected."""
    template = make()
    with nothing_runs():
        try:
            return load(data, template)
        except SnapshotError:
            return None


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_hostile_snapshot_is_rejected_and_nothing_of_it_runs(attack: str) -> None:
    started = time.perf_counter()
    with nothing_runs(), pytest.raises(SnapshotError):
        load(ATTACKS[attack])
    assert time.perf_counter() - started < 5


def test_the_watch_sees_what_runs() -> None:
    for run in (lambda: compile("1", "x", "eval"), lambda: open("/dev/null").close(), lambda: exec("1")):  # noqa: PTH123
        with pytest.raises(AssertionError), nothing_runs():
            run()


def test_the_error_names_the_class_and_the_code() -> None:
    with pytest.raises(SnapshotError, match=r"'subprocess:Popen', a class that is not allowed"):
        load(with_class("subprocess:Popen"))
    with pytest.raises(SnapshotError, match=r"expects posix\.system, and the model has no code of this name"):
        load(with_factory("posix.system"))
    with pytest.raises(SnapshotError, match="sets 'learn_one', which is not a field of StandardScaler"):
        load(with_field(SCALER, "learn_one"))


def test_sizes_are_bounded() -> None:
    with pytest.raises(SnapshotError, match="limit"):
        load(dump(stats.Mean()), limit=10)


def test_code_of_the_model_stays_where_it_is() -> None:
    """The model's own code is no building block for others."""

    def make() -> Any:
        return preprocessing.RobustScaler()  # its defaults are made by partials

    data = dump(make())
    assert restored(data, make) is not None
    name = next(text for text in decode(data).texts if text.startswith("partial "))
    factory = code(name)
    mean = Object("object", cls=MEAN, _mean=factory)
    with pytest.raises(SnapshotError, match="puts code into '_mean' of a Mean"):
        load(forged(Object("list", None, mean), mean, factory), [make()])
    scaler = preprocessing.StandardScaler
    with pytest.raises(SnapshotError, match="another type of 'counts' than the StandardScaler"):
        load(with_field(SCALER, "counts", Object("list")), scaler())
    with pytest.raises(SnapshotError, match="another type of 'with_std'"):
        load(with_field(SCALER, "with_std", Object("list")), scaler())


def test_no_class_is_changed_by_a_snapshot() -> None:
    before = dict(vars(preprocessing.StandardScaler))
    for name in ("learn_one", "__dict__", "counts"):
        restored(with_field(SCALER, name))
    assert dict(vars(preprocessing.StandardScaler)) == before


def trained(make: Callable[[], Any]) -> bytes:
    model = make()
    for number in range(60):
        x = {"a": float(number % 7), "b": number / 3, "g": "xyz"[number % 3]}
        model.learn_one(x, number % 4 < 2)
    return dump(model)


def numbers() -> Any:
    return compose.Select("a") | preprocessing.StandardScaler()


MODELS: dict[str, Callable[[], Any]] = {
    "logistic": lambda: numbers() | linear_model.LogisticRegression(),
    "tree": lambda: tree.HoeffdingTreeClassifier(grace_period=10, nominal_attributes=["g"], max_depth=5),
    "passive": lambda: numbers() | multiclass.OneVsRestClassifier(linear_model.PAClassifier()),
    "bagging": lambda: (
        compose.Select("a", "b")
        | ensemble.ADWINBaggingClassifier(naive_bayes.GaussianNB(), n_models=2, seed=1)
    ),
    "quantiles": lambda: (
        compose.Select("a", "b") | preprocessing.RobustScaler() | linear_model.ALMAClassifier()
    ),
    "groups": lambda: (
        feature_extraction.TargetAgg(by="g", how=stats.BayesianMean(0.5, 3))
        | linear_model.LogisticRegression()
    ),
    "windows": lambda: (
        feature_extraction.Agg(on="a", by="g", how=utils.Rolling(stats.Mean, window_size=5))
        | linear_model.LogisticRegression()
    ),
    "drift": lambda: drift.DriftRetrainingClassifier(
        numbers() | linear_model.LogisticRegression(), drift.binary.DDM()
    ),
}
STORED = {name: trained(make) for name, make in MODELS.items()}
NAMES = (
    "posix.system",
    "__class__",
    "subprocess:Popen",
    "learn_one",
    "river.compose.func:FuncTransformer",
    SCALER,
)


@st.composite
def mutated(draw: st.DrawFn) -> tuple[str, bytes]:
    """Give a model's stored state with some of its cells, texts, shapes and bytes changed."""
    name = draw(st.sampled_from(sorted(STORED)))
    table = decode(STORED[name])
    columns: list[Any] = [table.cells, table.shapes, table.texts, table.blobs]
    for _ in range(draw(st.integers(1, 3))):
        column = draw(st.sampled_from([each for each in columns if each]))
        at = draw(st.integers(0, len(column) - 1))
        if column is table.texts:
            column[at] = draw(st.sampled_from((*NAMES, *column)))
        elif column is table.blobs:
            blob, place = bytearray(column[at]), draw(st.integers(0, max(0, len(column[at]) - 1)))
            blob[place : place + draw(st.integers(0, 2))] = draw(st.binary(max_size=2))
            column[at] = bytes(blob)
        else:
            near = draw(st.integers(-8, 8)) + column[at]
            column[at] = draw(
                st.sampled_from((near, draw(st.sampled_from(column)))) | st.integers(-(1 << 40), 1 << 40)
            )
    return name, encode(table)


COUNTS: collections.Counter[str] = collections.Counter()


@settings(max_examples=10_000, deadline=None)
@given(mutated())
def test_a_mutated_state_is_rejected_or_restored_to_data_only(case: tuple[str, bytes]) -> None:
    name, data = case
    model = restored(data, MODELS[name])
    COUNTS["rejected" if model is None else "restored"] += 1
    if model is None:
        return
    with nothing_runs():
        _asked(model)


def _asked(model: Any) -> None:
    """Take the digest and ask: a state of wrong numbers may raise, and runs nothing."""
    try:
        state_digest(model)
        model.predict_proba_one({"a": 1.0, "b": 2.0, "g": "x"})
    except Exception:
        return
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise


def test_the_mutations_bite_and_some_pass() -> None:
    """Run after the search above: it saw both."""
    if COUNTS:
        assert min(COUNTS["rejected"], COUNTS["restored"]) > 0.02 * COUNTS.total()
