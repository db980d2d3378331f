"""Where jobs are done: in processes of this machine, or on a Dask cluster."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any, Final, Protocol

from infra.tuning.jobs import Job, Work, do
from schemas.errors import RiverloopError, UsageError
from streams.race.history import Part

DASK: Final = "dask://"


class ProcessEnded(RiverloopError):
    """A process ended before its job was done."""


class Executor(Protocol):
    """Does jobs, several at a time."""

    def run(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, Part]]:
        """Do jobs; gives each with its result when it is done, in any order."""

    def close(self) -> None:
        """Stop what was started."""


class Processes:
    """Processes of this machine, each with its own memory: one that fails costs the others nothing.

    Parameters
    ----------
    count
        How many at a time.
    """

    def __init__(self, work: Work, count: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(count, context, initializer=_begin, initargs=(work,))

    def run(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, Part]]:
        """See `Executor.run`."""
        futures: dict[Future[Part], Job] = {self._pool.submit(_do, job): job for job in jobs}
        while futures:
            done, _ = wait(futures, return_when=FIRST_COMPLETED)
            for future in done:
                job = futures.pop(future)
                try:
                    yield job, future.result()
                except BrokenProcessPool:
                    raise ProcessEnded(
                        f"{job.name}: its process has ended in entries {job.start} to {job.end}; repeat the "
                        "command to go on, with fewer --jobs if memory was short"
                    ) from None

    def close(self) -> None:
        """See `Executor.close`."""
        self._pool.shutdown(cancel_futures=True)


class Cluster:
    """A Dask cluster. Its workers need riverloop and the task file, at the same path.

    Parameters
    ----------
    address
        `dask://HOST:PORT` of the scheduler.

    Raises
    ------
    UsageError
        `distributed` is not installed, or no scheduler answers.
    """

    def __init__(self, work: Work, address: str) -> None:
        try:
            from distributed import Client  # noqa: PLC0415  an extra
        except ImportError:
            raise UsageError("a Dask cluster needs the extra: pip install 'riverloop[dask]'") from None
        try:
            self._client: Any = Client(f"tcp://{address.removeprefix(DASK)}", timeout="10s")
        except (OSError, ValueError) as error:
            raise UsageError(f"no Dask scheduler answers at {address}: {error}") from None
        self._work: Any = self._client.scatter(work, broadcast=True)

    def run(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, Part]]:
        """See `Executor.run`."""
        from distributed import as_completed  # noqa: PLC0415  an extra

        futures = {self._client.submit(do, self._work, job, pure=False): job for job in jobs}
        for future in as_completed(list(futures)):
            yield futures[future], future.result()

    def close(self) -> None:
        """See `Executor.close`."""
        self._client.close()


_work: Work | None = None


def _begin(work: Work) -> None:
    """Keep what all jobs need, and end with the process that started this one, however that ends."""
    global _work  # noqa: PLW0603  a process has one
    _work = work
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _do(job: Job) -> Part:
    assert _work is not None
    return do(_work, job)
