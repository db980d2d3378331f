"""Which code the load check has passed on this machine: a worker that starts again need not check it again."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from infra.files import digest
from infra.runtime import runtime_fingerprint

log = logging.getLogger(__name__)


class CheckCache:
    """Keeps passed load checks in a folder, one small file per task.

    A check counts only while every file of Python code that the task had loaded, its own and the libraries',
    has the same bytes, and bit-equality rests on the same runtime. Whatever else the code reads when it is loaded
    (data, the environment) is not looked at: delete the folder after such a change.

    Parameters
    ----------
    folder
        Made when there is something to keep.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, reference: str) -> dict[str, dict[str, str]]:
        """Give what passed, by model, as `check_task` returns it; empty when this code was not checked here."""
        try:
            record = json.loads(self._file(reference).read_text())
            if record["runtime"] == runtime_fingerprint()[0] and record["code"] == code_of(record["code"]):
                return {str(model): dict(proof) for model, proof in record["models"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            pass  # not there, torn, or a file of the code is gone: it is checked
        return {}

    def keep(self, reference: str, models: Mapping[str, Mapping[str, str]], code: Mapping[str, str]) -> None:
        """Note that the models of a task passed with this code; a full disk only costs the next start time."""
        file = self._file(reference)
        record = {"runtime": runtime_fingerprint()[0], "models": dict(models), "code": dict(code)}
        aside = file.with_suffix(f".{os.getpid()}.tmp")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            aside.write_text(json.dumps(record))
            aside.replace(file)
        except OSError as error:
            log.warning("cannot record that the load check passed: %s", error)
            aside.unlink(missing_ok=True)

    def _file(self, reference: str) -> Path:
        return self._folder / f"{hashlib.sha256(reference.encode()).hexdigest()[:16]}.json"


def code_here() -> dict[str, str]:
    """Give the files of code that this process has loaded, with what they hold; see `code_of`."""
    files = {getattr(module, "__file__", None) for module in list(sys.modules.values())}
    return code_of({file: "" for file in files if file and Path(file).is_file()})


def code_of(files: Mapping[str, str]) -> dict[str, str]:
    """Give what files hold: the digest of sources, the size of compiled libraries.

    Raises
    ------
    OSError
        One cannot be read.
    """
    return {
        file: digest(Path(file)) if file.endswith(".py") else str(Path(file).stat().st_size)
        for file in sorted(files)
    }
