"""No bytes make the native core read, write or compute what C++ does not define."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from schemas.codec import Codec
from schemas.dictionary import Boolean, Category, Dictionary, Integer, Number
from schemas.examples import examples
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
RECORDS = {name: CODEC.encode(record) for name, record in examples(CODEC).items()}


@pytest.fixture(scope="module")
def fuzzer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program, with the sanitizers of addresses and of undefined behaviour."""
    program = tmp_path_factory.mktemp("fuzz") / "core_fuzz"
    words = ["c++", "-O1", "-g", "-std=c++17", "-ffp-contract=off", "-Wall", "-Wextra", "-Werror"]
    words += ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-D_GLIBCXX_ASSERTIONS"]
    words += [
        "-I",
        str(ROOT / "streams" / "native"),
        str(Path(__file__).parent / "core_fuzz.cpp"),
        "-o",
        str(program),
    ]
    subprocess.run(words, check=True, timeout=240)
    return program


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
def test_hostile_records_do_no_harm(fuzzer: Path, name: str) -> None:
    text = "\n".join([*spelt(plan_of(CODEC.schemas[name])), RECORDS[name].hex()])
    done = subprocess.run(
        [str(fuzzer), str(ROUNDS)], input=text, capture_output=True, text=True, timeout=240, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    accepted, read, learned = map(int, done.stdout.split())
    assert 0.02 * ROUNDS < accepted < 0.9 * ROUNDS
    if name in {"Request", "Prediction"}:
        assert accepted >= read > learned > 0.02 * ROUNDS
