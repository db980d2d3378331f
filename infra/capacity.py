"""The costs of a task that are measured here: the sizes of its records, the time of its models."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

from schemas.codec import Codec
from schemas.examples import examples
from streams.examples import synthetic_examples
from streams.learner import loss_free
from streams.task import Task

EXAMPLES: Final = 2_000
"""For the time of the models; the first tenth is not counted."""
