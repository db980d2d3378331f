"""The pages of the documentation as something that can be run: their blocks, their files, a terminal."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
WRITE_A_TASK = ROOT / "docs" / "how-to" / "write-a-task.md"
ADDRESS = "localhost:9092"
FENCE = re.compile(r"^( *)```(\w+)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """A fenced block."""

    language: str
    text: str
    line: int


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path, *languages: str) -> list[Block]:
    text = page.read_text("utf-8")
    found = []
    for match in FENCE.finditer(text):
        indent, language, body = match.groups()
        if language in languages:
            lines = [line.removeprefix(indent) for line in body.splitlines(keepends=True)]
            found.append(Block(language, "".join(lines), text[: match.start()].count("\n") + 2))
    return found


def write_files(page: Path, folder: Path) -> list[Path]:
    """Write the blocks that are files: CSV as orders.csv, Python whose first line is `# name.py`."""
    written = []
    for block in blocks(page, "python", "csv"):
        named = re.match(r"# (\w+\.py)\n", block.text)
        if block.language == "csv" or named:
            path = folder / (named[1] if named else "orders.csv")
            path.write_text(block.text, "utf-8")
            written.append(path)
    return written


def run_blocks(page: Path, address: str = ADDRESS) -> None:
    """Run the blocks that are no files, one after the other in one namespace."""
    names: dict[str, Any] = {"__name__": "__page__"}
    for block in blocks(page, "python"):
        if not re.match(r"# \w+\.py\n", block.text):
            code = "\n" * (block.line - 1) + block.text.replace(ADDRESS, address)
            exec(compile(code, str(page), "exec"), names)


def run_notebook(page: Path) -> dict[str, Any]:
    """Run the cells of a notebook, which has no outputs, in one namespace; gives its names."""
    names: dict[str, Any] = {"__name__": "__notebook__"}
    for number, cell in enumerate(json.loads(page.read_text("utf-8"))["cells"]):
        if cell["cell_type"] == "code":
            assert (cell["outputs"], cell["execution_count"]) == ([], None), "strip the outputs"
            exec(compile("".join(cell["source"]), f"{page.name}, cell {number}", "exec"), names)
    return names


def answers(page: Path) -> list[tuple[str, str]]:
    """Give the shell blocks of a page, each with the answer that the page shows right behind it, or none."""
    found: list[tuple[str, str]] = []
    for block in blocks(page, "sh", "json", "text"):
        if block.language == "sh":
            found.append((block.text, ""))
        elif found and not found[-1][1]:
            found[-1] = (found[-1][0], block.text)
    return found


def section(page: Path, heading: str) -> list[tuple[str, str]]:
    """Give the shell blocks below a heading, up to the next one."""
    text = page.read_text("utf-8").split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return [each for each in answers(page) if each[0] in text]


class Terminal:
    """A shell in a folder, with `riverloop`, `python` and exports that last; what runs on runs until it is closed.

    Parameters
    ----------
    folder
        Where it is.
    places
        What stands for a reader's own addresses and names, and what these are here.
    """

    def __init__(self, folder: Path, places: dict[str, str], **environment: str) -> None:
        self.folder, self.places = folder, places
        programs = folder / ".programs"
        programs.mkdir(exist_ok=True)
        for name, words in (("riverloop", "-m agents.cli.main "), ("python", "")):
            program = programs / name
            program.write_text(f'#!/bin/sh\nexec "{sys.executable}" {words}"$@"\n')
            program.chmod(0o755)
        # curl says no more than the answer, and its status behind it.
        (programs / ".curlrc").write_text('silent\nshow-error\nwrite-out = "\\n%{http_code}\\n"\n')
        clean = {name: value for name, value in os.environ.items() if not name.startswith("RIVERLOOP_")}
        self.environment = clean | {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "PYTHONDONTWRITEBYTECODE": "1",
            "CURL_HOME": str(programs),
            "XDG_DATA_HOME": str(folder / "data"),
            "COLUMNS": "200",
            **environment,
        }
        self._running: list[Running] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        for each in reversed(self._running):
            each.end()

    def _own(self, text: str) -> str:
        for stands, here in self.places.items():
            text = text.replace(stands, here)
        return text

    def run(self, text: str, timeout_s: float = 120.0) -> str:
        """Run a block to its end; gives what it printed. Its exports stay."""
        exports = self.folder / ".programs" / "exports"
        script = f"{self._own(text)}\nenv -0 > {exports}"
        done = subprocess.run(
            ["bash", "-eu", "-o", "pipefail", "-c", script],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        assert done.returncode == 0, f"{text}\n{done.stdout}{done.stderr}"
        pairs = exports.read_text().rstrip("\0").split("\0")
        self.environment = dict(pair.split("=", 1) for pair in pairs)
        return done.stdout

    def start(self, text: str, wait_for: str, timeout_s: float = 120.0) -> Running:
        """Start a block that runs on, and wait until it prints something."""
        made = Running(self._own(text), self.folder, self.environment)
        self._running.append(made)
        made.wait_for(wait_for, timeout_s)
        return made


class Running:
    """What runs on in a terminal of its own."""

    def __init__(self, text: str, folder: Path, environment: Mapping[str, str]) -> None:
        self._text = text
        self._lines: list[str] = []
        self._process = subprocess.Popen(
            ["bash", "-eu", "-c", text],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            # A session of its own, so that it can be ended with all that it has started.
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        out = self._process.stdout
        assert out is not None
        while data := os.read(out.fileno(), 65_536):
            self._lines.append(data.decode(errors="replace"))

    @property
    def printed(self) -> str:
        """What it has printed so far."""
        return "".join(self._lines)

    def wait_for(self, words: str, timeout_s: float = 60.0) -> None:
        """Wait until it has printed something."""
        ends = time.monotonic() + timeout_s
        while words not in self.printed:
            assert self._process.poll() is None, f"it has ended: {self._text}\n{self.printed}"
            assert time.monotonic() < ends, f"not within {timeout_s:g} s: {words!r}\n{self.printed}"
            time.sleep(0.05)

    def end(self) -> None:
        """Press Ctrl-C, and kill what is still there after 20 s."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGINT)
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()
        self._reader.join(5)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


VARIES = frozenset({"score", "label", "version", "ts"})
"""Fields of an answer that depend on what the models have learned, and on the clock."""


def assert_answered(printed: str, shown: str, status: int = 200) -> None:
    """Compare what curl printed with the answer that a page shows: its status, its keys, and their values."""
    *body, found = printed.strip().splitlines()
    assert int(found) == status, printed
    _compare(json.loads("\n".join(body)), json.loads(shown), "")


def _compare(found: Any, shown: Any, place: str) -> None:
    if isinstance(shown, dict):
        assert isinstance(found, dict), place
        assert list(found) == list(shown), place
        for key in shown:
            _compare(found[key], shown[key], f"{place}.{key}")
    elif isinstance(shown, list):
        assert len(found) == len(shown), f"{place}: {found}"
        for number, each in enumerate(shown):
            _compare(found[number], each, f"{place}[{number}]")
    elif place.rpartition(".")[2] in VARIES:
        assert type(found) is type(shown), f"{place}: {found!r}, not like {shown!r}"
    else:
        assert found == shown, f"{place}: {found!r}, not {shown!r}"


def assert_printed(printed: str, shown: str) -> None:
    """Compare what a command printed with what a page shows of it; durations are others."""
    for line in shown.splitlines():
        pattern = re.sub(r"\d+\\\.\d+", r"\\d+\\.\\d+", re.escape(line.strip()))
        assert re.search(pattern, printed), f"{line!r} is not in\n{printed}"
