"""What a worker says about its tasks: readiness, versions, progress, counts, digests."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping
from typing import Any, Final

from agents.http.predictions import not_ready
from agents.http.problems import Problem
from agents.http.task import HttpTask
from infra.task.readiness import Readiness
from streams.serve import Server
from streams.shares import UNIT

MAX_WAIT_S: Final = 60.0
BLOCKED_S: Final = 5.0
"""A worker whose event loop one step has held for longer is not ready: its callers would give up."""
HANGS_S: Final = 60.0
"""A worker whose event loop one step has held for longer hangs, and is to be started again."""


def live(tasks: Mapping[str, HttpTask], blocked_s: float = 0.0) -> dict[str, Any]:
    """Say that the process is alive.

    Parameters
    ----------
    blocked_s
        For how long one step has held the event loop, s; 0 while it turns.

    Raises
    ------
    Problem
        503, when a step has held the loop for more than 60 s: it hangs.
    """
    if blocked_s > HANGS_S:
        raise Problem(503, "blocked", f"{_blocked(blocked_s)}: it hangs", blocked_s=round(blocked_s, 3))
    return {"status": "live"} | ({"blocked_s": round(blocked_s, 3)} if blocked_s else {})


def health(tasks: Mapping[str, HttpTask], blocked_s: float = 0.0) -> dict[str, Any]:
    """Say that the process is alive, and beside it whether its tasks may answer; parameters and errors of `live`.

    A probe that restarts what is not healthy must not restart a worker whose cluster is away.
    """
    states = {name: readiness(task.readiness, blocked_s) for name, task in tasks.items()}
    data = {"ready": bool(states) and all(each["ready"] for each in states.values()), "tasks": states}
    return live(tasks, blocked_s) | data


def ready(tasks: Mapping[str, HttpTask], blocked_s: float = 0.0) -> dict[str, Any]:
    """Say which tasks may answer; parameters of `live`.

    Raises
    ------
    Problem
        503, when one may not, or when there is none.
    """
    states = {name: readiness(task.readiness, blocked_s) for name, task in tasks.items()}
    blocked: dict[str, Any] = {"blocked_s": round(blocked_s, 3)} if blocked_s else {}
    not_ready = [name for name, each in states.items() if not each["ready"]]
    if not_ready or not states:
        detail = "; ".join(f"{name}: {states[name]['why']}" for name in not_ready) or "no task is running yet"
        raise Problem(503, "not_ready", detail, tasks=states, **blocked)
    return {"status": "ready", "tasks": states} | blocked


def readiness(of: Readiness, blocked_s: float = 0.0) -> dict[str, Any]:
    """Say whether a task may answer, and why not."""
    reasons = of.problems()
    if blocked_s > BLOCKED_S:
        reasons = [*reasons, _blocked(blocked_s)]
    return {"ready": False, "why": "; ".join(reasons), "reasons": reasons} if reasons else {"ready": True}


def _blocked(blocked_s: float) -> str:
    return f"one step has blocked the worker's event loop for {blocked_s:.0f} s"


HEALTH: Final[Mapping[str, Callable[[Mapping[str, HttpTask], float], dict[str, Any]]]] = {
    "/live": live,
    "/livez": live,
    "/ready": ready,
    "/readyz": ready,
    "/healthz": health,
}
"""Health checks by path. They only read, so any thread may call them."""


def tasks(tasks: Mapping[str, HttpTask]) -> list[dict[str, Any]]:
    """List the tasks that this worker runs."""
    return [
        {"task": name, "question": task.context.task.question, "kind": task.context.task.kind}
        | readiness(task.readiness)
        | {"models": [fold.model.name for fold in task.server.models]}
        for name, task in tasks.items()
    ]


# ---------------------------------------------------------------------- versions and progress


async def versions(task: HttpTask, query: Mapping[str, str]) -> dict[str, Any]:
    """Return the versions that this worker has, once it has come as far as asked, or when the wait is over."""
    complete, applied = _whole(query, "complete"), _whole(query, "applied")
    wait_s = _seconds(query)

    def reached() -> bool:
        return (complete is None or completed_offset(task) >= complete) and (
            applied is None or next_offset(task.server) > applied
        )

    if not reached() and wait_s > 0:
        await _until(task.readiness.progress, lambda: reached() or task.readiness.stopping, wait_s)
    return {
        "task": task.context.task.name,
        "reached": reached(),
        "next_offset": next_offset(task.server),
        "completed": {str(number): offset for number, offset in sorted(task.statistics.completed.items())},
        "models": models(task.server),
    }


def completed_offset(task: HttpTask) -> int:
    """Return the offset of the newest applied punctuation, least over the partitions; else -1."""
    return min(task.statistics.completed.get(number, -1) for number in range(task.context.partitions))


def next_offset(server: Server) -> int:
    """Return the first offset of the log that not every model here has applied."""
    return min(fold.next_offset for fold in server.models)


def models(server: Server) -> list[dict[str, Any]]:
    """Describe the models."""
    return [
        {
            "model": fold.model.name,
            "version": str(fold.version),
            "role": server.roles.role(fold.model.name).role,
            "share": server.roles.role(fold.model.name).share / UNIT,
            "frozen": fold.frozen is not None,
            "active": fold.active,
            "learned": fold.learned,
            "skipped": fold.learner.skipped,
            "lately_skipped": fold.learner.lately,
            "newest_skipped": [each._asdict() for each in fold.learner.newest],
            "stopped": fold.learner.stopped._asdict() if fold.learner.stopped else None,
            "failures": server.failures[fold.model.name],
            "spec": fold.spec,
            "runtime": fold.runtime,
        }
        for fold in server.models
    ]


async def _until(progress: asyncio.Condition, reached: Callable[[], bool], wait_s: float) -> None:
    try:
        async with asyncio.timeout(wait_s), progress:
            await progress.wait_for(reached)
    except TimeoutError:
        return


def _whole(query: Mapping[str, str], name: str) -> int | None:
    text = query.get(name)
    if text is None:
        return None
    try:
        return int(text)
    except ValueError:
        raise _bad(name, "a whole number") from None


def _seconds(query: Mapping[str, str]) -> float:
    try:
        found = float(query.get("wait_s", "0"))
    except ValueError:
        found = math.nan
    if not 0 <= found <= MAX_WAIT_S:
        raise _bad("wait_s", f"a number of seconds from 0 to {MAX_WAIT_S:g}")
    return found


def _bad(name: str, wanted: str) -> Problem:
    return Problem(400, "bad_query", f"the query parameter {name} must be {wanted}", name)


# ---------------------------------------------------------------------- status and digests


def status(task: HttpTask, cached: int) -> dict[str, Any]:
    """Return the status of a task.

    Parameters
    ----------
    cached
        Number of predictions in the cache.
    """
    members = task.status.details()
    by_model = members.pop("models", {})
    return members | {
        "task": task.context.task.name,
        "question": task.context.task.question,
        **readiness(task.readiness),
        "counts": dict(sorted(task.statistics.counts.items())),
        "dead_letters": dict(sorted(task.statistics.dead_letters.items())),
        "cached_predictions": cached,
        "freshness_ms": quantiles(task.statistics.freshness_ms),
        "freshness_s": {stage: spans.status() for stage, spans in task.statistics.freshness.items()},
        "next_offset": next_offset(task.server),
        "models": {each["model"]: by_model.get(each["model"], {}) | each for each in models(task.server)},
    }


def quantiles(values: list[float]) -> dict[str, float]:
    """Return count, p50 and p99 (nearest rank, in the values' unit); zeros without values."""
    ordered = sorted(values)
    if not ordered:
        return {"count": 0, "p50": 0.0, "p99": 0.0}
    p50, p99 = (ordered[math.ceil(share * len(ordered)) - 1] for share in (0.5, 0.99))
    return {"count": len(ordered), "p50": p50, "p99": p99}


class Digests:
    """Digests of the models' states, computed once for each version."""

    def __init__(self, name: str, readiness: Readiness, server: Server) -> None:
        self._name, self._readiness, self._server = name, readiness, server
        self._known: dict[str, tuple[str, str]] = {}

    def give(self) -> dict[str, Any]:
        """Return each model's version and digest, and the offset up to which the log is applied.

        Raises
        ------
        Problem
            503, while the models are not ready.
        """
        if not self._readiness.ready.is_set():
            raise not_ready(self._name, self._readiness)
        found = []
        for fold in self._server.models:
            version = str(fold.version)
            if self._known.get(fold.model.name, ("", ""))[0] != version:
                self._known[fold.model.name] = version, fold.digest
            digest = self._known[fold.model.name][1]
            found.append(
                {"model": fold.model.name, "version": version, "learned": fold.learned, "state": digest}
            )
        return {"task": self._name, "next_offset": next_offset(self._server), "models": found}
