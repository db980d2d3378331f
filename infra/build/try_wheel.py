"""Whether an installed wheel's native core equals River on this machine: `.ci/wheels` asks it of each."""

from __future__ import annotations

from river import linear_model, preprocessing

from schemas import Dictionary, Number
from streams import native
from streams.native.proof import difference


def main() -> None:
    """Exit with what differs."""
    native.choose("native")
    numbers = Dictionary(*(Number(name=f"x{n}") for n in range(8)))
    found = difference(
        lambda: preprocessing.StandardScaler() | linear_model.LogisticRegression(),
        *(numbers, "binary", native.built().Kernel),
    )
    raise SystemExit(found or 0)


if __name__ == "__main__":
    main()
