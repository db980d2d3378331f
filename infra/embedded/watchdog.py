"""Runs one command and kills it when the process that asked for it is gone. Run as a script.

    python watchdog.py PARENT_PID DIRECTORY_TO_REMOVE|- LOG_FILE COMMAND...

Standard input is a pipe held open by the parent. End of file, or another parent than PARENT_PID, means that
it is gone, even by SIGKILL: the command is killed and the directory removed. A line ``terminate`` or
``kill`` sends that signal. The first line written is the command's process id; the exit status is its own.

A process of its own because Linux ties "signal me when my parent dies" to the parent's *thread*, which may
end long before the parent; here the parent of the command is this single thread.
"""

from __future__ import annotations

import ctypes
import os
import select
import shutil
import signal
import subprocess
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h
POLL_S = 0.5


HANDED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def in_child() -> None:
    """Between fork and exec: default signals again, and Linux kills the child when this process ends."""
    for number in HANDED_ON:
        # An ignored signal stays ignored through exec, and Java would then never stop on SIGTERM.
        signal.signal(number, signal.SIG_DFL)
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def main(parent: int, remove: str, log_file: str, command: list[str]) -> int:
    """Run the command; return its exit status, negative for a signal."""
    # The terminal's Ctrl-C and a supervisor's SIGTERM are the parent's to handle: it stops the command.
    for number in HANDED_ON:
        signal.signal(number, signal.SIG_IGN)
    # The command's end wakes the wait below.
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    with open(log_file, "ab") as log:  # noqa: PTH123 - starts faster without pathlib
        # One thread only, so running Python between fork and exec is safe here.
        child = subprocess.Popen(  # noqa: S603
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            preexec_fn=in_child,  # noqa: PLW1509
        )
    print(child.pid, flush=True)
    while child.poll() is None:
        ready, _, _ = select.select([0, woken], [], [], POLL_S)
        if woken in ready:  # a child that is stopped or goes on wakes us, too
            os.read(woken, 64)
        line = os.read(0, 64) if 0 in ready else b""
        # A copy of the pipe's other end may live on in a forked child of the parent: ask for the parent too.
        if (0 in ready and not line) or os.getppid() != parent:
            child.kill()
            child.wait()
            if remove != "-":
                shutil.rmtree(remove, ignore_errors=True)
        elif line.startswith(b"terminate"):
            child.terminate()
        elif line.startswith(b"kill"):
            child.kill()
    return child.returncode


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4:]))
