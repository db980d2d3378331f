"""Fingerprint of what bit-equality rests on: River, numpy, Python, C library, the processor's dispatch."""

from __future__ import annotations

import functools
import hashlib
import importlib
import platform
from importlib.metadata import version
from typing import Any

from streams import native


def runtime_fingerprint() -> tuple[str, str]:
    """Give the runtime's digest (16 hexadecimal digits) and what went into it, for people.

    Scores are promised bit for bit within one digest. The C library counts because `math.exp` and `math.log`
    are its own, and it and numpy choose their code by the processor's features: numpy's list of those that it
    compiled for and found here stands for both. The text names the native core as well, which is no part of the
    digest: it gives equal bits.

    Examples
    --------
    >>> digest, text = runtime_fingerprint()
    >>> len(digest), text.startswith("river ")
    (16, True)
    """
    digest, text = _libraries()
    return digest, f"{text}, {native.described()}"


@functools.cache
def _libraries() -> tuple[str, str]:
    umath: Any = importlib.import_module(
        "numpy._core._multiarray_umath"
    )  # where numpy says what it dispatches to
    compiled_for = (*umath.__cpu_baseline__, *umath.__cpu_dispatch__)
    features = [name for name in compiled_for if umath.__cpu_features__[name]]
    parts = (
        *(f"{name} {version(name)}" for name in ("river", "numpy", "scipy")),
        f"{platform.python_implementation().lower()} {platform.python_version()}",
        " ".join(part for part in platform.libc_ver() if part) or platform.system(),
        f"{platform.machine()} {'+'.join(features)}",
    )
    text = ", ".join(parts)
    return hashlib.sha256(text.encode()).hexdigest()[:16], text
