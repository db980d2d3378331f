"""A pipeline as a model's fold uses it: a kernel where there is one, and River for all that the kernel rejects."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from schemas.dictionary import Dictionary
from streams import native
from streams.failures import describe, is_own
from streams.native.plan import NotFused, Plan, Planned, plan_of
from streams.native.proof import difference, untaught_difference
from streams.native.state import read, write

RIVER, BOTH, KERNEL = range(3)
"""Who has the newest state."""
DEBT: Final = 200_000
"""Columns that may be read from River's objects beyond those that learning has paid for."""


class Proof(NamedTuple):
    """What differs between a kernel and River; empty where nothing does."""

    difference: str
    untaught: str
    """Of scores before the first learned example."""


_proven: dict[tuple[Plan, str, str], Proof] = {}
"""By plan, dictionary and kind."""


class FusedPipeline:
    """A River estimator, and a kernel that does the same faster.

    One of the two has the newest state; the other gets it when it is asked. Whatever the kernel rejects has changed
    nothing: River learns that example, or raises, from the same state.

    Parameters
    ----------
    make
        Makes the estimator with nothing learned yet.
    dictionary, kind
        The task's; None: there is no kernel.
    core
        Which implementation, as in `streams.native.CORES`; empty: the one chosen for this process.
    """

    def __init__(
        self, make: Callable[[], Any], dictionary: Dictionary | None = None, kind: str = "", core: str = ""
    ) -> None:
        self._make, self._dictionary, self._kind = make, dictionary, kind
        self._river = make()
        self._core = core or native.chosen()
        self._kernel: Any = None
        self._planned: Planned | None = None
        self._newest = RIVER
        self._debt = 0
        self.why = "Python is set" if self._core == "python" else ""
        """Why there is no kernel; empty while there is one, or before the first example."""
        if dictionary is None and not self.why:
            self.why = "there is no dictionary"
        self._scores_untaught = False
        self.kept = False
        """Whether the kernel has the state before the example that River is learning or has failed at."""

    # ------------------------------------------------------------------ River

    @property
    def estimator(self) -> Any:
        """River's estimator in the newest state, for anyone who may change it."""
        self._write()
        self._newest = RIVER
        return self._river

    @estimator.setter
    def estimator(self, estimator: Any) -> None:
        self._river, self._newest, self.kept = estimator, RIVER, False
        self._planned = None

    @property
    def reading(self) -> Any:
        """River's estimator in the newest state, for anyone who does not change what it knows."""
        self._write()
        return self._river

    def put_back(self) -> None:
        """Make River's estimator anew, in the state before the example that it has failed at."""
        assert self.kept
        self._river = self._make()
        self._planned, self._newest, self.kept = self._plan(), KERNEL, False
        self._write()

    def _write(self) -> None:
        if self._newest == KERNEL:
            self._planned = self._planned or self._plan()
            write(self._planned, self._kernel.dump())
            self._newest = BOTH

    def _plan(self) -> Planned:
        assert self._dictionary is not None
        return plan_of(self._river, self._dictionary, self._kind)

    # ------------------------------------------------------------------ the kernel

    @property
    def is_fused(self) -> bool:
        """Whether a kernel learns."""
        return self._kernel is not None

    def prepare(self) -> str:
        """Make the kernel, and prove it where no other fold has; gives why there is none, or nothing."""
        self._ready()
        return self.why

    def learn(self, x: Mapping[str, Any], y: Any) -> bool:
        """Learn an example in the kernel; False: nothing has changed, and River is to learn it."""
        self.kept = False
        if self.why or (self._newest == RIVER and not self._ready()):
            return False
        if self._kernel.learn(x, y) is not None:
            self._newest = KERNEL
            self._debt -= 20
            return True
        self._write()
        self.kept = True
        return False

    def learn_rows(self, examples: Any, most: int) -> int:
        """Learn the first of some examples in the kernel, up to the first that River is to learn; gives how many.

        Parameters
        ----------
        examples
            What a scanner has made of records, with the dictionary's features.
        """
        self.kept = False
        if self.why or (self._newest == RIVER and not self._ready()):
            return 0
        count: int = self._kernel.learn_rows(examples, most)
        if count:
            self._newest = KERNEL
            self._debt -= 20 * count
        return count

    def kernel(self, names: tuple[str, ...], kinds: tuple[Any, ...], learned: bool = True) -> Any:
        """Return the kernel in the newest state; None where there is none for features of these names and kinds.

        Parameters
        ----------
        learned
            Whether the pipeline has learned an example; else the kernel scores only if that is proven as well.
        """
        if not self._may_score(learned):
            return None
        plan = self._kernel.plan
        return self._kernel if (plan.names, plan.kinds) == (names, kinds) else None

    def score(self, x: Mapping[str, Any], learned: bool = True) -> float | None:
        """Score an example in the kernel: a number, or the probability of True; None where River is to answer."""
        if not self._may_score(learned):
            return None
        score: float | None = self._kernel.predict(x)
        return score

    def _may_score(self, learned: bool) -> bool:
        if self.why or not (learned or self._kernel):  # nobody waits for the proof before the first example
            return False
        return (self._newest != RIVER or self._ready()) and (learned or self._scores_untaught)

    def _ready(self) -> bool:
        """Bring the kernel to River's state."""
        if self.why:
            return False
        try:
            planned = self._plan()
            if self._kernel is None or self._kernel.plan != planned.plan:
                self._kernel = self._made(planned.plan)
            state = read(planned)
            self._debt = max(0, self._debt) + len(state[3])
            if self._debt > DEBT:
                raise NotFused("River has had to answer too often")
            self._kernel.load(*state)
        except BaseException as reason:
            if not is_own(reason):
                raise
            # Also what the task file's code raises when the proof makes pipelines: River learns all the same.
            self.why = str(reason) if isinstance(reason, NotFused) else describe(reason)
            self._kernel = self._planned = None
            self._scores_untaught = False
            return False
        self._planned, self._newest = planned, BOTH
        return True

    def _made(self, plan: Plan) -> Any:
        module = native.built()
        if module is None:
            raise NotFused("the native core is not built")
        assert self._dictionary is not None
        key = plan, self._dictionary.digest, self._kind
        if key not in _proven:
            about = self._make, self._dictionary, self._kind, module.Kernel
            found = difference(*about)
            _proven[key] = Proof(found, found or untaught_difference(*about))
        proof = _proven[key]
        if proof.difference:
            raise NotFused(f"the kernel does not equal River: {proof.difference}")
        self._scores_untaught = not proof.untaught
        return module.Kernel(plan)
