"""What a worker logs, and in which form."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Final

from agents.settings import Settings

TEXT: Final = "%(asctime)s %(levelname)s %(name)s %(message)s"
LIBRARIES: Final = ("aiohttp", "aiokafka", "asyncio", "faust", "fsspec", "mode", "urllib3")
"""Loggers whose lines below WARNING are about their own work, and not about the loop."""


class JsonLines(logging.Formatter):
    """One JSON object per line: `ts` (UTC, ISO 8601), `level`, `logger`, `message`, and `exception` if any."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
        fields = {
            "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            fields["stack"] = self.formatStack(record.stack_info)
        return json.dumps(fields)


def _is_ours(record: logging.LogRecord) -> bool:
    """Whether a line is not one that Faust's life cycle writes below WARNING in the name of one of our classes."""
    return record.levelno >= logging.WARNING or not record.getMessage().startswith("[^")


def configure(settings: Settings) -> None:
    """Set up logging to standard error, in the form and from the level on that the settings say."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if settings.log_format == "json" else logging.Formatter(TEXT))
    logging.basicConfig(level=settings.log_level, handlers=[handler], force=True)
    # Warnings of Python and its libraries are lines of the log, too: whoever parses it finds nothing else.
    logging.captureWarnings(True)
    if settings.log_level != "DEBUG":
        handler.addFilter(_is_ours)
        for name in LIBRARIES:
            logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLevelName(settings.log_level)))
