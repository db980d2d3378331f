from collections.abc import Sequence
from typing import Any

class ScannedRequest:
    request_id: str
    ts: int
    arrived: int
    entity_key: str | None
    features: dict[str, Any]

class RequestScan:
    names: tuple[str, ...]
    kinds: tuple[Any, ...]
    def __init__(self, plan: Any) -> None: ...
    def requests(
        self, messages: Sequence[Any], values: list[Any], topic: str, limit: int, times: Any
    ) -> list[ScannedRequest | None]: ...
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
