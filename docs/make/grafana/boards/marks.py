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
REVISIONS: Final = Marks(
    "New revisions",
    "blue",
    'count by (revision) (riverloop_model_info{task="$task"} unless '
    '(riverloop_model_info{task="$task"} offset 1m)) > 0',
)
"""The first minute of a model's changed specification, and of a worker."""
