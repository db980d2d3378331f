"""An entry of the log is decoded once for the two that read it in a worker."""

from __future__ import annotations

from typing import Any

import pytest

from agents import entries
from agents.entries import Entries
from infra.trusted import places
from schemas.errors import BadRecord, Unreadable, UsageError


class Said:
    """A codec that counts."""

    def __init__(self) -> None:
        self.decoded: list[bytes] = []

    def decode_entry(self, data: bytes) -> Any:
        if data == b"bad":
            raise BadRecord("unreadable", "bad")
        self.decoded.append(data)
        return f"entry {data!r}"


class Lies:
    def __init__(self, offset: int, value: bytes) -> None:
        self.offset, self.value = (lambda: offset), (lambda: value)

    def topic(self) -> str:
        return "task.log"

    def partition(self) -> int:
        return 0


def test_the_second_reader_gets_what_the_first_has_decoded_whoever_is_ahead() -> None:
    codec: Any = Said()
    read = Entries()
    log = [Lies(n, b"%d" % n) for n in range(100)]
    first = [read.read(codec, each) for each in log[:60]]
    second = [read.read(codec, each) for each in log]  # from 60 on it is ahead
    first += [read.read(codec, each) for each in log[60:]]
    assert len(codec.decoded) == 100
    assert all(one is other for one, other in zip(first, second, strict=True))
    assert not read._kept


def test_without_a_second_reader_the_oldest_fall_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entries, "KEPT", 10)
    codec: Any = Said()
    read = Entries()
    for n in range(50):
        read.read(codec, Lies(n, b"%d" % n))
    assert list(read._kept) == list(range(40, 50))
    assert len(codec.decoded) == 50
    read.read(codec, Lies(3, b"3"))
    assert len(codec.decoded) == 51


def test_what_is_no_entry_is_told_to_both_with_its_place_and_what_to_do() -> None:
    codec: Any = Said()
    read = Entries()
    for _ in range(2):
        with pytest.raises(Unreadable, match=r"task\.log\[0\]@7 cannot.*RIVERLOOP_PASS_OVER=task\.log@7"):
            read.read(codec, Lies(7, b"bad"))


def test_one_that_a_person_has_looked_at_is_passed_over_for_both_and_no_other() -> None:
    codec: Any = Said()
    read = Entries(places("task.log@7, other.log@8"))
    for _ in range(2):
        assert read.read(codec, Lies(7, b"bad")) is None
        with pytest.raises(Unreadable):
            read.read(codec, Lies(8, b"bad"))


@pytest.mark.parametrize("text", ["7", "task.log", "task.log[0]@7", "task.log@x", "task.requests@7"])
def test_a_place_that_is_none_of_a_log_is_refused_at_the_start(text: str) -> None:
    with pytest.raises(UsageError, match="not a record of a training log"):
        places(text)
