"""Data quality and feature drift at the edge: counts that add up, and what they say."""

from streams.quality.edge import EdgeCounter
from streams.quality.monitor import QualityMonitor

__all__ = ["EdgeCounter", "QualityMonitor"]
