"""Building the core: a build that fails leaves no module of older sources, which would run beside newer ones."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from infra.build import hook


@pytest.mark.parametrize("wanted", ["auto", "native"])
def test_a_failed_build_leaves_no_older_module(
    wanted: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, warnings = tmp_path / hook.FOLDER, list[str]()
    folder.mkdir(parents=True)
    older, other = folder / "_turn.cpython-311-x86_64-linux-gnu.so", folder / "turn.py"
    for each in (older, other):
        each.touch()

    def compile_core(*_: Any) -> list[Path]:
        raise OSError("no compiler")

    monkeypatch.setattr(hook, "compile_core", compile_core)
    monkeypatch.setenv("RIVERLOOP_CORE", wanted)
    app: Any = SimpleNamespace(display_warning=warnings.append)
    made = hook.CoreHook(str(tmp_path), {}, None, None, str(tmp_path), "wheel", app)  # type: ignore[arg-type]  # unused
    if wanted == "native":
        with pytest.raises(OSError, match="no compiler"):
            made.initialize("editable", {})
        return
    made.initialize("editable", {})
    assert not older.exists()
    assert other.exists()
    assert warnings == ["without the native core, models run in Python: no compiler"]
