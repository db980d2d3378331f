"""Finding and loading task files: `file.py`, `file.py:name`, a dotted module, or the name of an example."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from infra.datafiles.rows import FileForm, rows
from infra.imports import imported
from schemas.dictionary import Dictionary
from schemas.errors import TaskError, UsageError
from streams.datafile import Event, in_time_order
from streams.own_bodies import ModuleText, note
from streams.own_code import register
from streams.task import Task


@dataclass(frozen=True, slots=True)
class LoadedTask:
    """A task and where it comes from."""

    task: Task
    reference: str
    """What loads it again, in any working directory: `/path/file.py:name` or `module:name`."""
    folder: Path
    """Where its file lies; a data path is relative to it."""
    classes: tuple[type, ...]
    """The file's own top-level classes: snapshots may hold objects of them."""

    def data_path(self, given: str | None = None) -> Path:
        """Give the data file: as given, or the task's own.

        Raises
        ------
        UsageError
            When neither is there.
        """
        if given:
            return Path(given)
        if self.task.data is None or not self.task.data.path:
            raise UsageError(f"task {self.task.name!r} has no data file: set --data FILE")
        return self.folder / self.task.data.path

    def file_events(
        self, given: str | None = None, note: Callable[[str], None] = lambda found: None
    ) -> Iterator[Event]:
        """Read a data file, as given or the task's own, in the order of its rows.

        Parameters
        ----------
        given
            The file.
        note
            Called with each unusual form that was found in it.

        Raises
        ------
        UsageError
            When the task does not say how a file maps to events, the file cannot be read, or has no rows.
        """
        if self.task.after is not None:
            yield from self._chained(self.task, given, note)
            return
        read = self._rows(self.task, self.task.features, given, note)
        first = next(read, None)
        if first is None:
            raise UsageError(f"{self.data_path(given)} has no rows")
        yield first
        yield from read

    def _rows(
        self, task: Task, features: Dictionary, given: str | None, note: Callable[[str], None]
    ) -> Iterator[Event]:
        """Read the file as a task's `data` says, which is this task or one before it, with these features."""
        if task.data is None:
            raise UsageError(f"task {task.name!r} has no mapping from a file to events: set data=")
        path = self.data_path(given)
        read = rows(path, FileForm.of(task.data, task.data.columns(features)), note)
        return task.data.events(read, features, task.kind, task.earliest, note)

    def _chained(self, task: Task, given: str | None, note: Callable[[str], None]) -> list[Event]:
        """Run the tasks before one over its file: rows have what the first is asked, and the outcomes of each."""
        first = task
        while first.after is not None:
            first = first.after.task
        if task.after is None:
            return in_time_order(self._rows(task, task.features, given, note))
        theirs = self._chained(task.after.task, given, note)
        own = self._rows(task, first.features, given, lambda found: None)
        found, left_out = task.after.events(theirs, own, task.features)
        for reason, count in sorted(left_out.items()):
            note(f"{count:,} request(s) of {task.after.task.name} give none of {task.name}: {reason}")
        if not found:
            raise UsageError(f"{self.data_path(given)} gives no requests of {task.name}")
        return found

    def events(
        self,
        given: str | None = None,
        limit: int | None = None,
        note: Callable[[str], None] = lambda found: None,
    ) -> list[Event]:
        """Read a data file, as given or the task's own, in the order of its requests' times.

        Parameters
        ----------
        given, note
            See `file_events`.
        limit
            Only the first requests; memory is then for these, not for the file.

        Raises
        ------
        UsageError
            See `file_events`.
        """
        return in_time_order(self.file_events(given, note), limit)


def examples() -> Path:
    """Give the folder with the examples: in a checkout, or as installed."""
    here = Path(__file__).resolve().parent.parent
    checkout = here / "docs" / "examples"
    return checkout if checkout.is_dir() else here / "agents" / "examples"


def load_task(reference: str) -> LoadedTask:
    """Load a task.

    Parameters
    ----------
    reference
        `file.py`, `file.py:name`, `package.module`, `package.module:name`. Without a name the file's
        first task.

    Raises
    ------
    TaskError
        Naming the file, the line and the reason.
    """
    place, _, name = reference.partition(":")
    if place.endswith(".py"):
        path = Path(place).resolve()
        register(found := imported(path, path.parent))
        module = _from_file(Path(place))
    else:
        module = _from_module(place)
        package = place.partition(".")[0]  # its modules go by the name of the task file
        found = {
            name: text
            for name, text in imported(Path(module.__file__ or place), None).items()
            if name.partition(".")[0] != package
        }
        register(found)
        _note_package(package)
    tasks = {key: value for key, value in vars(module).items() if isinstance(value, Task)}
    if not tasks:
        raise TaskError(f"{place}: the file has no Task(...) at its top level")
    if name and name not in tasks:
        by_task_name = {task.name: key for key, task in tasks.items()}
        if name not in by_task_name:
            raise TaskError(f"{place}: the file has no task {name!r}; it has {', '.join(tasks)}")
        name = by_task_name[name]
    name = name or next(iter(tasks))
    file = Path(module.__file__ or place).resolve()
    place = str(file) if place.endswith(".py") else place
    loaded = [sys.modules[each] for each in sorted(found) if each in sys.modules]
    own = tuple(
        value
        for each in (module, *loaded)
        for value in vars(each).values()
        if isinstance(value, type) and value.__module__ == each.__name__
    )
    return LoadedTask(tasks[name], f"{place}:{name}", file.parent, own)


def _from_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise TaskError(f"task file {path} does not exist")
    path = path.resolve()
    name = "riverloop_task_" + hashlib.sha256(str(path).encode()).hexdigest()[:12]
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    text = path.read_bytes()
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[name]
        if isinstance(error, Exception | SystemExit):
            raise TaskError(_where(error, name, str(path))) from error
        raise
    note(ModuleText(text, name))
    return module


def _from_module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(error.name + ".")):
            message = f"module {name!r} does not exist; a task is file.py, file.py:name or a dotted module"
            raise TaskError(message) from error
        raise TaskError(_where(error, name, f"module {name}")) from error
    except (Exception, SystemExit) as error:
        raise TaskError(_where(error, name, f"module {name}")) from error


def _note_package(package: str) -> None:
    """Note the texts of the modules of a package that are loaded: the task's own is one of them."""
    for name, module in list(sys.modules.items()):
        place = getattr(module, "__file__", None) or ""
        if name.partition(".")[0] == package and place.endswith(".py"):
            around = name if Path(place).name == "__init__.py" else name.rpartition(".")[0]
            note(ModuleText(Path(place).read_bytes(), name, around))


def _where(error: BaseException, module: str, place: str) -> str:
    """Say where in the task file itself an error came from, and what it was."""
    reason = str(error)
    line: int | None = None
    for frame, number in traceback.walk_tb(error.__traceback__):
        if frame.f_globals.get("__name__") == module:
            place, line = frame.f_code.co_filename, number
    if line is None and isinstance(error, SyntaxError):  # the file could not even be read
        place, line, reason = error.filename or place, error.lineno, error.msg
    at = f", line {line}" if line else ""
    kind = "" if isinstance(error, UsageError) else f"{type(error).__name__}: "
    return f"{place}{at}: {kind}{reason}"
