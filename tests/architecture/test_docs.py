"""What the pages print is true: links lead somewhere, commands exist, Python runs, the loop does what they say."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import click
import pytest
from confluent_kafka import Producer

from agents.cli.main import riverloop
from agents.cli.processes import WorkerProcess
from infra.embedded.pytest_plugin import Broker
from infra.kafka.connection import Connection
from infra.taskfile import load_task
from schemas.topics import PARTITIONER
from streams.task import Task
from tests.pages import (
    ADDRESS,
    FENCE,
    PAGES,
    ROOT,
    WRITE_A_TASK,
    Terminal,
    blocks,
    name_of,
    run_blocks,
    write_files,
)
from tests.tables import ask

LINK = re.compile(r"\]\(([^)\s]+)\)")
MAX_WORDS = 45_000
"""Of all pages together, as `cat $(git ls-files '*.md') | wc -w` counts them."""
# Of registries and of the machine on which a page was written.
FOREIGN = re.compile(
    r"\b(?:pypi|pythonhosted|npmjs|crates|mvnrepository|maven\w*)\.(?:org|com|io)\b|/(?:tmp|work|root|var)/",
    re.I,
)


def prose(page: Path) -> str:
    return FENCE.sub("", page.read_text("utf-8"))


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub makes of a page's headings."""
    found = set()
    for heading in re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        found.add(re.sub(r"[^\w\- ]", "", text).replace(" ", "-"))
    return found


# ---------------------------------------------------------------------- links and names


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in LINK.findall(prose(page)):
        if re.match(r"https?://|mailto:", link):
            continue
        place, _, anchor = link.partition("#")
        target = (page.parent / place).resolve() if place else page
        assert target.exists(), f"{link} is not there"
        assert target.is_relative_to(ROOT)
        if anchor:
            assert anchor in anchors(target), f"{link}: no such heading"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_no_page_names_a_registry_or_a_path_of_the_machine_it_was_written_on(page: Path) -> None:
    assert not FOREIGN.findall(page.read_text("utf-8"))


def test_every_page_is_reached_from_the_index() -> None:
    seen, ahead = set(), [ROOT / "README.md"]
    while ahead:
        page = ahead.pop()
        if page in seen:
            continue
        seen.add(page)
        links = (link.partition("#")[0] for link in LINK.findall(prose(page)))
        ahead += [
            (page.parent / link).resolve() for link in links if link.endswith(".md") and ":" not in link
        ]
    assert set(PAGES) <= seen


# ---------------------------------------------------------------------- length


def test_all_pages_together_are_short() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    words = {page: len((ROOT / page).read_text("utf-8").split()) for page in listed}
    assert set(map(name_of, PAGES)) <= set(words), "a page is not tracked"
    longest = ", ".join(f"{page} ({words[page]:,})" for page in sorted(words, key=words.__getitem__)[:-6:-1])
    assert sum(words.values()) <= MAX_WORDS, (
        f"all pages have {sum(words.values()):,} words, at most {MAX_WORDS:,} are allowed: shorten pages, "
        f"or merge those that say the same; the longest are {longest}"
    )


# ---------------------------------------------------------------------- commands


def commands() -> list[tuple[str, str]]:
    found = []
    for page in PAGES:
        for block in blocks(page, "sh"):
            text = block.text.replace("\\\n", " ")
            for part in re.split(r"\n|&&", text):
                command = re.search(r"(?:^|/|\s)(riverloop .*)", part.split("  #")[0].strip())
                if command and not re.match(r"(?:#|export|python)", part.strip()):
                    found.append((f"{name_of(page)}:{block.line}", command[1]))
    return found


@pytest.mark.parametrize(("where", "line"), commands())
def test_a_printed_command_exists_with_all_its_options(where: str, line: str) -> None:
    command: click.Command = riverloop
    arguments = shlex.split(line, comments=True)[1:]
    name = "riverloop"
    try:
        while isinstance(command, click.Group) and arguments and not arguments[0].startswith("-"):
            name = arguments.pop(0)
            found = command.get_command(click.Context(command), name)
            assert found is not None, f"{where} prints `{line}`: there is no command {name}"
            command = found
        command.make_context(name, arguments)
    except click.exceptions.Exit:
        pass  # --help and --version
    except click.UsageError as error:
        pytest.fail(f"{where} prints `{line}`: {error.format_message()}")


# ---------------------------------------------------------------------- Python


def in_folder(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", *arguments]
    path = {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        command, cwd=folder, env=os.environ | path, capture_output=True, text=True, timeout=120, check=False
    )


def pages_with_python(*, kafka: bool) -> list[Path]:
    found = [page for page in PAGES if blocks(page, "python")]
    return [
        page for page in found if kafka == ("bootstrap" in "".join(b.text for b in blocks(page, "python")))
    ]


@pytest.mark.parametrize("page", pages_with_python(kafka=False), ids=name_of)
def test_the_python_of_a_page_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_files(WRITE_A_TASK, tmp_path)
    files = write_files(page, tmp_path)
    for path in files:
        if path.name.startswith("test_"):
            done = in_folder(tmp_path, "pytest", "-q", "-p", "no:cacheprovider", path.name)
            assert done.returncode == 0, done.stdout + done.stderr
        elif path.suffix == ".py":
            assert isinstance(load_task(path.name).task, Task)
    run_blocks(page)


def test_the_task_that_the_pages_write_can_be_backtested(tmp_path: Path) -> None:
    write_files(WRITE_A_TASK, tmp_path)
    done = in_folder(tmp_path, "agents.cli.main", "backtest", "task.py", "--json")
    assert done.returncode == 0, done.stderr
    reported = json.loads(done.stdout)
    assert reported["resolutions"] == {"expired": 3, "labelled": 2}
    assert set(reported["models"]) == {"lr", "ht"}


@pytest.mark.kafka
def test_the_fixture_and_the_broker_of_the_page_about_tests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broker: Broker
) -> None:
    page = ROOT / "docs" / "how-to" / "embedded-broker-in-tests.md"
    (test,) = write_files(page, tmp_path)
    monkeypatch.setenv("RIVERLOOP_BOOTSTRAP", broker.bootstrap)
    known = {each.name for each in metadata.entry_points(group="pytest11")}
    plugin = [] if "riverloop" in known else ["-p", "infra.embedded.pytest_plugin"]
    done = in_folder(tmp_path, "pytest", "-q", "-p", "no:cacheprovider", *plugin, test.name)
    assert done.returncode == 0, done.stdout + done.stderr
    run_blocks(page)


# ---------------------------------------------------------------------- the loop of getting started


@pytest.fixture(scope="module")
def loop(tmp_path_factory: pytest.TempPathFactory, riverloop_broker: Broker) -> Iterator[Path]:
    """A folder with the task of the pages, whose worker runs on a broker and has answered orders.csv."""
    folder, address = tmp_path_factory.mktemp("orders"), riverloop_broker.bootstrap
    write_files(WRITE_A_TASK, folder)

    def run(*arguments: str) -> None:
        done = in_folder(folder, "agents.cli.main", *arguments)
        assert done.returncode == 0, done.stdout + done.stderr

    run("schemas", "export", "task.py", "contracts")
    run("topics", "create", "task.py", "--partitions", "2", "--bootstrap", address)
    with WorkerProcess(str(folder / "task.py"), Connection(address), folder, 0) as worker:
        worker.wait_ready()
        run("produce", "task.py", "--data", "orders.csv", "--bootstrap", address)
        producer = Producer({"bootstrap.servers": address, "partitioner": PARTITIONER})
        bad = {"request_id": "o-6", "ts": 1_709_280_000_000, "features": {"value": "fifty", "items": 1}}
        producer.produce("orders.requests", json.dumps(bad), key="o-6")
        # Such a small history gives no cause for an alarm.
        producer.produce("orders.alerts", (folder / "contracts/examples/alert.avro.bin").read_bytes())
        assert producer.flush(10) == 0
        yield folder
        run("verify", "task.py", "--bootstrap", address)


@pytest.mark.kafka
@pytest.mark.parametrize(
    ("page", "printed"),
    [
        ("report-outcomes", []),
        (
            "read-metrics-and-alerts",
            [
                " count  all ",
                "warning orders/drift@1234 The excess log loss of champion rose",
                "difference of means 0.25 above 0.125",
            ],
        ),
        (
            "read-dead-letters",
            ["wrong_type: feature value must be a number, not 'fifty' (str) (orders.requests["],
        ),
    ],
)
def test_a_page_about_the_topics_does_what_it_says(
    page: str,
    printed: list[str],
    loop: Path,
    riverloop_broker: Broker,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(loop)
    run_blocks(ROOT / "docs" / "how-to" / f"{page}.md", riverloop_broker.bootstrap)
    reported = capsys.readouterr().out
    for each in printed:
        assert each in reported


@pytest.mark.kafka
def test_the_page_about_exports_exports_and_asks(
    loop: Path,
    riverloop_broker: Broker,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(loop)
    page = ROOT / "docs" / "how-to" / "export-data.md"
    (commands,) = (block.text for block in blocks(page, "sh"))
    questions = [each for block in blocks(page, "sql") for each in block.text.split(";") if each.strip()]
    ends = time.monotonic() + 60
    with Terminal(loop, {ADDRESS: riverloop_broker.bootstrap}) as terminal:
        while True:
            assert "orders.predictions: " in terminal.run(commands)
            versions, one, kinds = (ask(each) for each in questions)
            found = {kind: (requests, value) for kind, requests, value in kinds}
            if found.get("labelled", (0, 0))[0] == 2:
                break
            assert time.monotonic() < ends, found
    assert sum(answers for _, answers in versions) == 2, "o-1 and o-2 were placed on that day"
    assert all(version.startswith("lr.1@") for version, _ in versions)
    assert [row[0] in dict(versions) for row in one] == [True]
    assert found["labelled"] == (2, (18.0 + 310.0) / 2)
    run_blocks(page, riverloop_broker.bootstrap)
    resolved, then = map(int, capsys.readouterr().out.split())
    assert resolved == sum(requests for requests, _ in found.values())
    assert then == 1, "o-2 was cancelled on 3 January"


# ---------------------------------------------------------------------- the file map


def test_the_file_map_names_files_and_folders_that_exist() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    rooms = page.partition("## File map")[2].partition("## ")[0]
    missing, room = [], ""
    for line in rooms.splitlines():
        if found := re.match(r" {4}(\w+)/ ", line):
            room = found[1]
        inside = line[15:] if room else ""
        for name in re.findall(r"[\w-]+\.py|\b\w+/", inside):
            if not any((ROOT / room).rglob(name.rstrip("/"))) and not (ROOT / name).exists():
                missing.append(f"{room}: {name}")
    assert room == "tests"
    assert missing == []
