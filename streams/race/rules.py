"""What a task file says about a race among its models."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Literal

from streams.gate.rules import Gate

NO_END: Final = timedelta(days=36_500)


@dataclass(frozen=True, slots=True, kw_only=True)
class Race(Gate):
    """The model with the lowest loss on whole matured cohorts answers.

    A gate asks for proof before a challenger answers, a race follows the mean. It asks for proof to drop a model:
    one that is shown to be worse than the model that answers no longer counts, until it is revived.

    Parameters
    ----------
    start
        Which model answers during the burn-in. `first`: the one that does so already. `least_sure`: the one whose
        mean loss over the possible labels of the requests in the log so far is lowest; their own labels are not
        read. For models that begin together: one that has learned for long is surer than a new one.
    least
        Burn-in: matured requests with a label before another model answers, or one is dropped.
    recent
        Another model answers only if it is better on this many of the newest matured requests as well. A dropped
        one is revived when the loss of the model that answers, over as many, is above its own when it was dropped.
    alpha
        Chance that a model is dropped that is not worse, over all models and times.

    Notes
    -----
    The other settings are those of `Gate`; there is one step, and no end.

    A request without a label at its horizon counts with the mean loss over its possible labels. To leave it out
    favours models that are right about the requests that get labels.
    """

    start: Literal["first", "least_sure"] = "first"
    least: int = 1000
    recent: int = 1000
    budget: int = 1_000_000_000
    until: timedelta = NO_END
    steps: tuple[int, ...] = (100,)
    hold: timedelta = timedelta(0)
    decide: Literal["propose", "promote"] = "promote"

    def describe(self) -> str:
        """See `Gate.describe`; a gate with the same settings has another digest."""
        return f"race\n{super(Race, self).describe()}"
