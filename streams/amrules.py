"""River's adaptive model rules with numbers for keys."""

from __future__ import annotations

from typing import Any

from river import rules


class AMRules(rules.AMRules):
    """Adaptive model rules, in the same bits in every process.

    River keeps its rules in a dict whose keys are the rules' memory addresses (`hash(rule)`): other keys in every
    process, and a rule may replace another one whose address it has got. Here a rule's key is its number. All else
    is River's: the same parameters, and the same answers as long as no address came twice.

    Examples
    --------
    >>> model = AMRules(n_min=50, delta=0.1)
    >>> for number in range(400):
    ...     model.learn_one({"x": number % 20 / 20}, float(number % 20 > 9) + number % 7 / 7)
    >>> list(model._rules)
    [0, 1, 2, 3]
    """

    def learn_one(self, x: dict[Any, Any], y: Any, w: int = 1) -> None:
        """Learn an example."""
        before: list[Any] = list(self._rules)
        super().learn_one(x, y, w)
        for address in [key for key in self._rules if key not in before]:  # one at most, the last
            self._rules[max(before, default=-1) + 1] = self._rules.pop(address)
