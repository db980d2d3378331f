"""The suite bites: with any one guard of the consumer, the join or the owner taken out, a test finds the loss.

Each patch here takes one guard out. `pytest -m guards` applies them in turn to a copy of the tree and runs the
property suite that must fail there, within the number of examples that the suite states. Every run checks that the
patches still apply, for a guard that has moved would no longer be tested.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PATCHES = sorted(Path(__file__).parent.glob("*.patch"))
CONSUMER = "tests/properties/test_batch_consumer.py"
THREAD = "tests/properties/test_fetch_thread.py"
JOIN = "tests/properties/test_join_agent.py"
PUBLISHER = "tests/unit/test_log_publisher.py"
BITES = {
    "01-first-offset-at-fetch": THREAD,
    "02-nothing-between-reset-and-seek": CONSUMER,
    "03-buffers-cleared-in-order-of-hand-over": CONSUMER,
    "04-fetched-across-a-rebalance-is-stale": THREAD,
    "05-batches-end-before-any-reset": CONSUMER,
    "06-only-the-aborting-channel-rewinds": CONSUMER,
    "07-metadata-of-the-fetch": CONSUMER,
    "08-taken-back-is-not-committed": CONSUMER,
    "09-nothing-of-what-is-given-up": CONSUMER,
    "10-only-members-commit": THREAD,
    "11-discarded-until-put-back": THREAD,
    "12-state-only-after-the-commit": JOIN,
    "13-restoring-waits-for-open-transactions": JOIN,
    "14-the-changelog-has-the-last-word": JOIN,
    "15-a-late-restoration-is-dropped": JOIN,
    "16-positions-never-go-back": JOIN,
    "17-an-unknown-outcome-is-read-again": JOIN,
    "18-an-unknown-publication-is-asked-for": PUBLISHER,
    "19-a-new-owner-repeats-nothing": PUBLISHER,
    "20-given-back-in-order": CONSUMER,
}
"""By patch: the suite that finds it out."""


def copy_of_the_tree(folder: Path) -> Path:
    """Copy what the property suites need."""
    for name in ("schemas", "streams", "infra", "agents", "tests", "docs"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def test_each_guard_has_a_suite_that_finds_it_out() -> None:
    assert [patch.stem for patch in PATCHES] == sorted(BITES)


@pytest.mark.parametrize("patch", PATCHES, ids=lambda patch: patch.stem)
def test_a_patch_takes_its_guard_out_of_the_tree_as_it_is(patch: Path) -> None:
    (path,) = re.findall(r"^\+\+\+ b/(\S+)$", patch.read_text(), re.MULTILINE)
    before, after, text = [], [], (ROOT / path).read_text()
    for line in patch.read_text().split("@@", 2)[2].splitlines()[1:]:
        if not line.startswith(("+", "\\", "@@")):
            before.append(line[1:])
        if not line.startswith(("-", "\\", "@@")):
            after.append(line[1:])
    assert "\n".join(before) in text
    assert before != after


@pytest.mark.guards
@pytest.mark.timeout(600)
@pytest.mark.parametrize("patch", PATCHES, ids=lambda patch: patch.stem)
def test_without_the_guard_the_loss_is_found(patch: Path, tmp_path: Path) -> None:
    tree = copy_of_the_tree(tmp_path)
    subprocess.run(["git", "apply", str(patch)], cwd=tree, check=True)
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", BITES[patch.stem]]
    ran = subprocess.run(command, cwd=tree, capture_output=True, text=True, timeout=600, check=False)
    assert ran.returncode == 1, (
        f"the suite does not notice that {patch.stem} is missing:\n{ran.stdout[-3000:]}"
    )
    # Found by what came out wrong, or by a worker that saw itself that something is missing; not by code that does
    # not run any more.
    wrong = r"^(E|E? *\|) +(AssertionError|assert |Failed: DID NOT|(schemas\.errors\.)?RecordsGone)"
    assert re.search(wrong, ran.stdout, re.MULTILINE), ran.stdout[-5000:]
