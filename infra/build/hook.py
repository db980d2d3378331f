"""Builds the native core while the package is built, where there is a C++ compiler.

Without one the package is complete all the same: models then run in Python. `RIVERLOOP_CORE=native` makes a failure
an error, `RIVERLOOP_CORE=python` leaves the core out.
"""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
from pathlib import Path
from typing import Any, Final

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FOLDER: Final = Path("streams") / "native"
MODULES: Final = ("_kernel", "_log", "_records", "_serving", "_turn")
SOURCES: Final = (
    *("_kernel.pyx", "_log.pyx", "_records.pyx", "_serving.pyx", "_turn.pyx"),
    *(
        "counts.hpp",
        "facts.hpp",
        "join.hpp",
        "kernel.hpp",
        "monitors.hpp",
        "records.hpp",
        "requests.hpp",
        "values.hpp",
    ),
    *("views.hpp", "writer.hpp"),
)
OPTIONS: Final = ("-O2", "-g0", "-std=c++17", "-fvisibility=hidden", "-ffp-contract=off", "-fno-fast-math")
"""The last two are part of the promise of equal bits, see `kernel.hpp`."""


class CoreHook(BuildHookInterface[Any]):
    """Adds the compiled core to a wheel; to an editable install it is added in the source tree."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """See `BuildHookInterface.initialize`."""
        wanted = os.environ.get("RIVERLOOP_CORE", "auto")
        if self.target_name != "wheel" or wanted == "python":
            return
        root = Path(self.root)
        target = root / FOLDER if version == "editable" else Path(self._scratch())
        try:
            built = compile_core(root, target)
        except BaseException as error:
            if wanted == "native" or not isinstance(error, Exception | SystemExit):
                raise
            for each in (path for name in MODULES for path in target.glob(f"{name}.*.so")):
                each.unlink()  # of older sources: it would run beside newer ones
            self.app.display_warning(f"without the native core, models run in Python: {error}")
            return
        build_data["pure_python"] = False
        build_data["infer_tag"] = True
        for each in built:
            build_data["force_include"][str(each)] = str(FOLDER / each.name)

    def _scratch(self) -> str:
        self._folder = tempfile.TemporaryDirectory(prefix="riverloop-core-")
        return self._folder.name


def source_digest(root: Path) -> str:
    """Digest of the core's sources: the module names those that it was made from."""
    whole = hashlib.sha256()
    for name in SOURCES:
        whole.update((root / FOLDER / name).read_bytes())
    return whole.hexdigest()[:12]


def compile_core(root: Path, target: Path) -> list[Path]:
    """Compile the core's modules to a folder.

    Raises
    ------
    Exception
        When there is no compiler, or it fails.
    """
    from Cython import Build  # noqa: PLC0415  where it is missing, the core is left out
    from setuptools import Distribution, Extension  # noqa: PLC0415
    from setuptools.command.build_ext import build_ext  # noqa: PLC0415

    logging.getLogger("root").setLevel(logging.WARNING)
    with tempfile.TemporaryDirectory(prefix="riverloop-build-") as scratch:
        extensions = [
            Extension(
                ".".join((*FOLDER.parts, name)),
                [str(root / FOLDER / f"{name}.pyx")],
                language="c++",
                include_dirs=[str(root / FOLDER)],
                define_macros=[("RIVERLOOP_SOURCES", f'"{source_digest(root)}"')],
                extra_compile_args=list(OPTIONS),
            )
            for name in MODULES
        ]
        build: Any = Build
        made = build.cythonize(extensions, build_dir=scratch, quiet=True)
        command = build_ext(Distribution({"ext_modules": made}))
        command.build_lib = command.build_temp = scratch
        command.ensure_finalized()
        command.run()
        return [_put(Path(command.get_ext_fullpath(each.name)), target) for each in made]


def _put(compiled: Path, target: Path) -> Path:
    """Put a new file in place of the old one, which a running process may have mapped."""
    fresh = target / (compiled.name + ".new")
    fresh.write_bytes(compiled.read_bytes())
    return fresh.replace(target / compiled.name)
