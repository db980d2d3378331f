"""What is marked over all panels of a dashboard: it explains what the lines do."""

from __future__ import annotations

from typing import Final

from docs.make.grafana.parts import Marks

EPISODES: Final = Marks(
    "Open paging episodes",
    "red",
    'max by (segment) (riverloop_open_episodes{task="$task", segment=~"loss|outage"}) > 0',
)
"""From the alarm that opened it to its end; what has only moved is not marked."""
DECISIONS: Final = Marks(
    "Decisions about models",
    "blue",
    'max by (command, model) (delta(riverloop_command_offset{task="$task"}[1m])) > 0',
)
"""The first minute of a promotion, a revision or another command."""
