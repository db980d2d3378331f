"""`riverloop init` and `riverloop check`: from a data file to a task that passes the check."""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from click.testing import CliRunner, Result
from pyarrow import parquet

from agents.cli.backtest import backtest
from agents.cli.check import check
from agents.cli.init import init
from infra.taskfile import LoadedTask, load_task
from schemas.errors import NotReproducible, TaskError, UsageError
from streams.policies import DefaultAtHorizon, OnArrival

COUNTRIES = ("DE", "FR", "AT")


def orders(count: int = 200) -> list[dict[str, str]]:
    """Orders in summer 2024, every third cancelled two days later."""
    pick = random.Random(3)
    return [
        {
            "Order ID": f"o-{n}",
            "placed_at": f"2024-06-{1 + n // 10:02} 09:{n % 60:02}",
            "value": f"{pick.uniform(1, 500):.2f}",
            "items": str(pick.randrange(1, 9)) if n % 7 else "",
            "country": pick.choice(COUNTRIES),
            "express": pick.choice(("true", "false")),
            "note": f"text number {pick.random()}",
            "shop": "main",
            "cancelled_at": f"2024-06-{3 + n // 10:02} 09:{n % 60:02}" if n % 3 == 0 else "",
            "cancelled_by": "customer" if n % 3 == 0 else "",
        }
        for n in range(count)
    ]


def written(path: Path, rows: list[dict[str, str]], delimiter: str = ",", encoding: str = "utf-8") -> Path:
    with path.open("w", encoding=encoding, newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)
    return path


def run(command: Any, *arguments: str | Path) -> Result:
    done = CliRunner().invoke(command, [str(each) for each in arguments])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


def first_task(tmp_path: Path, data: Path, *options: str) -> tuple[LoadedTask, str]:
    """Write a task file, and load it; its events can be read."""
    target = tmp_path / f"task_{data.name.replace('.', '_')}{len(options)}.py"
    run(init, data, "--out", target, *options)
    loaded = load_task(str(target))
    assert loaded.events()
    return loaded, target.read_text()


def features(loaded: LoadedTask) -> Mapping[str, str]:
    return {each.name: each.word for each in loaded.task.features}


# ---------------------------------------------------------------------- init


def test_types_id_time_outcome_and_horizon_are_guessed(tmp_path: Path) -> None:
    loaded, text = first_task(tmp_path, written(tmp_path / "orders.csv", orders()))
    task = loaded.task
    assert (task.name, task.kind, task.horizon) == ("orders", "binary", timedelta(days=7))
    assert features(loaded) == {
        "value": "number",
        "items": "integer",
        "country": "category",
        "express": "boolean",
    }
    country, items = task.features.by_name["country"], task.features.by_name["items"]
    assert getattr(country, "levels", None) == ("AT", "DE", "FR")
    assert isinstance(items.missing, int)
    assert task.data is not None
    assert (task.data.path, task.data.request_id, task.data.ts) == ("orders.csv", "Order ID", "placed_at")
    assert task.data.timezone == "UTC"
    assert isinstance(task.models[0].policy, DefaultAtHorizon)
    events = loaded.events()
    assert sum(1 for event in events if event.outcomes) == 67
    for column, why in (
        ("note", "different in every row"),
        ("shop", "the same in every row"),
        ("cancelled_by", "filled only where cancelled_at is"),
    ):
        assert f"# Left out: {column} ({why})." in text


def test_a_spreadsheet_with_commas_days_first_and_words_for_missing(tmp_path: Path) -> None:
    rows = orders()
    for number, row in enumerate(rows):
        row["value"] = "NA" if number == 5 else row["value"].replace(".", ",")
        row["country"] = "Österreich" if row["country"] == "AT" else row["country"]
        for name in ("placed_at", "cancelled_at"):
            if row[name]:
                day, clock = row[name].split()
                year, month, number_of_day = day.split("-")
                row[name] = f"{number_of_day}.{month}.{year} {clock}"
    loaded, _ = first_task(tmp_path, written(tmp_path / "orders.csv", rows, ";", "cp1252"))
    data = loaded.task.data
    assert data is not None
    assert (data.decimal, data.encoding, data.missing) == (",", "cp1252", ("NA",))
    assert "%d.%m.%Y %H:%M" in data.dates
    assert features(loaded)["value"] == "number"
    assert any(event.request.features["country"] == "Österreich" for event in loaded.events())


def test_parquet_and_what_options_say(tmp_path: Path) -> None:
    table = pyarrow.Table.from_pylist(orders())
    data = tmp_path / "orders.parquet"
    parquet.write_table(table, data)
    loaded, _ = first_task(tmp_path, data, "--outcome", "value", "--name", "how-much")
    assert (loaded.task.name, loaded.task.kind) == ("how-much", "regression")
    assert isinstance(loaded.task.models[0].policy, OnArrival)
    loaded, _ = first_task(tmp_path, data, "--outcome", "country")
    assert loaded.task.kind == "multiclass"
    assert {event.outcomes[0].value for event in loaded.events()} == set(COUNTRIES)


def test_a_file_without_id_and_time_counts_its_rows(tmp_path: Path) -> None:
    rows = [
        {"a": row["value"], "b": row["country"], "y": str(int(n % 3 == 0))} for n, row in enumerate(orders())
    ]
    loaded, _ = first_task(tmp_path, written(tmp_path / "2024 data.csv", rows))
    assert loaded.task.name == "t2024-data"
    events = loaded.events()
    assert [event.request.request_id for event in events[:2]] == ["1", "2"]
    assert events[1].request.ts - events[0].request.ts == 1000
    assert [event.outcomes[0].value for event in events[:4]] == [True, False, False, True]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (
            ("--outcome", "gone"),
            "--outcome gone: there is no such column; the columns are Order ID, placed_at",
        ),
        (("--outcome", "note"), "--outcome note: text with 200 different cells is no class"),
        (("--time", "value"), "--time value: the column must have a time in each row"),
        (("--id", "country"), "--id country: a cell occurs twice or is empty"),
    ],
)
def test_an_option_that_cannot_be_is_rejected(tmp_path: Path, options: tuple[str, str], reason: str) -> None:
    data = written(tmp_path / "orders.csv", orders())
    with pytest.raises(UsageError) as caught:
        run(init, data, "--out", tmp_path / "task.py", *options)
    assert str(caught.value).startswith(reason)
    assert not (tmp_path / "task.py").exists()


def test_nothing_is_replaced_and_nothing_is_made_up(tmp_path: Path) -> None:
    data = written(tmp_path / "orders.csv", [{"a": "1", "b": "2"}, {"a": "3", "b": "5"}])
    with pytest.raises(UsageError, match="no column looks like an outcome; name it with --outcome COLUMN"):
        run(init, data, "--out", tmp_path / "task.py")
    (tmp_path / "task.py").write_text("mine")
    with pytest.raises(UsageError, match=r"exists; use --force to replace it"):
        run(init, data, "--out", tmp_path / "task.py")
    assert (tmp_path / "task.py").read_text() == "mine"


# ---------------------------------------------------------------------- check


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.mark.parametrize("outcome", ["cancelled_at", "value", "country"])
def test_a_first_task_of_each_kind_passes_the_check(tmp_path: Path, home: Path, outcome: str) -> None:
    data = written(tmp_path / "orders.csv", orders())
    run(init, data, "--out", tmp_path / "task.py", "--outcome", outcome)
    done = run(check, tmp_path / "task.py")
    assert done.exit_code == 0
    lines = done.output.splitlines()
    assert lines[1].endswith("baseline: reproducible, stored and read back")
    assert lines[2].startswith("data       orders.csv: 200 rows read and learned, ")
    assert list((home / "riverloop" / "checked").glob("*.json"))


def broken(tmp_path: Path, old: str, new: str) -> Path:
    data = written(tmp_path / "orders.csv", orders())
    target = tmp_path / "task.py"
    run(init, data, "--out", target)
    text = target.read_text()
    assert old in text
    target.write_text(text.replace(old, new))
    return target


def test_a_model_that_is_not_reproducible_fails_the_check(tmp_path: Path, home: Path) -> None:
    seedless = "__import__('river.forest').forest.ARFClassifier(n_models=3)"
    target = broken(tmp_path, "dummy.PriorClassifier()", seedless)
    with pytest.raises((NotReproducible, TaskError), match=r"model 'baseline'"):
        run(check, target)


def test_a_model_that_fails_on_the_files_rows_fails_the_check(tmp_path: Path, home: Path) -> None:
    choosy = (
        "class Choosy(dummy.PriorClassifier):\n"
        "    def learn_one(self, x, y):\n"
        "        if x['country'] == 'AT':\n"
        "            raise KeyError(x['country'])\n"
        "        super().learn_one(x, y)\n\n\n"
        "def baseline"
    )
    target = broken(tmp_path, "def baseline", choosy)
    text = target.read_text().replace("dummy.PriorClassifier()", "Choosy()").replace('"AT", ', "")
    target.write_text(text)
    with pytest.raises(UsageError) as caught:
        run(check, target)
    assert "model 'baseline'" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "KeyError" in str(caught.value)


def test_what_a_file_leaves_out_is_counted_and_strict_fails(tmp_path: Path, home: Path) -> None:
    rows = orders(20)
    rows[1]["Order ID"] = rows[0]["Order ID"]
    rows[3]["cancelled_at"] = "2024-05-31 09:00"
    data = written(tmp_path / "some.csv", rows)
    target = tmp_path / "task.py"
    run(init, written(tmp_path / "orders.csv", orders()), "--out", target)
    done = run(check, target, "--data", data)
    assert "1 row(s) repeat the request id of an earlier row and are left out, such as 'o-0'" in done.output
    assert "1 outcome(s) lie before their request and are left out, such as that of 'o-3'" in done.output
    with pytest.raises(UsageError, match=r"some\.csv: 1 row\(s\) repeat"):
        run(check, target, "--data", data, "--strict")


def test_a_backtest_shows_baselines_segments_and_what_it_leaves_out_and_holds_its_bounds(
    tmp_path: Path, home: Path
) -> None:
    rows = orders()
    rows[10]["Order ID"] = rows[9]["Order ID"]
    target = tmp_path / "task.py"
    run(init, written(tmp_path / "orders.csv", orders()), "--out", target)
    text = target.read_text().replace("import DataFile,", "import DataFile, MetricRules,")
    target.write_text(
        text.replace("    horizon=", '    metrics=MetricRules(segments=("country",)),\n    horizon=')
    )
    data = written(tmp_path / "some.csv", rows)
    bounds = ("--fail-above", "log_loss@country=DE=0.01", "--fail-below", "accuracy=last-value+0.9")
    done = run(backtest, target, "--data", data, *bounds)
    assert done.exit_code == 1
    for said in (
        "base-rate",
        "country=DE",
        "left out     1 row(s) repeat the request id of an earlier row and are left out, such as 'o-9'",
        "FAILED: lr.log_loss@country=DE is ",
        "FAILED: lr.accuracy is ",
    ):
        assert said in done.output
    with pytest.raises(UsageError, match=r"some\.csv: 1 row\(s\) repeat"):
        run(backtest, target, "--data", data, "--strict")
    few = run(backtest, target, "--limit", "20", "--fail-above", "log_loss=9", "--json")
    assert few.exit_code == 1
    assert "rests on 20 label(s), --min-labels wants 30" in json.loads(few.stdout)["failed"][0]
