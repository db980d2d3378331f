from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from river import linear_model

from agents.cli.main import riverloop
from schemas import Category, Dictionary, Number
from schemas.errors import TaskError
from streams import DefaultAtHorizon, Gate, Guardrail, Model, OnArrival, Task
from streams.gate.replay import replay
from tests.gate_task import events, make_task, quick


def make(gate: Any, **changes: Any) -> Task:
    settings: dict[str, Any] = {
        "name": "task",
        "question": "?",
        "features": Dictionary(
            Number(name="x"),
            Category(name="c", missing="none"),
            Category(name="p", personal_data="tokenised"),
        ),
        "horizon": timedelta(days=30),
        "models": (Model("lr", linear_model.LogisticRegression), Model("b", linear_model.LogisticRegression)),
        "gate": gate,
    }
    return Task(**settings | changes)


REGRESSION = {"kind": "regression", "models": (Model("lr", linear_model.LinearRegression),)}
TWO_POLICIES = {
    "models": (
        Model("lr", linear_model.LogisticRegression),
        Model("b", linear_model.LogisticRegression, policy=DefaultAtHorizon(False)),
    )
}


@pytest.mark.parametrize(
    ("gate", "changes", "message"),
    [
        ("yes", {}, "must be Gate"),
        (Gate(loss="absolute_error"), {}, "does not fit kind='binary'"),
        (Gate(clip=0.7), {}, "clip=0.7"),
        (Gate(bounds=(0.0, 1.0)), {}, "for regressions"),
        (Gate(), REGRESSION, "needs bounds"),
        (Gate(bounds=(1.0, 1.0)), REGRESSION, "two finite numbers"),
        (Gate(alpha=0.0), {}, "alpha=0.0"),
        (Gate(harm_alpha=0.5), {}, "harm_alpha=0.5"),
        (Gate(margin=1), {}, "margin=1"),
        (Gate(least=0), {}, "least=0"),
        (Gate(recent=True), {}, "recent=True"),
        (Gate(budget=100), {}, "at least least=500"),
        (Gate(until=timedelta(0)), {}, "until="),
        (Gate(hold=-timedelta(1)), {}, "hold="),
        (Gate(wait=timedelta(days=29)), {}, "wait=.* at least 30 days"),
        (Gate(steps=()), {}, "steps="),
        (Gate(steps=(50,)), {}, "steps="),
        (Gate(steps=(50, 10, 100)), {}, "steps="),
        (Gate(decide="ask"), {}, "decide='ask'"),  # type: ignore[arg-type]  # wrong on purpose
        (Gate(policy=OnArrival), {}, "not a policy instance"),  # type: ignore[arg-type]  # wrong on purpose
        (Gate(), TWO_POLICIES, "several policies"),
        (Gate(guardrails=("calibration",)), {}, "tuple of Guardrail"),  # type: ignore[arg-type]  # wrong on purpose
        (Gate(guardrails=(Guardrail("missing", 0.1), Guardrail("missing", 0.2))), {}, "watch the same"),
        (Gate(guardrails=(Guardrail("latency", 0.1),)), {}, "is not one of"),  # type: ignore[arg-type]  # wrong on purpose
        (Gate(guardrails=(Guardrail("missing", 1.0),)), {}, "limit=1.0"),
        (Gate(guardrails=(Guardrail("segment", 0.1, feature="x"),)), {}, "not a category"),
        (Gate(guardrails=(Guardrail("segment", 0.1, feature="p"),)), {}, "personal data"),
        (Gate(guardrails=(Guardrail("missing", 0.1, feature="c"),)), {}, "has no feature"),
    ],
)
def test_a_wrong_gate_is_rejected_with_what_to_change(
    gate: Any, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(TaskError, match=message):
        make(gate, **changes)


def test_a_gate_has_a_digest_of_its_own_and_changes_no_model() -> None:
    plain, gated = make(None), make(Gate())
    assert plain.spec(plain.models[0]) == gated.spec(gated.models[0])
    digests = {
        gate.digest for gate in (Gate(), Gate(margin=0.01), Gate(guardrails=(Guardrail("missing", 0.1),)))
    }
    assert len(digests) == 3
    assert Gate().digest == Gate().digest


def test_a_policy_of_its_own_lets_models_with_several_policies_compete() -> None:
    assert make(Gate(policy=OnArrival()), **TWO_POLICIES).gate is not None
    assert make(Gate(bounds=(0.0, 10.0)), **REGRESSION).gate is not None


def test_a_replay_counts_what_was_promoted_and_what_was_wrong() -> None:
    bad = (0.3, 0.5)
    right = replay(make_task(quick()), list(events(2500, lambda n, draw: bad)))
    assert (right["promotions"], right["false"]["promotions"]) == (1, 0)
    assert right["served"] < right["fixed"]["a"]
    assert right["fixed"]["b"] < right["served"]
    promoted = next(row for row in right["decisions"] if row["action"] == "promote")
    assert promoted["after"] == pytest.approx(0.04, abs=0.02)
    # Better until it is promoted, and worse from then on: a promotion that history shows as wrong.
    reign = int(promoted["ts"] // 864_000)
    wrong = replay(make_task(quick()), list(events(3000, lambda n, draw: bad if n < reign else bad[::-1])))
    assert wrong["false"]["promotions"] == 1
    only = replay(make_task(quick()), list(events(2500, lambda n, draw: bad[::-1])))
    assert (only["promotions"], only["served"]) == (0, only["fixed"]["a"])


TASK_FILE = """
from datetime import timedelta
from river import dummy
from schemas import Dictionary, Number
from streams import DataFile, DefaultAtHorizon, Gate, Model, Task

def constant(strategy): return dummy.PriorClassifier()

def outcome(row):
    return (int(row["ts"]) + 1000, True) if row["y"] == "1" else None

task = Task(
    name="constants", question="?", features=Dictionary(Number(name="x")), horizon=timedelta(seconds=10),
    models=tuple(Model(name, constant, {"strategy": name}, DefaultAtHorizon(False)) for name in ("a", "b")),
    gate=Gate(least=50, recent=50, margin=0.2),
    data=DataFile(path="rows.csv", request_id="id", ts="ts", dates="epoch_ms", outcome=outcome),
)
"""


def test_the_command_reports_what_the_gate_would_have_decided(tmp_path: Path) -> None:
    (tmp_path / "task.py").write_text(TASK_FILE)
    rows = [f"{n},{1_600_000_000_000 + n * 1000},{n % 7},{int(n % 3 == 0)}" for n in range(300)]
    (tmp_path / "rows.csv").write_text("\n".join(["id,ts,x,y", *rows]) + "\n")
    arguments = ["backtest", str(tmp_path / "task.py"), "--gate"]
    shown = CliRunner().invoke(riverloop, arguments)
    assert shown.exit_code == 0, shown.output
    assert "promotions 0, false 0" in shown.output
    assert "b: equivalent after" in shown.output
    found = json.loads(CliRunner().invoke(riverloop, [*arguments, "--json"]).stdout)["gate"]
    assert found["served"] == found["fixed"]["a"]
    assert [each["action"] for each in found["decisions"]] == ["verdict"]
    alone = CliRunner().invoke(riverloop, [*arguments, "--model", "a"])
    assert "needs at least two models" in f"{alone.output}{alone.exception}"
