"""The page of River's estimators, of what `docs.make.models_check` has recorded."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from importlib import metadata
from typing import Any

from docs.make.models_check import RECORD
from streams.snapshot.scikit import LEARNED

TAKES = {"any": "any", "numbers": "numbers", "text": "texts"}


def record() -> dict[str, dict[str, Any]]:
    """Return what the load check said of each estimator, by name."""
    found: dict[str, dict[str, Any]] = json.loads(RECORD.read_text("utf-8"))
    return found


def models_page(table: Callable[[Sequence[str], Sequence[Sequence[object]]], str]) -> str:
    """Return the page of River's estimators."""
    found = record()
    accepted = [(name, each) for name, each in found.items() if "refused" not in each]
    by_reason: dict[str, list[str]] = {}
    for name, each in found.items():
        if "refused" in each:
            by_reason.setdefault(_reason(each["refused"], name), []).append(f"`{name}`")
    refused = [(", ".join(names), why) for why, names in by_reason.items()]
    by_need: dict[tuple[str, str], list[str]] = {}
    for name, each in accepted:
        by_need.setdefault((each["with"], TAKES[each["features"]]), []).append(f"`{name}`")
    rows = [
        (", ".join(names), need or "as it is", takes)
        for (need, takes), names in sorted(by_need.items(), key=lambda item: -len(item[1]))
    ]
    multiclass = ", ".join(f"`{name}`" for name, each in accepted if "multiclass" in each["kinds"])
    return f"""# River's estimators

What the [load check](../concepts/determinism.md#the-load-check) says of each public estimator of River
{metadata.version("river")}, with the arguments of River's own tests. Transformers stand before a logistic
regression. An estimator that takes numbers may take texts with other arguments, or behind
`preprocessing.OneHotEncoder`; wrappers take what is inside them. Functions and classes of a task file are checked
in the same way. A model of PyTorch is refused, since its state is no plain data; deep-river 0.3.4 needs River 0.25.

## Accepted

{table(("estimators", "with", "features"), rows)}

Multiclass tasks: {multiclass}.

## Refused

{table(("estimator", "what the load check says"), refused)}

## scikit-learn

With the extra `sklearn`, River's `compat.SKL2RiverClassifier` and `compat.SKL2RiverRegressor` may wrap
{", ".join(f"`{name.partition(':')[2]}`" for name in sorted(LEARNED))}
([decision 57](../adr/0057-scikit-learn.md)).
Every example needs the features of the first one, as numbers. A classifier lists all classes, sorted. `GaussianNB`
must have been fitted in `build` on two examples of each class. scikit-learn's version is part of the specification.
"""


def _reason(why: str, name: str) -> str:
    """Return a refusal without what the row says already."""
    why = re.sub(r"^kind='\w+' requires a \w+, not \w+(: )?", "", why)
    return re.sub(rf"^{re.escape(name)}( at \S+)? ", "", why) or "it is no model of its own"
