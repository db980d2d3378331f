"""Proves a task's history: inputs against the log, every served score against the refolded models."""

from infra.verify.report import Report
from infra.verify.run import verify
from infra.verify.source import KafkaSource, Source

__all__ = ["KafkaSource", "Report", "Source", "verify"]
