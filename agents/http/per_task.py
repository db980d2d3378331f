"""Objects that each task has one of, found by a call's path."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Generic, TypeVar

from aiohttp import web

from agents.http.problems import Problem
from agents.http.task import HttpTask

T = TypeVar("T")


def task_of(tasks: Mapping[str, HttpTask], request: web.Request) -> HttpTask:
    """Return the task that a call's path names.

    Raises
    ------
    Problem
        404, when this worker does not run it.
    """
    name = request.match_info["task"]
    found = tasks.get(name)
    if found is None:
        known = ", ".join(tasks) or "none"
        detail = f"unknown task {name[:100]!r}; this worker runs: {known}"
        raise Problem(404, "unknown_task", detail, known=list(tasks))
    return found


class PerTask(Generic[T]):
    """Makes an object for each task at its first call.

    Parameters
    ----------
    tasks
        The tasks by name; read at each call.
    make
        Makes the object of a task.
    """

    def __init__(self, tasks: Mapping[str, HttpTask], make: Callable[[HttpTask], T]) -> None:
        self._tasks, self._make = tasks, make
        self._made: dict[str, tuple[HttpTask, T]] = {}

    def __iter__(self) -> Iterator[T]:
        """Go through the objects that were made."""
        return iter([made for _, made in self._made.values()])

    def of(self, request: web.Request) -> T:
        """Return the object of the task that a call's path names; raises as `task_of`."""
        task = task_of(self._tasks, request)
        name = request.match_info["task"]
        known = self._made.get(name)
        if known is None or known[0] is not task:
            known = self._made[name] = task, self._make(task)
        return known[1]
