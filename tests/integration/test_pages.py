"""The steps of the pages, run to the letter: what a reader types is run, what the page shows comes out."""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.embedded.broker import EmbeddedBroker
from infra.embedded.ports import free_pair
from tests.integration.loops import until
from tests.pages import (
    ADDRESS,
    ROOT,
    WRITE_A_TASK,
    Running,
    Terminal,
    answers,
    assert_answered,
    assert_printed,
    blocks,
    section,
    write_files,
)

pytestmark = [pytest.mark.kafka, pytest.mark.system("curl"), pytest.mark.timeout(600)]

DOCS = ROOT / "docs"
GETTING_STARTED = DOCS / "getting-started.md"
OWN_KAFKA = DOCS / "how-to" / "use-your-own-kafka.md"
HTTP = DOCS / "reference" / "http.md"
PAPERS = DOCS / "how-to" / "model-cards-and-scores.md"
BAD_MODEL = DOCS / "how-to" / "the-new-model-is-bad.md"
CONSUME = DOCS / "how-to" / "consume-predictions.md"
SERVICE = DOCS / "how-to" / "call-from-a-service.md"
TOKEN = "the-token-of-these-pages"


# ---------------------------------------------------------------------- getting started


def test_getting_started_from_the_embedded_broker_to_the_proof(tmp_path: Path) -> None:
    page = GETTING_STARTED
    write_files(WRITE_A_TASK, tmp_path)
    places = {"8080": str(free_pair()[0])}
    with Terminal(tmp_path, places) as terminal:
        (backtest, _), *_ = section(page, "4 A task of your own")
        assert "lr" in terminal.run(backtest)

        (embedded, _), (worker, _), (ready, shown) = section(page, "5 A worker on a cluster")
        broker = terminal.start(embedded, "# Enter ends it")
        # What it prints is a line for other terminals; its address stands in for the page's.
        terminal.run(broker.printed)
        places[ADDRESS] = terminal.environment["RIVERLOOP_BOOTSTRAP"]
        *before, last = worker.strip().splitlines()
        terminal.run("\n".join(before))
        terminal.start(last, "orders: ready with lr.1@0, ht.1@1")
        assert_answered(terminal.run(ready), shown)

        ((produce, shown),) = section(page, "6 Produce")
        assert_printed(terminal.run(produce), shown)

        (ask, shown), (look, _) = section(page, "7 Ask and look")
        assert_answered(terminal.run(ask), shown)
        curl, command = look.strip().splitlines()

        def status() -> dict[str, Any]:
            *body, code = terminal.run(curl).splitlines()
            assert code == "200"
            return dict(json.loads("".join(body)))

        # As the page says: the question about March expires none of the orders that wait for their outcome.
        until(lambda: status()["waiting"] == 3, what="three orders wait")
        assert {"counts", "freshness_ms", "models", "loop"} <= set(status())
        assert status()["join"]["expired"] == 1
        assert "waiting" in terminal.run(command)

        ((verify, shown),) = section(page, "8 Verify")
        assert_printed(terminal.run(verify), shown)


def test_the_demo_and_the_backtests_of_getting_started(tmp_path: Path) -> None:
    """The first bookings, as the page offers to those in a hurry."""
    (tmp_path / "docs").symlink_to(DOCS)
    assert "riverloop demo --limit 3000" in GETTING_STARTED.read_text()
    with Terminal(tmp_path, {}) as terminal:
        (demo, _), (free, _) = section(GETTING_STARTED, "2 The demo")
        printed = terminal.run(f"{demo.strip()} --limit 200", 300)
        assert "everything holds" in printed
        assert "none" in printed
        # test_demo.py plays this one, on a broker that runs already.
        assert free.strip() == "riverloop demo --free --partitions 4 --workers 2"
        ((backtests, _),) = section(GETTING_STARTED, "3 Backtest")
        for backtest in backtests.strip().splitlines():
            assert "accuracy" in terminal.run(f"{backtest} --limit 200")


def test_three_commands_lead_from_a_file_of_ones_own_to_a_running_demo(tmp_path: Path) -> None:
    write_files(WRITE_A_TASK, tmp_path)
    (tmp_path / "task.py").unlink()  # which the first command writes
    with Terminal(tmp_path, {}) as terminal:
        *_, (commands, _) = section(GETTING_STARTED, "4 A task of your own")
        init, check, demo = commands.strip().splitlines()
        assert "outcome  cancelled_at, known at cancelled_at" in terminal.run(init)
        assert "5 rows read and learned, 5 with a label" in terminal.run(check)
        printed = terminal.run(demo, 300)
        assert "everything holds" in printed
        assert "none" in printed


# ---------------------------------------------------------------------- a Kafka, and a worker on it


@pytest.fixture(scope="module")
def terminal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminal]:
    """A terminal in the folder of `task.py`, with a Kafka for the pages that take one for granted."""
    folder = tmp_path_factory.mktemp("orders")
    write_files(WRITE_A_TASK, folder)
    with EmbeddedBroker() as broker:
        # As the page says: one's own brokers, and no more replicas than there are of them.
        places = {
            "kafka-1:9092,kafka-2:9092": broker.bootstrap,
            "--replication 3": "--replication 1",
            ADDRESS: broker.bootstrap,
            "worker-1": "localhost",
        }
        with Terminal(folder, places, RIVERLOOP_HTTP_TOKEN=TOKEN, TOKEN=TOKEN) as made:
            yield made


@pytest.fixture(scope="module")
def worker(terminal: Terminal) -> Running:
    """The worker of "use your own Kafka", with a token; its port stands in for the pages' PORT."""
    (first, _), *_ = answers(OWN_KAFKA)
    *before, last = first.strip().splitlines()
    printed = terminal.run("\n".join(before))
    assert "orders.predictions" in printed
    assert "the topics of orders match their specification" in printed
    return start_worker(terminal, last)


def start_worker(terminal: Terminal, command: str) -> Running:
    running = terminal.start(command, "orders: ready with lr.")
    listens = re.search(r"HTTP on http://127\.0\.0\.1:(\d+)", running.printed)
    assert listens is not None
    terminal.places["PORT"] = listens[1]
    return running


def test_use_your_own_kafka(terminal: Terminal, worker: Running) -> None:
    assert "Traceback" not in worker.printed


# ---------------------------------------------------------------------- HTTP reference


def test_the_http_reference(terminal: Terminal, worker: Running) -> None:
    first, warned, reported, rejected = answers(HTTP)
    for (command, shown), status in ((first, 200), (warned, 200), (reported, 202), (rejected, 422)):
        printed = terminal.run(command)
        # The first one exports before it asks.
        assert_answered("\n".join(printed.strip().splitlines()[-2:]), shown, status)
    # Without the token nothing is reported.
    assert terminal.run(reported[0].replace("$TOKEN", "no-such-token")).strip().endswith("401")
    assert "Traceback" not in worker.printed


def test_every_call_of_the_http_reference_is_answered_as_it_says(terminal: Terminal, worker: Running) -> None:
    table = HTTP.read_text().split("\ncall | does\n")[1].split("\n\n")[0]
    paths = re.findall(r"`GET (/[^`]*)`", table)
    assert len(paths) > 15
    terminal.run(answers(HTTP)[0][0])
    named = {"{task}": "orders", "{request_id}": "r-0001", "{name}": "app.js"}
    for path in paths:
        for name, here in named.items():
            path = path.replace(name, here)  # noqa: PLW2901
        stream = path.endswith("/live/events")
        token = '-H "Authorization: Bearer $TOKEN"' if "/requests/" in path else ""
        wait_s = 2 if stream else 60
        printed = terminal.run(
            f"curl http://127.0.0.1:PORT{path} {token} --max-time {wait_s} || {str(stream).lower()}"
        )
        assert printed.strip().endswith("302" if path == "/" else "200"), f"{path}: {printed[-300:]}"


def test_an_example_that_was_just_exported_is_taken_on_every_way(terminal: Terminal, worker: Running) -> None:
    """In both encodings, over HTTP and on the topics, by a task that has seen nothing like it."""
    terminal.run("riverloop schemas export task.py contracts")
    folder = terminal.folder / "contracts" / "examples"
    for kind, call in (("request", "predictions"), ("outcome", "outcomes")):
        for form, content in (("json", "application/json"), ("avro.bin", "application/avro")):
            url = f"http://127.0.0.1:{terminal.places['PORT']}/tasks/orders/{call}"
            headers = {"Content-Type": content, "Authorization": f"Bearer {TOKEN}"}
            sent = urllib.request.Request(url, (folder / f"{kind}.{form}").read_bytes(), headers)
            with urllib.request.urlopen(sent, timeout=30) as answer:
                reported = json.loads(answer.read())
                assert answer.status in (200, 202)
            assert reported["request_id"] == "r-0001"
            assert "warnings" not in reported


def test_the_services_of_the_page(terminal: Terminal, worker: Running) -> None:
    ((export, _),) = answers(SERVICE)
    terminal.run(export)
    over_http, over_kafka = blocks(SERVICE, "python")
    for name, code, request_id in (("http", over_http, "s-1"), ("kafka", over_kafka, "s-2")):
        text = code.text.replace(ADDRESS, terminal.places[ADDRESS]).replace('"TOKEN"', f'"{TOKEN}"')
        text = text.replace("PORT", terminal.places["PORT"])
        (terminal.folder / f"service_{name}.py").write_text(text)
        assert re.search(
            rf"^{request_id} 0\.\d+ lr\.", terminal.run(f"python service_{name}.py"), re.MULTILINE
        )


# ---------------------------------------------------------------------- cards and scores


def test_the_page_about_cards_and_scores(terminal: Terminal, worker: Running) -> None:
    terminal.run(f"riverloop produce task.py --data orders.csv --bootstrap {ADDRESS}")
    ((page, _),) = answers(PAPERS)
    export, *commands = page.strip().splitlines()
    terminal.run(export)
    _, _, compared, present, scored, of_log = [terminal.run(each) for each in commands]
    card = (terminal.folder / "card.md").read_text("utf-8")
    for words in ("Will this order be cancelled within 30 days?", "what is at stake", "first revision"):
        assert words in card
    assert (terminal.folder / "card.html").read_text("utf-8").startswith("<!DOCTYPE html>")
    assert "learning_rate" in compared
    assert re.search(r"learning_rate +\W+ +0.01 +\W+ +0.01", present)
    assert "scores.csv: 5 rows scored by lr.1@" in scored
    assert "scores.parquet: " in of_log
    with (terminal.folder / "scores.csv").open(encoding="utf-8") as file:
        head, *rows = file
    assert head == "request_id,ts,version,score,label,failure\n"
    assert [row.partition(",")[0] for row in rows] == ["o-1", "o-2", "o-3", "o-4", "o-5"]
    assert "Traceback" not in worker.printed


# ---------------------------------------------------------------------- a bad model


def test_the_page_for_a_bad_model_at_night(terminal: Terminal, worker: Running) -> None:
    """Each step as the page has it; afterwards everything is proven."""
    terminal.run(f"riverloop produce task.py --data orders.csv --bootstrap {ADDRESS}")
    steps = [page.strip().splitlines() for page, _ in answers(BAD_MODEL)]
    terminal.run(steps[0][0])
    printed = [[terminal.run(command) for command in step] for step in (steps[0][1:], *steps[1:])]
    (listed, decisions), (preview, promoted), (_, frozen), (request,), rebuilt, (verified, chain, _) = printed
    assert "served" in listed
    assert "revision" in decisions
    assert "ht" in preview
    assert "active in every live worker" in promoted
    assert "lr" in frozen
    assert "equal" in request
    assert "log offsets are folded" in rebuilt[0]
    assert "active in every live worker" in rebuilt[1]
    assert "active in every live worker" in rebuilt[2]
    assert "everything holds" in verified
    assert "the chain is intact" in chain
    card = (terminal.folder / "card.md").read_text("utf-8")
    for reason in ("lr is off since midnight", "the feed was wrong", "rebuilt without the wrong feed"):
        assert reason in card
    assert "Traceback" not in worker.printed


# ---------------------------------------------------------------------- consumers


def test_the_consumers_of_the_page_go_on_across_a_change_of_the_dictionary(
    terminal: Terminal, worker: Running
) -> None:
    """Last of this module: it changes the task."""
    ((ask, _),) = [each for each in answers(CONSUME) if "curl" in each[0]]
    *_, command = answers(OWN_KAFKA)[0][0].strip().splitlines()
    terminal.run("riverloop schemas export task.py contracts")

    def consumers(suffix: str) -> tuple[Running, Running]:
        """Start both, with the code of the page."""
        made = []
        for name, block in zip(("with", "without"), blocks(CONSUME, "python"), strict=True):
            code = block.text.replace('-service"', f'-service{suffix}"')
            (terminal.folder / f"{name}{suffix}.py").write_text(
                code.replace(ADDRESS, terminal.places[ADDRESS])
            )
            made.append(terminal.start(f"exec python {name}{suffix}.py", ""))
        return made[0], made[1]

    first, second = consumers("")
    terminal.run(ask)
    for each in (first, second):
        each.wait_for("o-9 ")

    worker.end()
    file = terminal.folder / "task.py"
    before = 'Number(name="items", unit="pieces", low=1),'
    assert before in file.read_text()
    file.write_text(file.read_text().replace(before, f'{before}\n        Number(name="weight", unit="kg"),'))
    worker = start_worker(terminal, command)
    terminal.run(ask.replace('"o-9"', '"o-10"').replace('"items": 2', '"items": 2, "weight": 3'))
    first.wait_for("o-10 ")
    second.wait_for("is not known: export the contracts again")
    assert "o-10" not in second.printed
    terminal.run("riverloop schemas export task.py contracts")
    second.wait_for("o-10 ")

    # One that starts today reads what was made with the older dictionary, too.
    for each in consumers("-2"):
        each.wait_for("o-9 ")
        each.wait_for("o-10 ")
    for each in (first, second, worker):
        assert "Traceback" not in each.printed
