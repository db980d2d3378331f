"""What a tuning run has computed, in a folder: an interrupted run goes on from it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from infra.tuning.jobs import Job
from schemas.errors import UsageError
from streams.race.history import Part

ABOUT = "about.json"


class RunFolder:
    """Scores of each part, and the newest state of each configuration.

    A file is complete, or not there: it is written aside and renamed.

    Parameters
    ----------
    about
        What fixes the scores. A folder of another run is rejected.

    Raises
    ------
    UsageError
        The folder belongs to another run.
    """

    def __init__(self, path: Path, about: dict[str, Any]) -> None:
        self.path = path
        path.mkdir(parents=True, exist_ok=True)
        found = read_about(path)
        if found is None:
            _write(path / ABOUT, json.dumps(about, indent=2, sort_keys=True).encode())
        elif found != about:
            differs = sorted(
                name for name in found.keys() | about.keys() if found.get(name) != about.get(name)
            )
            raise UsageError(
                f"{path} has parts of another run ({', '.join(differs)} differ): give another --out, or remove it"
            )
        self.reused = 0
        """Parts that an earlier run had computed."""

    def load(self, spec: str, job: Job) -> Part | None:
        """Return a part that was computed; its state is empty where a later one has replaced it."""
        scores, state = self._files(spec, job.start, job.end)
        if not scores.exists():
            return None
        found = json.loads(scores.read_bytes())
        self.reused += 1
        data = state.read_bytes() if state.exists() else b""
        return Part(found["scores"], data, found["digest"], found["learned"])

    def store(self, spec: str, job: Job, part: Part) -> None:
        """Store a part; the state of the part before is no longer needed."""
        scores, state = self._files(spec, job.start, job.end)
        scores.parent.mkdir(exist_ok=True)
        _write(state, part.state)
        about = {"scores": part.scores, "digest": part.digest, "learned": part.learned}
        _write(scores, json.dumps(about).encode())
        for other in state.parent.glob(f"*-{job.start}.state"):
            other.unlink(missing_ok=True)

    def _files(self, spec: str, start: int, end: int) -> tuple[Path, Path]:
        folder = self.path / spec
        return folder / f"{start}-{end}.json", folder / f"{start}-{end}.state"


def read_about(path: Path) -> dict[str, Any] | None:
    """Return what a folder is of; None where it has no run."""
    file = path / ABOUT
    return dict(json.loads(file.read_bytes())) if file.exists() else None


def _write(file: Path, data: bytes) -> None:
    aside = file.with_name(f".{file.name}.{os.getpid()}")
    with aside.open("wb") as out:
        out.write(data)
        out.flush()
        os.fsync(out.fileno())
    aside.replace(file)
