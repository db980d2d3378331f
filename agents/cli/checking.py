"""The load check that commands run before they use a task's models."""

from __future__ import annotations

from contextlib import suppress

from agents.settings import Settings
from infra.checked import CheckCache
from infra.datafiles.rows import files
from infra.loadcheck import check_task
from infra.permissions import make_private
from infra.taskfile import LoadedTask


def check_first(loaded: LoadedTask, data: str | None) -> None:
    """Check, before a data file is read, that it is there, and the task's models.

    Raises
    ------
    UsageError
        When the file is not there, or no file of data.
    NotReproducible, TaskError
        See `infra.loadcheck.check_task`.
    """
    files(loaded.data_path(data))
    check_models(loaded)


def check_models(loaded: LoadedTask) -> dict[str, dict[str, str]]:
    """Check that a task's models are reproducible and can be stored; the same code is not checked again.

    Returns
    -------
    dict
        See `infra.loadcheck.check_task`.

    Raises
    ------
    NotReproducible, TaskError
        See `infra.loadcheck.check_task`.
    """
    folder = Settings.load().data_folder
    with suppress(OSError):  # then the check is not remembered
        make_private(folder)
    return check_task(loaded.reference, cache=CheckCache(folder / "checked"))
