"""The machine that was measured on, and how much of it was there."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

STOLEN: Final = 7
"""Among the processor times of /proc/stat: those that a virtual machine's own host took."""


class Machine:
    """A machine, watched from now on.

    Examples
    --------
    >>> sorted(Machine().reported())
    ['cores', 'date', 'processor', 'python', 'stolen', 'system']
    """

    def __init__(self) -> None:
        self._begun = _ticks()

    def reported(self) -> dict[str, Any]:
        """Say where and when something was measured.

        `stolen` is the share of the processors' time that the machine's host gave to others meanwhile; None where
        nobody tells.
        """
        cpuinfo = Path("/proc/cpuinfo")
        lines = cpuinfo.read_text(errors="replace").splitlines() if cpuinfo.is_file() else []
        models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
        passed = [now - then for then, now in zip(self._begun, _ticks(), strict=True)]
        return {
            "date": datetime.now(UTC).date().isoformat(),
            "processor": models[0] if models else platform.processor() or platform.machine(),
            "cores": os.cpu_count() or 0,
            "system": platform.system(),
            "python": platform.python_version(),
            "stolen": passed[STOLEN] / max(sum(passed), 1) if passed else None,
        }


def _ticks() -> list[int]:
    """Give user, nice, system, idle, iowait, irq, softirq, steal; nothing where there is no such file."""
    file = Path("/proc/stat")
    if not file.is_file():
        return []
    return [int(each) for each in file.read_text().partition("\n")[0].split()[1 : STOLEN + 2]]
