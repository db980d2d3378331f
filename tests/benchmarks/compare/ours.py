"""Contender: a riverloop worker, as `riverloop worker` runs it; or blind, to see what seeing costs."""

from __future__ import annotations

import logging
from typing import Any
from unittest.mock import patch

from agents.app import run
from agents.settings import Settings
from agents.worker import prepare
from infra.task.publisher import Publisher
from streams.quality.edge import EdgeCounter
from tests.benchmarks.compare.run_config import RunConfig


def main(given: RunConfig) -> None:
    """Run until ended."""
    logging.basicConfig(level=logging.INFO)
    for name in ("faust", "mode"):
        logging.getLogger(name).setLevel(logging.WARNING)
    settings = {
        "bootstrap": given.bootstrap,
        "group": given.group,
        "data": given.folder,
        "slot": f"bench-{given.number}",
    }
    if given.options.get("watched") == "false":
        _close_the_eyes()
    run(prepare([given.task], Settings.load(settings)))


def _close_the_eyes() -> None:
    """Take the monitors out of this process: no setting does, for a loop that nobody watches is no product.

    The owner still writes snapshots of the models at their offsets of the log, and commits its offsets.
    """

    def fold(publisher: Publisher[Any], offset: int, item: Any) -> None:
        publisher.next_offset = offset + 1

    def answered(*_: Any) -> None:
        """Count nothing: then there is nothing to tally, and nothing to judge."""

    patch.object(Publisher, "apply", fold).start()
    patch.object(EdgeCounter, "answered", answered).start()
