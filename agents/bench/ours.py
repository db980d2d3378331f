"""Contender: a riverloop worker, as `riverloop worker` runs it."""

from __future__ import annotations

import logging

from agents.app import run
from agents.bench.given import Given
from agents.settings import Settings
from agents.worker import prepare


def main(given: Given) -> None:
    """Run until ended."""
    logging.basicConfig(level=logging.INFO)
    for name in ("faust", "mode"):
        logging.getLogger(name).setLevel(logging.WARNING)
    told = {"bootstrap": given.bootstrap, "group": given.group, "data": given.folder, "slot": "bench"}
    run(prepare([given.task], Settings.load(told)))
