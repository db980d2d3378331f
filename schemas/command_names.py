"""Names of commands."""

from __future__ import annotations

from typing import Literal

CommandName = Literal[
    "revision",
    "promote",
    "share",
    "freeze",
    "resume",
    "retire",
    "restore",
    "rollback",
    "keep",
    "propose",
    "approve",
    "reject",
    "withdraw",
    "abort",
    "pause",
    "verdict",
    "validation",
    "replay",
    "forget",
    "topics",
    "accept",
    "backfill",
]
"""`replay`, `forget`, `topics`, `accept` and `backfill` occur in the audit only; the others in the log as well."""
