from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.version import Version


@given(
    st.from_regex(r"[a-z][a-z0-9]{0,5}(-[a-z0-9]{1,5}){0,2}", fullmatch=True),
    st.integers(1, 10**9),
    st.integers(-1, 10**15),
)
def test_a_version_is_read_as_it_is_written(model: str, revision: int, offset: int) -> None:
    version = Version(model, revision, offset)
    assert Version.parse(str(version)) == version


def test_the_first_version_has_applied_nothing() -> None:
    assert str(Version("lr", 1, -1)) == "lr.1@-1"


def test_versions_of_a_model_are_ordered_by_revision_then_offset() -> None:
    ordered = [Version("lr", 1, -1), Version("lr", 1, 9), Version("lr", 1, 10), Version("lr", 2, 3)]
    assert sorted([*ordered[2:], *ordered[:2]]) == ordered


@pytest.mark.parametrize(
    "text",
    [
        *("", "lr", "lr.1", "lr@5", "lr.0@5", "lr.-1@5", "lr.01@5", "lr.1@", "lr.1@-2", "lr.1@5 ", " lr.1@5"),
        *(
            "LR.1@5",
            "1r.1@5",
            "lr.1@5\n",
            "lr.1@x",
            "lr.1@5.0",
            "lr.1.2@5",
            "l_r.1@5",
            "lr.1@\u0665",
            "../lr.1@5",
        ),
    ],
)
def test_what_is_not_a_version_is_rejected(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a version: model\.revision@offset"):
        Version.parse(text)
