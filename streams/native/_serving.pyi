from collections.abc import Sequence
from typing import Any

class ScannedRequest:
    request_id: str
    ts: int
    entity_key: str | None
    features: dict[str, Any]

class RequestScan:
    names: tuple[str, ...]
    kinds: tuple[Any, ...]
    def __init__(self, plan: Any) -> None: ...
    def request(self, data: bytes, topic: str, partition: int, offset: int) -> ScannedRequest | None: ...
    def examples(self, items: list[Any], start: int) -> Any: ...
    def predictions(
        self,
        items: list[Any],
        start: int,
        count: int,
        models: list[tuple[bytes, list[float], float]],
        drawn: int | list[int],
        log_offset: int,
    ) -> list[tuple[bytes, bytes]]: ...

def columns(
    rows: Sequence[Any], numbers: tuple[int, ...], others: tuple[int, ...]
) -> tuple[bytearray, list[list[Any]]] | None: ...
