"""Whether a model is reproducible: exercised before it may learn, and compared with itself elsewhere.

A version is a position in the log only if folding gives the same bits in every process and after every
restore. River keeps that promise for most models, and for none by contract. So each model of a task runs some
hundred synthetic examples, in two processes under different hash seeds, is asked twice, written and read half
way; where anything differs the start is rejected and the component named.
"""

from __future__ import annotations

import hashlib

from schemas.errors import NotReproducible
from streams.exercise import ORDER, VALUES, Exercise, Fault


def proof(exercise: Exercise) -> dict[str, str]:
    """Return a digest of all that each component gave and became: equal where all bits are equal."""
    found = {}
    for place, outputs in exercise.outputs.items():
        text = "\n".join([*outputs, "", *exercise.states.get(place, ())])
        found[place] = hashlib.sha256(text.encode()).hexdigest()[:16]
    return found


def compare(one: Exercise, other: Exercise) -> None:
    """Compare what two processes saw of a model.

    Raises
    ------
    NotReproducible
        Naming the model, the component and what differs.
    """
    for fault in (*one.faults, *other.faults):
        raise NotReproducible(f"model {one.model!r} is not reproducible: {fault}")
    difference = _first_difference(one, other)
    if difference is not None:
        seeded = ", ".join(f"{each}(seed=1)" for each in one.unseeded)
        hint = f"; without a seed: {', '.join(one.unseeded)}; write {seeded}" if one.unseeded else ""
        raise NotReproducible(f"model {one.model!r} is not reproducible: {difference}{hint}")


def _first_difference(one: Exercise, other: Exercise) -> Fault | None:
    if list(one.outputs) != list(other.outputs):
        return Fault(
            "the model",
            f"consists of {list(one.outputs)} in one process and of {list(other.outputs)} in another",
        )
    for example in range(min(map(len, one.outputs.values()))):
        for place, here in one.outputs.items():
            there = other.outputs[place][example]
            if here[example] != there:
                order = here[example].split(":")[0] != there.split(":")[0]
                what = ORDER if order else VALUES
                return Fault(place, f"{what} in a process with another hash seed", example)
    for number, example in enumerate(one.checkpoints):
        for place, states in one.states.items():
            if states[number] != other.states[place][number]:
                return Fault(place, "has another state in a process with another hash seed", example)
    return None
