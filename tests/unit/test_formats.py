from __future__ import annotations

import pytest

from schemas.errors import BadRecord
from schemas.formats import detect
from schemas.reasons import REASONS


@pytest.mark.parametrize("data", [b"{}", b" \r\n\t{", b'{"request_id"'])
def test_a_record_that_starts_with_a_brace_is_json(data: bytes) -> None:
    assert detect(data) == "json"


def test_a_record_that_starts_with_c3_01_is_avro() -> None:
    assert detect(b"\xc3\x01") == "avro"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (None, "unreadable"),
        (b"", "unreadable"),
        (b"   ", "unreadable"),
        (b"[1]", "unreadable"),
        (b"\xef\xbb\xbf{}", "unreadable"),
        (b"\xff\xfe{\x00", "unreadable"),
        (b"\xc3", "unreadable"),
        (b"\x1f\x8b\x08\x00", "unreadable"),
        (b"\x00\x00\x00\x00\x05abc", "registry_framing"),
    ],
)
def test_all_else_is_rejected_with_a_reason_that_is_documented(data: bytes | None, reason: str) -> None:
    with pytest.raises(BadRecord) as rejected:
        detect(data)
    assert rejected.value.reason == reason
    assert reason in REASONS
    assert rejected.value.message
