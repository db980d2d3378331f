"""Every setting has bounds, and one sentence for what is out of them."""

from __future__ import annotations

import json
import logging
import os
import pwd
import re
import socket
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from agents.cli.logs import configure
from agents.cli.main import riverloop
from agents.declared import allowed, environment_name
from agents.http.address import authority, bind
from agents.settings import Settings
from agents.worker import prepare
from infra.slots import Slot
from infra.taskfile import examples
from schemas.errors import UsageError

NUMBERS = [each.name for each in fields(Settings) if type(each.default) is int]
KEYS = ("snapshot_key", "token_key")


@pytest.fixture
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("RIVERLOOP_"):
            monkeypatch.delenv(name)


def test_every_number_has_bounds_and_its_default_is_within() -> None:
    assert len(NUMBERS) > 8
    for each in fields(Settings):
        if each.name in NUMBERS:
            low, high = each.metadata["within"]
            assert low <= each.default <= high
            assert "to" in allowed(each)


@pytest.mark.parametrize("name", NUMBERS)
def test_a_number_out_of_bounds_is_rejected_however_it_comes(name: str) -> None:
    (declared,) = [each for each in fields(Settings) if each.name == name]
    low, high = declared.metadata["within"]
    for value in (low - 1, -1, -(10**30), high + 1, 10**30):
        loads: list[Callable[[], Settings]] = [
            partial(Settings.load, {name: value}, {}),
            partial(Settings.load, {}, {environment_name(name): str(value)}),
            partial(replace, Settings(), **{name: value}),
        ]
        for load in loads:
            with pytest.raises(
                UsageError, match=f"{environment_name(name)}.* must be from {low:,} to"
            ) as caught:
                load()
            assert "\n" not in str(caught.value)
    for value in (low, high):
        assert getattr(Settings.load({name: value}, env={}), name) == value


@pytest.mark.usefixtures("clean")
@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--max-batch", "0"),
        ("--max-batch", "-5"),
        ("--http-port", "65536"),
        ("--http-port", "-1"),
        ("--snapshots-kept", "0"),
        ("--log-level", "info"),
        ("--log-level", "LOUD"),
        ("--log-format", "xml"),
        ("--join-store", "disk"),
        ("--group", ""),
        ("--group", "../up"),
        ("--slot", "a/b"),
        ("--slot", "a\nb"),
    ],
)
def test_a_worker_rejects_a_wrong_option_with_its_name(option: str, value: str) -> None:
    made = CliRunner().invoke(riverloop, ["worker", "task.py", option, value])
    assert isinstance(made.exception, UsageError), made.output
    assert option in str(made.exception)
    assert "\n" not in str(made.exception)


@pytest.mark.parametrize("name", KEYS)
def test_a_key_that_can_be_guessed_is_rejected_and_not_repeated(name: str, tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("hunter2\n")
    variable = environment_name(name)
    for env in ({variable: "hunter2"}, {variable: "x" * 15}, {f"{variable}_FILE": str(file)}):
        with pytest.raises(UsageError, match=f"{variable} is shorter than 16 characters") as caught:
            Settings.load(env=env)
        assert "hunter2" not in str(caught.value)
    with pytest.raises(UsageError, match="shorter"):
        Settings.load({name: "hunter2"}, env={})
    assert getattr(Settings.load(env={variable: "x" * 16}), name) == "x" * 16


@pytest.mark.usefixtures("clean")
def test_without_a_home_a_worker_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(_user: int) -> None:
        raise KeyError

    for name in ("HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    made = CliRunner().invoke(riverloop, ["worker", "task.py"])
    assert isinstance(made.exception, UsageError), made.exception
    assert "no home folder" in str(made.exception)
    assert "RIVERLOOP_DATA" in str(made.exception)
    monkeypatch.setenv("XDG_DATA_HOME", "relative")
    with pytest.raises(UsageError, match="no home folder"):
        Settings().data_folder  # noqa: B018  it is computed
    assert Settings(data="here").data_folder == Path("here")


@pytest.mark.parametrize("below", ["", "deeper/still"])
def test_a_data_folder_that_cannot_be_written_is_rejected(below: str, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("in the way")
    said = f"the data folder {file / below} cannot be written: {file} is a file; give another one with --data"
    with pytest.raises(UsageError, match=re.escape(said)):
        prepare(["task.py"], Settings(data=str(file / below)))


def test_a_folder_of_snapshots_that_cannot_be_written_is_named_at_the_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "file"
    file.write_text("in the way")
    for place, reported in ((tmp_path / "there", 0), (file, 1)):
        caplog.clear()
        with pytest.raises(UsageError, match="does not exist"):
            prepare(["no-such-task.py"], Settings(data=str(tmp_path / "data"), snapshots=str(place)))
        assert caplog.text.count(f"snapshots cannot be written to {place}: ") == reported
    assert "--snapshots" in caplog.text


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ("schemas", "export", "{task}", "{file}/below"),
            "Error: {file}/below: Not a directory",
        ),
        (("topics", "create", "{task}", "--replication", "0"), "Invalid value for '--replication'"),
        (("topics", "create", "{task}", "--replication", "99999999"), "Invalid value for '--replication'"),
        (("topics", "create", "{task}", "--bootstrap", "http://localhost:9092"), "must be HOST:PORT"),
    ],
)
def test_a_command_says_in_a_sentence_what_it_cannot_use(
    words: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    file = tmp_path / "file"
    file.write_text("in the way")
    task = examples() / "hotel_bookings" / "task.py"
    called = [sys.executable, "-m", "agents.cli.main", *(each.format(task=task, file=file) for each in words)]
    root = Path(__file__).parents[2]
    done = subprocess.run(called, cwd=root, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert said.format(file=file) in done.stderr
    assert "Traceback" not in done.stderr


def test_a_data_folder_is_for_its_user_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with pytest.raises(UsageError, match=r"task\.py"):
            prepare([str(tmp_path / "task.py")], Settings(data=str(tmp_path / "a" / "b")))
        slot = Slot(tmp_path / "c" / "slots", "group")
    finally:
        os.umask(before)
    assert slot._file is not None
    slot._file.close()
    for made in ("a", "a/b", "c", "c/slots"):
        assert (tmp_path / made).stat().st_mode & 0o777 == 0o700


def test_a_folder_of_slots_that_cannot_be_written_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "slots").write_text("in the way")
    with pytest.raises(UsageError, match=r"the folder of slots .* cannot be written"):
        Slot(tmp_path / "slots", "group")


def test_a_log_in_json_says_in_json_why_the_worker_ends(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    words = ["worker", "task.py", "--log-format", "json", "--data", str(tmp_path / "file")]
    called = [sys.executable, "-m", "agents.cli.main", *words]
    root = Path(__file__).parents[2]
    done = subprocess.run(called, cwd=root, capture_output=True, text=True, timeout=60, check=False)
    reported = [json.loads(line) for line in done.stderr.splitlines()]
    assert (done.returncode, reported[-1]["level"], done.stdout) == (2, "ERROR", "")
    assert reported[-1]["message"].startswith(f"the data folder {tmp_path / 'file'} cannot be written")


# ---------------------------------------------------------------------- HTTP's address


@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_a_port_in_use_is_rejected_before_anything_starts(
    family: socket.AddressFamily, host: str, tmp_path: Path
) -> None:
    with socket.socket(family) as taken:
        taken.bind((host, 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=re.escape(f"cannot listen on {authority(host, port)}: ")):
            prepare(["task.py"], Settings(http_host=host, http_port=port, data=str(tmp_path)))
    for each in bind(host, port):
        each.close()


# ---------------------------------------------------------------------- the log


@pytest.fixture
def logging_again() -> Iterator[None]:
    """Puts the root logger back as it was."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    logging.captureWarnings(False)
    yield
    logging.captureWarnings(False)
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.mark.usefixtures("logging_again")
def test_a_log_in_json_is_one_object_per_line(capsys: pytest.CaptureFixture[str]) -> None:
    configure(Settings(log_format="json"))
    log = logging.getLogger("agents.worker")
    log.info('said "%s"\nover two lines', "\u00e9\ud800")
    try:
        raise ValueError("a reason")
    except ValueError:
        log.exception("it failed")
    logging.getLogger("faust.app").info("noise")
    logging.getLogger("aiohttp.access").info("noise")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("a library warns", DeprecationWarning, stacklevel=1)
    lines: list[dict[str, Any]] = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [each["level"] for each in lines] == ["INFO", "ERROR", "WARNING"]
    assert lines[0]["message"] == 'said "\u00e9\ud800"\nover two lines'
    assert lines[0]["logger"] == "agents.worker"
    assert lines[0]["ts"].endswith("+00:00")
    assert "ValueError: a reason" in lines[1]["exception"]
    assert "a library warns" in lines[2]["message"]


@pytest.mark.usefixtures("logging_again")
def test_a_log_in_text_holds_no_lines_of_libraries_about_themselves(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure(Settings())
    logging.getLogger("agents.worker").info("ready")
    logging.getLogger("mode.service").info("noise")
    logging.getLogger("agents.feed").info("[^--Feed]: Starting...")
    logging.getLogger("aiokafka.consumer").info("noise")
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("INFO agents.worker ready")
