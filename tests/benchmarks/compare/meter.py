"""The process of one contender: it runs it, and says on request what it has used so far.

`python -m tests.benchmarks.compare.meter NAME GIVEN` with GIVEN as JSON. A line on standard input is
answered by a line of JSON; when standard input ends, so does the process. The first line, unasked, names the
versions.
"""

from __future__ import annotations

import importlib
import json
import os
import platform
import resource
import sys
import threading
from importlib.metadata import version
from typing import IO

from tests.benchmarks.compare.run_config import RunConfig, contender

# What `getrusage` counts the peak memory in.
MAXRSS_BYTES = 1 if sys.platform == "darwin" else 1024


def usage() -> dict[str, float]:
    """Give the processor time (s) and the peak memory (MB) of this process so far.

    Examples
    --------
    >>> used = usage()
    >>> used["cpu_s"] > 0, used["memory_mb"] > 1
    (True, True)
    """
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "cpu_s": used.ru_utime + used.ru_stime,
        "memory_mb": used.ru_maxrss * MAXRSS_BYTES / 1_000_000,
    }


def _answer(answers: IO[str]) -> None:
    while os.read(0, 1):
        answers.write(json.dumps(usage()) + "\n")
        answers.flush()
    os._exit(0)


def main() -> None:
    """Run the contender until standard input ends."""
    name, config = sys.argv[1:]
    chosen, given = contender(name), RunConfig(**json.loads(config))
    # Only answers go to standard output, whatever a framework prints.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    versions = {"python": platform.python_version()} | {each: version(each) for each in chosen.packages}
    answers.write(json.dumps(versions) + "\n")
    answers.flush()
    threading.Thread(target=_answer, args=(answers,), daemon=True).start()
    sys.argv = sys.argv[:1]  # Faust's and others' command lines look there
    importlib.import_module(f"tests.benchmarks.compare.{chosen.module}").main(given)


if __name__ == "__main__":
    main()
