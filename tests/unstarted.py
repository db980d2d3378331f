"""Ends what Faust makes of clients of Kafka and never starts: each has an event loop for its thread."""

from __future__ import annotations

from typing import Any


def close_clients(app: Any) -> None:
    """Close the event loops of an app's consumer and producer."""
    app.consumer._thread.thread_loop.close()
    app.producer._producer_thread.thread_loop.close()
