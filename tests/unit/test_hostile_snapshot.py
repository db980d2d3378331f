from __future__ import annotations

import builtins
import copyreg
import functools
import os
import pickle
import random
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from river import linear_model, preprocessing, stats

from schemas.errors import SnapshotError
from streams import restoring
from streams.opcodes import check
from streams.snapshot import dump, load

HEAD = b"\x80\x05"


def text(value: str) -> bytes:
    raw = value.encode()
    return b"\x8c" + bytes([len(raw)]) + raw


def named(module: str, name: str) -> bytes:
    return text(module) + text(name) + b"\x93"


def call(module: str, name: str, *arguments: bytes) -> bytes:
    return named(module, name) + b"(" + b"".join(arguments) + b"tR"


@pytest.fixture
def marker(tmp_path: Path) -> Iterator[Path]:
    """A file that exists if anything of a hostile snapshot ran."""
    path = tmp_path / "ran"
    yield path
    assert not path.exists()


def hostile(marker: Path) -> dict[str, bytes]:
    shell = text(f"touch {marker}")
    touch = f"__import__('os').system('touch {marker}')"
    scaler = ("river.preprocessing.scale", "StandardScaler")
    empty_scaler = named(*scaler) + b")\x81"
    return {
        # Through a module that lends its imports.
        "river.datasets.base": HEAD + call("river.datasets.base", "os.system", shell) + b".",
        "attribute of a listed module": HEAD + call("river.stats.base", "abc.sys", shell) + b".",
        "module as a name": HEAD + named("river.datasets", "base") + b".",
        "os.system": HEAD + call("os", "system", shell) + b".",
        "posix.system": HEAD + call("posix", "system", shell) + b".",
        "builtins.eval": HEAD + call("builtins", "eval", text(touch)) + b".",
        "builtins.exec": HEAD + call("builtins", "exec", text(touch)) + b".",
        "builtins.__import__": HEAD + call("builtins", "__import__", text("os")) + b".",
        "builtins.getattr": HEAD
        + call("builtins", "getattr", call("builtins", "__import__", text("os")), text("system"))
        + b".",
        "getattr of a listed class": HEAD + call("builtins", "getattr", named(*scaler), text("mro")) + b".",
        "operator.methodcaller": HEAD + call("operator", "methodcaller", text("system"), shell) + b".",
        "copyreg._reconstructor": HEAD + call("copyreg", "_reconstructor", named(*scaler)) + b".",
        # Dotted names on listed modules and classes.
        "dotted name of a listed class": HEAD
        + named(scaler[0], "StandardScaler.learn_one.__globals__")
        + b".",
        "dotted module": HEAD + named("river.compose.pipeline", "io.os.system") + b".",
        # Nested in what is listed.
        "inside a dict": HEAD + b"}" + text("a") + call("os", "system", shell) + b"s.",
        "inside a state": HEAD + empty_scaler + b"}" + text("means") + call("os", "system", shell) + b"sb.",
        "inside arguments": HEAD
        + call("collections", "deque", b"]" + call("os", "system", shell) + b"a")
        + b".",
        "as a partial": HEAD + call("functools", "partial", named("os", "system"), shell) + b".",
        "as a default factory": HEAD + call("collections", "defaultdict", named("os", "getcwd")) + b".",
        # Names made as it goes, or kept in the memo.
        "name from a call": HEAD + text("os") + call("builtins", "str", text("system")) + b"\x93.",
        "name from the memo": HEAD
        + text("system")
        + b"\x940"
        + text("os")
        + b"h\x00\x93"
        + b"("
        + shell
        + b"tR.",
        # Calling what may only be named, or made.
        "class called": HEAD + call(*scaler) + b".",
        "factory called": HEAD + call("builtins", "list", b"]") + b".",
        "deepcopy called": HEAD + call("copy", "deepcopy", b"]") + b".",
        "partial called": HEAD + call("functools", "partial", named("builtins", "list")) + b")R.",
        "plain data called": HEAD + b"])R.",
        "factory made": HEAD + named("builtins", "list") + b")\x81.",
        "compiled class made": HEAD + named("river._river_rust.stats", "RsRollingQuantile") + b")\x81.",
        # States that smuggle.
        "state of a class": HEAD + named(*scaler) + b"}" + text("learn_one") + b"Nsb.",
        "slots of a class": HEAD + named(*scaler) + b"N}" + text("learn_one") + b"Ns\x86b.",
        "state set twice": HEAD
        + empty_scaler
        + b"}"
        + text("__setstate__")
        + named("builtins", "list")
        + b"sb]b.",
        "state of a method": HEAD
        + call("streams.restoring", "method", empty_scaler, text("learn_one"))
        + b"}"
        + text("a")
        + b"Nsb.",
        "items of a built object": HEAD + empty_scaler + b"}b]a.",
        "state of plain data": HEAD + b"]}b.",
        # Opcodes of other protocols.
        "GLOBAL": HEAD + b"cos\nsystem\n(" + shell + b"tR.",
        "INST": HEAD + b"(" + shell + b"ios\nsystem\n.",
        "OBJ": HEAD + b"(" + named(*scaler) + shell + b"o.",
        "protocol 0": b"cos\nsystem\n(S'touch " + str(marker).encode() + b"'\ntR.",
        "protocol 2": b"\x80\x02cos\nsystem\n(X\x01\x00\x00\x00atR.",
        "two protocols": HEAD + HEAD + b"N.",
        "EXT1": HEAD + b"\x82\x01.",
        "EXT2": HEAD + b"\x83\x01\x00.",
        "EXT4": HEAD + b"\x84\x01\x00\x00\x00.",
        "DUP": HEAD + b"N20.",
        "PUT": HEAD + b"Np0\n.",
        "LONG_BINPUT": HEAD + b"Nr\xff\xff\xff\x7f.",
        "PERSID": HEAD + b"Ptask\n.",
        "NEXT_BUFFER": HEAD + b"\x97.",
        # A few bytes whose hash would be computed for ever.
        "tuples nested without end": HEAD
        + b"()\x94"
        + b"".join(b"h%bh%b\x86\x94" % (bytes([n]), bytes([n])) for n in range(80))
        + b"}h\x50Nst.",
        "long tuples nested without end": HEAD
        + b"()\x94"
        + b"".join(b"(" + b"h%b" % bytes([n]) * 9 + b"t\x94" for n in range(30))
        + b"}h\x1eNst.",
        # Damage.
        "empty": b"",
        "cut off": dump(stats.Mean())[:-4],
        "more after the end": dump(stats.Mean()) + b"N.",
        "no end": HEAD + b"N",
        "empty stack": HEAD + b"0.",
        "two results": HEAD + b"NN.",
        "unknown memo": HEAD + b"h\x07.",
        "length beyond the end": HEAD + b"\x96" + struct.pack("<Q", 1 << 60) + b"a.",
        "text beyond the end": HEAD + b"\x8d" + struct.pack("<Q", 1 << 62) + b"a.",
        "random bytes": random.Random(1).randbytes(500),
    }


CASES = tuple(hostile(Path("ran")))


@pytest.mark.parametrize("case", CASES)
def test_a_hostile_snapshot_is_refused_before_any_of_it_runs(case: str, marker: Path) -> None:
    data = hostile(marker)[case]
    with pytest.raises(SnapshotError):
        check(data)  # which makes no object and imports no module
    with pytest.raises(SnapshotError):
        load(data)


def test_the_error_names_the_pair(marker: Path) -> None:
    data = hostile(marker)["river.datasets.base"]
    with pytest.raises(SnapshotError, match=r"\('river.datasets.base', 'os.system'\).*not on the allow-list"):
        load(data)


class Shell:
    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> Any:
        return os.system, (self.command,)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_whatever_pickle_itself_writes_is_refused_alike(protocol: int, marker: Path) -> None:
    model = linear_model.LogisticRegression()
    model.learn_one({"a": 1.0}, True)
    vars(model)["extra"] = Shell(f"touch {marker}")
    with pytest.raises(SnapshotError):
        load(pickle.dumps(model, protocol))


def test_an_extension_that_the_process_registered_is_refused(marker: Path) -> None:
    copyreg.add_extension("os", "system", 1234)
    try:
        data = pickle.dumps([os.system], 5)
        with pytest.raises(SnapshotError):
            load(data)
    finally:
        copyreg.remove_extension("os", "system", 1234)


def test_no_class_is_changed_by_a_snapshot() -> None:
    before = dict(vars(preprocessing.StandardScaler))
    for case in ("state of a class", "slots of a class"):
        with pytest.raises(SnapshotError, match="sets the state"):
            load(hostile(Path("ran"))[case])
    assert dict(vars(preprocessing.StandardScaler)) == before


def test_sizes_are_bounded() -> None:
    with pytest.raises(SnapshotError, match="limit"):
        load(dump(stats.Mean()), limit=10)
    big = functools.partial(call, "streams.restoring")
    number = b"\x8a\x08" + struct.pack("<q", 1 << 60)
    for data in (
        big("array", text("<f8"), number + b"\x85", b"\x89", b"C\x00"),
        big("array", text("<f8"), b"J" + struct.pack("<i", -8) + b"\x85", b"\x89", b"C\x00"),
        big("object_array", number + b"\x85", b"]"),
        big(
            "compiled",
            named("river._river_rust.stats", "RsRollingQuantile"),
            _floats(0.5) + number + b"\x86",
            b"N",
        ),
        big("compiled", named("river._river_rust.stats", "RsQuantile"), _floats(0.5) + b"\x85", b"C\x04abcd"),
    ):
        with pytest.raises(SnapshotError):
            load(HEAD + data + b".")


def _floats(*values: float) -> bytes:
    return b"".join(b"G" + struct.pack(">d", value) for value in values)


@pytest.mark.parametrize("code", ["O", "|O8", "f8,O", "V8", "T", "object", "f8 ", "i4\n", "U9999999999", ""])
def test_arrays_of_objects_or_of_made_up_types_do_not_come_as_bytes(code: str) -> None:
    with pytest.raises(SnapshotError):
        restoring.dtype(code)


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (stats.Mean(), "__class__"),
        (stats.Mean(), "n"),
        (stats.Mean(), "nothing"),
        (stats.Mean, "update"),
        ([], "append"),
        (builtins, "eval"),
        (functools.partial(print), "func"),
    ],
)
def test_only_methods_that_a_class_defines_are_bound(owner: Any, name: str) -> None:
    with pytest.raises(SnapshotError):
        restoring.method(owner, name)


@pytest.mark.parametrize(
    ("owner", "name"), [(builtins, "eval"), (stats.Mean, "__doc__"), (dict, "get"), (1, "real")]
)
def test_only_functions_that_a_class_defines_are_given(owner: Any, name: str) -> None:
    with pytest.raises(SnapshotError):
        restoring.function(owner, name)


def test_a_snapshot_cannot_call_what_the_task_file_defines() -> None:
    ran: list[str] = []

    def target() -> None:
        ran.append("ran")

    target.__qualname__ = "target"
    reference = text("task") + text("target") + b"\x86Q"
    for data in (reference + b")R.", reference + b"}b.", reference + b")\x81."):
        with pytest.raises(SnapshotError):
            load(HEAD + data, resolve={"target": target})
    with pytest.raises(SnapshotError, match="refers to something outside"):
        load(HEAD + text("other") + text("target") + b"\x86Q.", resolve={"target": target})
    assert ran == []
    assert load(HEAD + reference + b".", resolve={"target": target}) is target


def test_what_is_allowed_in_addition_must_be_a_class() -> None:
    with pytest.raises(SnapshotError, match="no class"):
        load(HEAD + named("os", "system") + b".", frozenset({("os", "system")}))
