"""No bytes make the native core read, write or compute what C++ does not define."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from schemas.codec import Codec
from schemas.dictionary import Boolean, Category, Dictionary, Integer, Number
from schemas.examples import examples
from schemas.records import Entry, Features, Outcome, Position, Prediction, Request, Score
from streams.native.records import RecordPlan, plan_of

ROOT = Path(__file__).parents[2]
ROUNDS = 200_000
CODEC = Codec(
    "shop",
    "binary",
    Dictionary(
        Number(name="price"),
        Number(name="weight", optional=True),
        Integer(name="items"),
        Boolean(name="new", optional=True),
        Category(name="channel", optional=True),
        Category(name="country"),
    ),
)
FEATURES: Features = {"price": 1.5, "items": 3, "new": True, "channel": "web", "country": "DE"}
RECORDS = {name: CODEC.encode(record) for name, record in examples(CODEC).items()}


FLAGS = (
    *("-O1", "-g", "-std=c++17", "-ffp-contract=off", "-Wall", "-Wextra", "-Werror", "-Wno-unused-function"),
    *("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-D_GLIBCXX_ASSERTIONS"),
)


@pytest.fixture(scope="module")
def fuzzers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs, with the sanitizers of addresses and of undefined behaviour."""
    folder = tmp_path_factory.mktemp("fuzz")
    for name in ("core_fuzz", "serve_fuzz", "turn_fuzz", "watch_fuzz"):
        source = Path(__file__).parent / f"{name}.cpp"
        words = ["c++", *FLAGS, "-I", str(ROOT / "streams" / "native"), str(source), "-o", str(folder / name)]
        subprocess.run(words, check=True, timeout=240)
    return folder


def run(program: Path, text: str) -> list[int]:
    done = subprocess.run(
        [str(program), str(ROUNDS)], input=text, capture_output=True, text=True, timeout=240, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return [int(each) for each in done.stdout.split()]


def spelt(plan: RecordPlan) -> list[str]:
    lines = [str(len(plan.nodes))]
    lines += [" ".join(map(str, (int(n.form), n.symbols, len(n.parts), *n.parts))) for n in plan.nodes]
    return [
        *lines,
        f"{plan.features} {plan.features_field} {len(plan.kinds)}",
        " ".join(str(int(k)) for k in plan.kinds),
    ]


@pytest.mark.system("c++")
@pytest.mark.parametrize("name", ["Request", "Prediction", "Outcome", "Entry", "JoinRecord", "Tally"])
def test_hostile_records_do_no_harm(fuzzers: Path, name: str) -> None:
    text = "\n".join([*spelt(plan_of(CODEC.schemas[name])), RECORDS[name].hex()])
    accepted, read, learned = run(fuzzers / "core_fuzz", text)
    assert 0.02 * ROUNDS < accepted < 0.9 * ROUNDS
    if name in {"Request", "Prediction"}:
        assert accepted >= read > learned > 0.02 * ROUNDS


@pytest.mark.system("c++")
def test_hostile_records_do_no_harm_to_the_table_of_the_join(fuzzers: Path) -> None:
    lines = [*spelt(plan_of(CODEC.schemas["Prediction"])), *spelt(plan_of(CODEC.schemas["Outcome"]))]
    for number in range(60):
        prediction = Prediction(f"r{number}", 1, FEATURES, (Score("lr", 1, 2, number / 60, False),))
        outcome = Outcome(f"r{number}", 2, None if number % 5 == 0 else True, None, "lost", "till")
        lines += [f"p {CODEC.encode(prediction).hex()}", f"o {CODEC.encode(outcome).hex()}"]
    seen, taken, entries, dropped = run(fuzzers / "turn_fuzz", "\n".join(lines))
    assert seen > 0.3 * ROUNDS
    assert taken > 0.1 * ROUNDS
    assert entries > 0.05 * ROUNDS
    assert dropped > 100


@pytest.mark.system("c++")
def test_hostile_requests_do_no_harm_and_are_written_as_predictions(fuzzers: Path) -> None:
    lines = [*spelt(plan_of(CODEC.schemas["Request"])), *spelt(plan_of(CODEC.schemas["Prediction"]))]
    for number in range(20):
        parents = ("a", "é" * number)[: number % 3]
        request = Request(f"r{number}", 1, FEATURES, "guest" if number % 2 else None, parents)
        lines.append(CODEC.encode(request).hex())
    taken, rejected = run(fuzzers / "serve_fuzz", "\n".join(lines))
    assert taken > 0.2 * ROUNDS
    assert rejected > 0.1 * ROUNDS


@pytest.mark.system("c++")
def test_hostile_entries_do_no_harm_to_the_monitors(fuzzers: Path) -> None:
    lines = [*spelt(plan_of(CODEC.schemas["Prediction"])), *spelt(plan_of(CODEC.schemas["Entry"]))]
    for number in range(60):
        asked, at = Position("shop.predictions", 0, number), Position("shop.outcomes", 0, number)
        prediction = Prediction(f"r{number}", 1, FEATURES, (Score("lr", 1, 2, number / 60, number > 30),))
        outcome = Outcome(f"r{number}", 5, number % 3 == 0, None, None, "till")
        entry = Entry(f"{at}#0", "labelled", 5, at, 9, asked, at, prediction, outcome)
        if number % 5 == 0:
            entry = Entry(f"{asked}#0", "expired", 5, asked, 9, asked, None, prediction)
        lines.append(CODEC.encode(entry).hex())
    seen, taken, stopped = run(fuzzers / "watch_fuzz", "\n".join(lines))
    assert seen > 0.3 * ROUNDS
    assert taken > 0.2 * ROUNDS
    assert stopped > 5
