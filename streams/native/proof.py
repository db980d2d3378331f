"""Whether a kernel equals River: some thousand steps of this pipeline over this dictionary, side by side."""

from __future__ import annotations

import math
import random
import struct
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from schemas.dictionary import Dictionary
from streams.examples import synthetic_examples
from streams.native.plan import plan_of
from streams.native.state import read, write
from streams.scoring import Untaught, answer_of
from streams.snapshot.digest import state_digest

RUNS: Final = 4
STEPS: Final = 500
"""In each run. An extreme value soon ends what a model can learn: several runs show more than a long one."""
UNTAUGHT: Final = 200
"""Examples that are scored before any is learned."""
LEAST: Final = 0.4
"""Share of the examples that the kernel must learn: it would prove little with fewer."""
LARGE: Final = (0.0, 1.0, -1.0, 5e-324, 1e-310, 1e17, -1e17, float(2**53), 1e-8, 1e140, -1e149, 1e300, -1e308)
WHOLE: Final = (0, 1, -1, 2**31, -(2**52), 2**53 + 1, -(2**63), 2**63 - 1)
TEXTS: Final = ("", "a", "_", "0", "True", "é", "名", "x" * 300, "a_b", "a\x00b")
TARGETS: Final = (0.0, 1.0, -1.0, 5, 1e12, -1e149, 1e-300)


def examples(
    dictionary: Dictionary, kind: str, count: int, seed: int
) -> Iterator[tuple[dict[str, Any], Any]]:
    """Give examples as the load check has them; in the second half some with missing, new or extreme values."""
    rng = random.Random(seed)  # noqa: S311  repeatable, not secret
    for step, (x, y) in enumerate(synthetic_examples(dictionary, kind, count, seed)):
        odd = step * 2 > count
        if odd and rng.random() < 0.1:
            for name in list(x):
                part = rng.random()
                if part < 0.2:  # an entry of an older dictionary may lack what today's requires
                    del x[name]
                elif part < 0.4:
                    x[name] = _extreme(x[name], rng)
        if odd and kind == "regression" and rng.random() < 0.05:
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


def difference(make: Callable[[], Any], dictionary: Dictionary, kind: str, kernel_class: Any) -> str:
    """Run a kernel beside River; gives the first difference in words, and nothing where there is none.

    Parameters
    ----------
    make
        Makes the pipeline with nothing learned yet.
    dictionary, kind
        The task's.
    kernel_class
        `streams.native._kernel.Kernel`.
    """
    learned = 0
    for seed in range(RUNS):
        run = Run(make, dictionary, kind, kernel_class)
        found = run.over(examples(dictionary, kind, STEPS, seed), STEPS)
        if found:
            return f"in run {seed}, {found}"
        learned += run.learned
    share = learned / (RUNS * STEPS)
    return "" if share >= LEAST else f"the kernel has learned only {share:.0%} of the examples"


def untaught_difference(make: Callable[[], Any], dictionary: Dictionary, kind: str, kernel_class: Any) -> str:
    """Let a kernel that has learned nothing score beside `Untaught`; gives the first difference in words.

    Some examples lack features, so that others are the first that River sees. See `difference`.
    """
    river = make()
    planned = plan_of(river, dictionary, kind)
    kernel = kernel_class(planned.plan)
    kernel.load(*read(planned))
    before, untaught = kernel.dump(), None
    rng = random.Random(UNTAUGHT)  # noqa: S311  repeatable, not secret
    for step, (whole, _) in enumerate(examples(dictionary, kind, UNTAUGHT, RUNS)):
        x = {name: value for name, value in whole.items() if step % 2 or rng.random() < 0.6}
        score = kernel.predict(x)
        if score is None:
            continue
        try:
            if untaught is None or step % 8 == 0:
                untaught = Untaught(river, kind, x)
            asked, label = untaught.answer(x)
        except Exception as error:
            asked, label = None, str(error)
        try:
            score, own_label = answer_of(score, kind)
        except Exception as error:
            score, own_label = None, str(error)
        if (type(score), bits(score), own_label) != (type(asked), bits(asked), label):
            return f"example {step}: a score before the first learned example differs"
    return "" if kernel.dump() == before else "scoring changes the state"


class Run:
    """A fresh pipeline and its kernel, side by side."""

    def __init__(self, make: Callable[[], Any], dictionary: Dictionary, kind: str, kernel_class: Any) -> None:
        self._make, self._dictionary, self._kind = make, dictionary, kind
        self.river = make()
        planned = plan_of(self.river, dictionary, kind)
        self.kernel = kernel_class(planned.plan)
        self.kernel.load(*read(planned))
        self.learned = 0

    def over(self, given: Iterable[tuple[dict[str, Any], Any]], steps: int) -> str:
        """Score and learn; gives the first difference."""
        looked_at = {0, 1, steps // 2, steps - 1}
        for step, (x, y) in enumerate(given):
            try:
                found = self._step(x, y)
            except Exception as error:
                found = f"River raises {type(error).__name__}, and the kernel does not"
            if not found and step in looked_at and not self.same_state():
                found = "the state differs"
            if found:
                return f"example {step}: {found}"
        return ""

    def _step(self, x: dict[str, Any], y: Any) -> str:
        score = self.kernel.predict(x)
        if self.learned and score is not None and bits(score) != bits(answer(self.river, x, self._kind)):
            return "the score differs"
        score = self.kernel.learn(x, y)
        if score is None:
            return ""
        self.river.learn_one(dict(x), y)
        self.learned += 1
        same = bits(score) == bits(answer(self.river, x, self._kind))
        return "" if same else "the score after learning it differs"

    def same_state(self) -> bool:
        """Whether both have the same state, and the kernel still has it after River's objects have held it."""
        planned = plan_of(self.river, self._dictionary, self._kind)
        again = type(self.kernel)(planned.plan)
        again.load(*read(planned))
        digests = {state_digest(self.river)}
        for each in (self.kernel, again):
            twin = self._make()
            write(plan_of(twin, self._dictionary, self._kind), each.dump())
            digests.add(state_digest(twin))
        return len(digests) == 1
