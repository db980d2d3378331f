"""The load check of a task: each of its models, exercised in two processes under different hash seeds."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from infra.checked import CheckCache, code_here
from infra.taskfile import load_task
from schemas.errors import RiverloopError, TaskError
from streams.exercise import EXAMPLES, Exercise, Fault, exercise
from streams.loadcheck import compare, proof

HASH_SEEDS: Final = ("1", "4242")
TIMEOUT_S: Final = 120.0


def check_task(
    reference: str, examples: int = EXAMPLES, timeout_s: float = TIMEOUT_S, cache: CheckCache | None = None
) -> dict[str, dict[str, str]]:
    """Check that every model of a task is reproducible.

    Parameters
    ----------
    reference
        What `infra.taskfile.load_task` takes.
    examples
        Synthetic examples for each model.
    timeout_s
        Time-out (s).
    cache
        What was found before: the same code is not checked again.

    Returns
    -------
    dict
        By model what `streams.loadcheck.proof` gives.

    Raises
    ------
    NotReproducible
        Naming the model, the component and what differs.
    TaskError
        When a model fails on an example that the dictionary allows, cannot be stored, or takes too long.
    """
    if cache is not None and (known := cache.get(reference)):
        return known
    with ThreadPoolExecutor(len(HASH_SEEDS)) as pool:
        jobs = [pool.submit(_run, reference, examples, seed, timeout_s) for seed in HASH_SEEDS]
        one, other = (job.result() for job in jobs)
    proofs = {}
    for here, there in zip(
        *([read_exercise(each) for each in report["exercises"]] for report in (one, other)), strict=True
    ):
        compare(here, there)
        proofs[here.model] = proof(here)
    if cache is not None and one["code"] == other["code"]:
        cache.keep(reference, proofs, one["code"])
    return proofs


def _run(reference: str, examples: int, hash_seed: str, timeout_s: float) -> dict[str, Any]:
    root = str(Path(__file__).resolve().parent.parent)
    path = os.pathsep.join(part for part in (root, os.environ.get("PYTHONPATH", "")) if part)
    command = [sys.executable, "-m", "infra.loadcheck", reference, str(examples)]
    environment = os.environ | {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": path}
    try:
        done = subprocess.run(  # noqa: S603  our own module, with this interpreter
            command, env=environment, capture_output=True, text=True, timeout=timeout_s, check=False
        )
    except subprocess.TimeoutExpired:
        raise TaskError(f"{reference}: the load check took more than {timeout_s:.0f} s") from None
    try:
        report: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise TaskError(
            f"{reference}: the load check ended with exit code {done.returncode}: {last}"
        ) from None
    if "error" in report:
        raise TaskError(report["error"])
    return report


def read_exercise(report: dict[str, Any]) -> Exercise:
    """Return what another process saw of a model, from the form that it printed."""
    return Exercise(
        report["model"],
        tuple(Fault(**fault) for fault in report["faults"]),
        {place: tuple(outputs) for place, outputs in report["outputs"].items()},
        {place: tuple(states) for place, states in report["states"].items()},
        tuple(report["checkpoints"]),
        tuple(report["unseeded"]),
    )


def _main(reference: str, examples: int) -> int:
    report: dict[str, Any]
    try:
        with contextlib.redirect_stdout(sys.stderr):  # what the task file prints is not ours
            loaded = load_task(reference)
            task = loaded.task
            exercises = [
                exercise(
                    *(model.make, task.features, task.kind, examples),
                    model=model.name,
                    classes=loaded.classes,
                    outcomes=(task.outcome_low, task.outcome_high),
                )
                for model in task.models
            ]
        report = {"exercises": [dataclasses.asdict(each) for each in exercises], "code": code_here()}
    except RiverloopError as error:
        report = {"error": str(error)}
    sys.stdout.write(json.dumps(report))
    return 0


if __name__ == "__main__":
    raise SystemExit(_main(sys.argv[1], int(sys.argv[2])))
