"""One path of HTTP: what answers there, and what it needs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import web

from agents.http.access import Needs

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Route:
    """One path and method.

    Parameters
    ----------
    method, path
        As aiohttp takes them.
    handler
        Answers, or raises `Problem`.
    changes
        Whether the call changes anything; reads never do.
    needs
        The token that it needs, where one is set; whatever changes something needs one.
    endless
        Whether the answer goes on until somebody ends it, so that it is not bounded in time.
    """

    method: str
    path: str
    handler: Handler
    changes: bool = False
    needs: Needs = ""
    endless: bool = False
