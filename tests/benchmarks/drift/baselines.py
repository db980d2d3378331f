"""River's detectors with their defaults, fed as documented, and one that knows nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from river import drift

from tests.benchmarks.drift.concepts import UNJUDGED, Scored

SEED: Final = 1
"""Of KSWIN, which samples its window."""
DUMMY: Final = "an alarm every 1,000"


class EveryThousand:
    """Alarms every 1,000 events, whatever they are: what is not better than this has found nothing."""

    def __init__(self) -> None:
        self._seen = 0

    def update(self, value: float) -> None:
        """Take the next number."""
        self._seen += 1

    @property
    def drift_detected(self) -> bool:
        """See River."""
        return self._seen % 1_000 == 0


BASELINES: Final[Mapping[str, Callable[[], Any]]] = {
    "ADWIN": drift.ADWIN,
    "DDM": drift.binary.DDM,
    "EDDM": drift.binary.EDDM,
    "HDDM_A": drift.binary.HDDMA,
    "HDDM_W": drift.binary.HDDMW,
    "FHDDM": drift.binary.FHDDM,
    "PageHinkley": drift.PageHinkley,
    "KSWIN": lambda: drift.KSWIN(seed=SEED),
    DUMMY: EveryThousand,
}


def alarms(name: str, scored: Sequence[Scored]) -> list[int]:
    """Give the events at which a rival alarms; it is fed errors, FHDDM hits, since it waits for a fall."""
    detector = BASELINES[name]()
    hits = name == "FHDDM"
    found = []
    for number, event in enumerate(scored):
        if number < UNJUDGED:
            continue
        right = (event.score > 0.5) == event.label
        detector.update(right if hits else not right)
        if detector.drift_detected:
            found.append(number)
    return found
