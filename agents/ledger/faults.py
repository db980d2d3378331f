"""The faults there are.

Not among them, since no run goes on after it: retention that has eaten what is still needed. The task then
stops (`schemas.errors.RecordsGone`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from agents.ledger.cluster_faults import CLUSTER_FAULTS
from agents.ledger.field import Fault
from agents.ledger.model_faults import MODEL_FAULTS
from agents.ledger.topic_faults import TOPIC_FAULTS
from agents.ledger.worker_faults import WORKER_FAULTS

FAULTS: Final[Mapping[str, Fault]] = {
    fault.name: fault for fault in (*WORKER_FAULTS, *MODEL_FAULTS, *CLUSTER_FAULTS, *TOPIC_FAULTS)
}
"""By name."""
