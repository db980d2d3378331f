"""Whether a kernel equals River: some thousand steps of this pipeline over this dictionary, side by side."""

from __future__ import annotations

import math
import random
import struct
from collections.abc import Callable, Iterator
from typing import Any, Final

from schemas.dictionary import Dictionary
from streams.examples import synthetic_examples
from streams.native.plan import plan_of
from streams.native.state import read, write
from streams.snapshot.digest import state_digest

STEPS: Final = 2_000
LEAST: Final = 0.5
"""Share of the examples that the kernel must learn: it would prove little with fewer."""
LARGE: Final = (0.0, 1.0, -1.0, 5e-324, 1e-310, 1e17, -1e17, float(2**53), 1e-8, 1e140, -1e149, 1e300, -1e308)
WHOLE: Final = (0, 1, -1, 2**31, -(2**52), 2**53 + 1, -(2**63), 2**63 - 1)
TEXTS: Final = ("", "a", "_", "0", "True", "é", "名", "x" * 300, "a_b", "a\x00b")
TARGETS: Final = (0.0, 1.0, -1.0, 5, 1e12, -1e149, 1e-300)


def examples(
    dictionary: Dictionary, kind: str, count: int, seed: int
) -> Iterator[tuple[dict[str, Any], Any]]:
    """Give examples as the load check has them, some of them with missing, new or extreme values."""
    rng = random.Random(seed)  # noqa: S311  repeatable, not secret
    for x, y in synthetic_examples(dictionary, kind, count, seed):
        if rng.random() < 0.1:
            for name in list(x):
                part = rng.random()
                if part < 0.2:  # an entry of an older dictionary may lack what today's requires
                    del x[name]
                elif part < 0.4:
                    x[name] = _extreme(x[name], rng)
        if kind == "regression" and rng.random() < 0.05:
            yield x, rng.choice(TARGETS)
        else:
            yield x, y


def _extreme(value: Any, rng: random.Random) -> Any:
    if type(value) is bool:
        return not value
    if type(value) is int:
        return rng.choice(WHOLE)
    if type(value) is str:
        return rng.choice(TEXTS)
    return rng.choice((*LARGE, rng.gauss(0, 10 ** rng.uniform(-8, 8))))


def bits(value: Any) -> bytes:
    """Give a score's bits; all NaN are one."""
    return b"nan" if value is None or math.isnan(value) else struct.pack("<d", value)


def answer(estimator: Any, x: dict[str, Any], kind: str) -> float:
    """Ask River: its number, or for a classifier the probability of True."""
    found = (
        estimator.predict_one(dict(x)) if kind == "regression" else estimator.predict_proba_one(dict(x))[True]
    )
    return float(found)


def difference(
    make: Callable[[], Any],
    dictionary: Dictionary,
    kind: str,
    kernel_class: Any,
    steps: int = STEPS,
    seed: int = 1,
) -> str:
    """Run a kernel beside River; gives the first difference in words, and nothing where there is none.

    Parameters
    ----------
    make
        Makes the pipeline with nothing learned yet.
    dictionary, kind
        The task's.
    kernel_class
        `streams.native._kernel.Kernel`.
    steps, seed
        How many examples, from which seed.
    """
    river = make()
    planned = plan_of(river, dictionary, kind)
    kernel = kernel_class(planned.plan)
    kernel.load(*read(planned))
    learned = 0
    looked_at = {0, 1, steps // 2, steps - 1}
    for step, (x, y) in enumerate(examples(dictionary, kind, steps, seed)):
        try:
            score = kernel.predict(x)
            if learned and score is not None and bits(score) != bits(answer(river, x, kind)):
                return f"the score of example {step} differs"
            score = kernel.learn(x, y)
            if score is not None:
                river.learn_one(dict(x), y)
                learned += 1
                if bits(score) != bits(answer(river, x, kind)):
                    return f"the score after example {step} differs"
        except Exception as error:
            return f"River raises {type(error).__name__} for example {step}, and the kernel does not"
        if step in looked_at and not same_state(make, river, kernel, dictionary, kind):
            return f"the state after example {step} differs"
    share = learned / steps
    return "" if share > LEAST else f"the kernel has learned only {share:.0%} of the examples"


def same_state(make: Callable[[], Any], river: Any, kernel: Any, dictionary: Dictionary, kind: str) -> bool:
    """Whether both have the same state, and the kernel still has it after River's objects have held it."""
    planned = plan_of(river, dictionary, kind)
    again = type(kernel)(planned.plan)
    again.load(*read(planned))
    digests = {state_digest(river)}
    for each in (kernel, again):
        twin = make()
        write(plan_of(twin, dictionary, kind), each.dump())
        digests.add(state_digest(twin))
    return len(digests) == 1
