"""Bins that everybody agrees on without having seen the data: counts made anywhere, ever, add up.

Numbers fall into eight bins per power of two, like those of a DDSketch (Masson, Rim and Lee, VLDB 2019) with
straight lines in place of logarithms: a bin is at most an eighth of its edge wide, whole numbers up to 16 have a
bin each. What is coarser, like the ten bins of a distribution, is a union of these and is chosen later, where all
counts come together.
"""

from __future__ import annotations

import math
import zlib
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

SMALLEST: Final = 2.0**-20
LARGEST: Final = 2.0**40
"""Beyond these, numbers share the bin of 0 and the last one: at most 961 bins a feature."""
BUCKETS: Final = 256
"""Tokens are counted by buckets: enough to see that new ones come, too few to tell who."""
MAX_LEVEL: Final = 64
"""Maximum length of a level, in characters."""


def edges(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return each number's bin, by the edge nearer to 0.

    Examples
    --------
    >>> edges(np.array([0.0, 3.0, 17.0, 1000.0, -0.3])).tolist()
    [0.0, 3.0, 16.0, 960.0, -0.28125]
    """
    size = np.minimum(np.abs(values), LARGEST)
    size[size < SMALLEST] = 0.0
    mantissa, exponent = np.frexp(size)
    found: NDArray[np.float64] = np.ldexp(np.floor(mantissa * 16.0), exponent - 4)
    signed: NDArray[np.float64] = np.copysign(found, values)
    return signed + 0.0  # -0.0 + 0.0 is 0.0


def edge(value: float) -> float:
    """Return one number's bin: the same as `edges`, faster for a few.

    Examples
    --------
    >>> edge(17), edge(-0.3)
    (16.0, -0.28125)
    """
    size = min(abs(value), LARGEST)
    if size < SMALLEST:
        return 0.0
    mantissa, exponent = math.frexp(size)
    found = math.ldexp(math.floor(mantissa * 16.0), exponent - 4)
    return found if value > 0 else -found


@cache
def name(edge: float) -> str:
    """Return a bin's name; there are so few that they are kept."""
    return repr(edge)


def level(value: str) -> str:
    """Return the bin of a category's level."""
    return value[:MAX_LEVEL]


def bucket(token: str) -> str:
    """Return the bucket of a token.

    Examples
    --------
    >>> bucket("eb8d5e33fffd413af6f7cfde02719c75")
    '#a5'
    """
    return f"#{zlib.crc32(token.encode()) % BUCKETS:02x}"
