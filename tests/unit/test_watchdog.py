"""The process beside the embedded broker costs nothing, also while the broker's own process stands still."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from infra.embedded import watchdog


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_a_child_that_is_stopped_does_not_keep_its_watchdog_busy(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import time; time.sleep(60)"]
    reported = [str(os.getpid()), "-", str(tmp_path / "log"), *command]
    watching = subprocess.Popen(
        [sys.executable, "-IS", watchdog.__file__, *reported], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert watching.stdin is not None
    assert watching.stdout is not None
    try:
        child = int(watching.stdout.readline())
        os.kill(child, signal.SIGSTOP)
        time.sleep(0.3)
        os.kill(child, signal.SIGCONT)
        time.sleep(0.3)
        before = cpu_s(watching.pid)
        time.sleep(1.0)
        assert cpu_s(watching.pid) - before < 0.1
    finally:
        watching.stdin.close()  # its order to kill
        watching.wait(10)
        watching.stdout.close()
