"""Every reason has its place in the documentation, and its examples are rejected for it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from agents.http.problems import STATUS
from schemas.codec import Codec
from schemas.errors import BadRecord
from schemas.reasons import REASONS
from tests.unit.http_worker import make_task

JSON = re.compile(r"```json\n(.*?)\n```", re.DOTALL)
DOCS = Path(__file__).parents[2] / "docs"
TASK = make_task("stay")
CODEC = Codec(TASK.name, TASK.kind, TASK.features, b"a key", serving=True)


def sections() -> dict[str, str]:
    parts = re.split(r"^## (\w+)\n", (DOCS / "reasons.md").read_text("utf-8"), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_the_page_has_every_reason_and_no_other_in_the_order_of_the_list() -> None:
    assert list(sections()) == list(REASONS)


def test_the_page_has_the_http_status_of_every_reason() -> None:
    said = (DOCS / "reasons.md").read_text("utf-8").partition("The HTTP status is ")[2].partition(".\n")[0]
    found: dict[str, int] = {}
    for status, codes in re.findall(r"(\d{3}) for\s(.+?)(?=\d{3}|$)", said.partition("but ")[2], re.DOTALL):
        found |= dict.fromkeys(re.findall(r"`(\w+)`", codes), int(status))
    assert found == STATUS
    assert said.startswith("422, but")


@pytest.mark.parametrize("code", REASONS)
def test_a_reason_says_what_it_means_what_to_change_and_has_an_example(code: str) -> None:
    section = sections()[code]
    meaning, do, rest = section.partition("\n**Do:** ")
    change, example, _ = rest.partition("\nRejected")
    assert meaning.strip()
    assert do
    assert change.strip()
    assert example
    for rejected in JSON.findall(section):
        with pytest.raises(BadRecord) as caught:
            CODEC.decode_request(rejected.encode())
        assert caught.value.reason == code


def test_the_page_begins_with_a_record_that_is_accepted() -> None:
    page = (DOCS / "reasons.md").read_text("utf-8")
    (accepted,) = JSON.findall(page.partition("\n## ")[0])
    assert CODEC.decode_request(accepted.encode()).request_id == "b-1"
    assert len(JSON.findall(page)) >= 8
