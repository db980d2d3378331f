from collections.abc import Callable, Sequence
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

class RequestCounts:
    def __init__(
        self, features: Sequence[tuple[float, float, float | None] | None], name: Callable[[float], str]
    ) -> None: ...
    def count(self, rows: list[Any]) -> list[Any] | None: ...

def cells(
    rows: list[Any], newest: int, width_ms: int, new: set[str], later: set[str], earlier: set[str]
) -> tuple[list[tuple[int, int, int, int]], int] | None: ...
