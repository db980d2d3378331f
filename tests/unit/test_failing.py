"""How commands fail: one line; the traceback with --debug."""

from __future__ import annotations

import sys

import click
import pytest

from agents.cli.failing import take_flag
from agents.cli.main import main
from schemas.errors import SnapshotError, Unreadable, UsageError


@click.command()
@click.argument("words", nargs=-1)
def failing(words: tuple[str, ...]) -> None:
    raise {
        "model": ZeroDivisionError("in\na model"),
        "usage": UsageError("write it otherwise:\nValueError"),
        "record": Unreadable("a record"),
        "store": SnapshotError("no store"),
        "file": FileNotFoundError(2, "No such file or directory", "orders.csv"),
        "silent": KeyError(),
    }[words[0]]


def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    monkeypatch.setattr(sys, "argv", ["riverloop", *words])
    with pytest.raises(SystemExit) as ended:
        main(failing)
    code = ended.value.code
    assert isinstance(code, int)
    return code, capsys.readouterr().err


@pytest.mark.parametrize(
    ("word", "code", "start", "end"),
    [
        ("model", 1, "Error: ZeroDivisionError: in a model (", "); --debug shows the traceback"),
        ("silent", 1, "Error: KeyError (", "); --debug shows the traceback"),
        ("usage", 2, "Error: write it otherwise: ValueError", ""),
        ("record", 3, "Error: a record", ""),
        ("store", 1, "Error: no store", ""),
        ("file", 2, "Error: orders.csv: No such file or directory", ""),
    ],
)
def test_a_command_fails_with_one_line_and_the_traceback_when_asked(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    word: str,
    code: int,
    start: str,
    end: str,
) -> None:
    found, said = run(monkeypatch, capsys, word)
    assert found == code
    assert said.count("\n") == 1
    assert said.startswith(start)
    assert said.endswith(end + "\n")
    for words in ((word, "--debug"), ("--debug", word)):
        found, told = run(monkeypatch, capsys, *words)
        assert found == code
        assert told.startswith("Traceback (most recent call last):")
        assert told.endswith(said)


def test_the_flag_is_taken_before_two_dashes_only() -> None:
    assert take_flag(["a", "--debug", "b"]) == ["a", "b"]
    assert take_flag(["a", "--", "--debug"]) == ["a", "--", "--debug"]
    take_flag([])
