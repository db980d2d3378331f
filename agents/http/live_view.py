"""What the live page of a task shows now: what its topics say, and what this worker knows itself."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

from agents.http import status
from agents.http.access import is_loopback
from agents.http.commands import model_sections
from agents.http.live_topics import LiveTopics
from agents.http.task import LocalStatus
from agents.settings import Settings
from infra.clock import now_ms
from infra.task.context import TaskContext
from infra.task.readiness import Readiness
from infra.task.statistics import Statistics
from infra.web.rates import Rate
from infra.web.redact import finite
from infra.web.verdict import (
    Reason,
    Verdict,
    episode_reasons,
    lag_reasons,
    model_reasons,
    readiness_reasons,
    rejection_reasons,
    stale_reasons,
)
from streams.serve import Server

RUNBOOKS: Final = "docs/operations/runbooks/"
"""Where the runbooks lie, unless the setting `runbook_base` says it; from an address the page makes links."""


class LiveView:
    """The page's sections, as plain data.

    Parameters
    ----------
    local
        Knows the end of the log.
    """

    def __init__(
        self,
        context: TaskContext,
        settings: Settings,
        readiness: Readiness,
        server: Server,
        statistics: Statistics,
        local: LocalStatus,
    ) -> None:
        self._context, self._settings, self._readiness = context, settings, readiness
        self.server, self._statistics, self._local = server, statistics, local
        self.topics = self.empty()
        """What was read."""
        self.problem = "the topics are still being read"
        """Why the topics stand still; empty: they do not."""
        self.lag: dict[str, int] = {}
        """Of all workers, by stage."""
        self.live: Collection[str] | None = None
        """Slots of the live workers; None: unknown."""
        self.skew_ms: int | None = None
        """How far the brokers' clock is behind this one, at most; None: unknown."""
        self._texts = {fold.spec: fold.model.describe() for fold in server.models}
        self._learned = Rate()
        self._failing = {fold.model.name: Rate() for fold in server.models}
        self._verdict = Verdict()

    def empty(self) -> LiveTopics:
        """Return topics of which nothing is read."""
        # What requests say is for those who may ask for predictions, and this page asks for no token.
        settings = self._settings
        open_ = not settings.serve_token and is_loopback(settings.http_host)
        return LiveTopics(self._context, self.server, open_=open_)

    def now(self) -> int:
        """Return the brokers' clock as far as it is known, ms: metrics have their times from it."""
        return now_ms() - (self.skew_ms or 0)

    def state(self) -> dict[str, Any]:
        """Return all that is shown now, but for the history."""
        state: dict[str, Any] = finite({"now": self.now(), "facts": self.facts(), **self.sections()})
        return state

    def observe(self) -> None:
        """Measure the rates of learning and of failing."""
        self._learned.observe(now_ms(), self.server.champion.learned)
        for model, rate in self._failing.items():
            rate.observe(now_ms(), self.server.failures[model])

    def facts(self) -> dict[str, Any]:
        """Return what does not change while the worker runs."""
        base = self._settings.runbook_base
        runbooks = base.rstrip("/") + "/" if base else RUNBOOKS
        return self.topics.board.facts() | {
            "runbooks": runbooks,
            "token": bool(self._settings.http_token.split()),
        }

    def sections(self) -> dict[str, Any]:
        """Return what changes, by section of the page."""
        found = {
            "loop": self.topics.board.loop(self.now()),
            "worker": self._worker(),
            **self.topics.board.sections(),
        }
        found |= model_sections(self.server) | {"decisions": self._decisions()}
        return found | {"dead_letters": self.topics.dead_letters.as_data(), "verdict": self._judge(found)}

    def _decisions(self) -> dict[str, Any]:
        here = {each.entry_id: each.offset for each in self.server.roles.decisions}
        texts = self.topics.board.snapshots.specifications() | self._texts
        return self.topics.decisions.as_data(self.live, here, texts)

    def _judge(self, found: dict[str, Any]) -> dict[str, Any]:
        """Return the verdict on the task, as far as this worker can tell."""
        worker, loop, now = found["worker"], found["loop"], self.now()
        reasons = [*readiness_reasons(worker)]
        if self.problem:
            reasons.append(Reason("down", "The topics cannot be read", self.problem, "worker-not-ready"))
        reasons += lag_reasons(self.lag, loop["rates"])
        reasons += stale_reasons(loop["metrics_at"], now, self.lag)
        reasons += rejection_reasons(loop["rates"])
        failing = {name: rate.per_second(now_ms()) for name, rate in self._failing.items()}
        reasons += model_reasons(worker["models"], failing)
        reasons += episode_reasons(found["episodes"])
        return self._verdict.of(reasons, now)

    def _worker(self) -> dict[str, Any]:
        """Return what this worker knows itself, and the lag of all of them."""
        end = self._local.lag.end
        return {
            **status.readiness(self._readiness),
            "slot": self._context.slot,
            "partitions": self._context.partitions,
            "models": status.models(self.server),
            "learned_rate": self._learned.per_second(now_ms()),
            "freshness_ms": status.quantiles(self._statistics.freshness_ms),
            "lag": self.lag,
            "log_end": end,
            "next_offset": status.next_offset(self.server),
            "problem": self.problem,
        }
