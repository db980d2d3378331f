"""Sends a workload round by round, while faults act."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Final

from infra.kafka.connection import Connection
from schemas.codec import Codec
from schemas.errors import BrokerError
from schemas.records import Prediction
from schemas.topics import TaskTopics
from tests.answers import SeenAnswers
from tests.faults.check.facts import FAULT_PREFIX
from tests.faults.pace import TRICKLE_S, Pace
from tests.faults.producer import WorkloadProducer
from tests.faults.progress import Progress
from tests.faults.workload.workload import Block

log = logging.getLogger(__name__)

WINDOW: Final = 500
"""The most requests that are unanswered; and while outcomes are misplaced, half the records not joined yet.

Together far below the requests in a grace period: a misplaced outcome is then still in time.
"""
STOP_S: Final = 10.0
TRICKLE: Final = 100
"""Requests sent beyond the limit at a time: at least a block."""
TIMEOUT_S: Final = 300.0
"""Without progress for this long the run ends: longer than any fault lasts."""


class Sender:
    """Sends the blocks of a workload, in a thread of its own, up to a limit that is raised round by round.

    Parameters
    ----------
    connection, codec, topics, partitions
        Of the task.
    progress
        Shows how far the workers are.
    blocks
        The workload.
    seed
        Of the choice of misplaced outcomes.
    give_up_s
        Requests without an answer for this long count as lost, and sending continues; None: that is an error after
        `TIMEOUT_S`. For loops that may lose requests.
    """

    def __init__(
        self,
        connection: Connection,
        codec: Codec,
        topics: TaskTopics,
        partitions: int,
        progress: Progress,
        blocks: Iterable[Block],
        seed: int = 0,
        give_up_s: float | None = None,
    ) -> None:
        self.misplaced = 0.0
        """Probability that an outcome goes to a wrong partition, for those that may."""
        self.scattered = False
        """Whether the inputs have more partitions than the joins, so that outcomes are forwarded."""
        self.sent = 0
        """Planned requests sent."""
        self.event_time = 0
        """Of the newest request sent (ms UTC)."""
        self.extra_requests = 0
        """Records that faults have written to the requests' topic; each is answered, too."""
        self.fault_answers = 0
        """Answers to requests that faults have sent."""
        self._http_answers = 0
        """Those of them that were sent over HTTP."""
        self._connection, self._codec, self._topics = connection, codec, topics
        self._partitions, self._progress, self._blocks = partitions, progress, blocks
        self._answers = SeenAnswers(connection, codec, topics, partitions, self._seen)
        self._answered_before = 0
        """Answers counted before the last pause."""
        self._producer = WorkloadProducer(connection, codec, topics, partitions, seed)
        self._pace = Pace(self._drain, self._renew)
        self._requests = 0
        """Requests sent, the closing ones and repetitions included."""
        self._written_off = 0
        self._give_up_s = give_up_s
        self._joined_at = 0
        self._watched_until = 0
        self._trickled = 0.0
        """When the limit was last raised by `keep_sending` (s, monotonic)."""
        self._closing = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="faults-sender", daemon=True)

    # ------------------------------------------------------------------ from other threads

    def start(self) -> None:
        """Start the thread; nothing is sent before the limit is raised."""
        self._thread.start()

    def raise_limit(self, limit: int | None) -> None:
        """Allow a number of planned requests; None: all, and the closing ones."""
        self._pace.raise_limit(limit)

    def keep_sending(self) -> bool:
        """Raise the limit a little if it is reached: a fault may take longer than its round.

        Returns False once all planned requests are sent.
        """
        now = time.monotonic()
        if self.idle and not self._closing and now > self._trickled + TRICKLE_S:
            self._trickled = now
            self.raise_limit(self.sent + TRICKLE)
        return not self._closing

    def trickle_for(self, seconds: float) -> None:
        """Continue slowly for some time, whatever the limit: only new requests show whether a failover is over."""
        self._pace.trickle_for(seconds)

    def stop(self) -> None:
        """End the thread, even if records are left."""
        self._pace.stop()
        if self._thread.is_alive():
            self._thread.join(STOP_S)
        # A thread that still waits for workers that have ended, ends with the process.
        if not self._thread.is_alive():
            self._answers.close()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Pause, once everything sent is answered; topics may be recreated meanwhile.

        Raises
        ------
        BrokerError
            When sending has failed, or answers are missing.
        """
        self._pace.pause()
        until = time.monotonic() + TIMEOUT_S
        while not self._pace.drained.wait(0.1):
            self.check()
            if time.monotonic() > until or not self._thread.is_alive():
                raise BrokerError(f"{self.unanswered} of {self._requests} requests have no answer")
        try:
            yield
        finally:
            self._pace.resume()

    @property
    def pauses(self) -> list[tuple[int, int]]:
        """When nothing was sent because of the limit or a pause (ms UTC, wall clock)."""
        return self._pace.pauses

    @property
    def records(self) -> int:
        """Records sent."""
        return self._producer.records

    @property
    def records_misplaced(self) -> int:
        """Outcomes sent to a wrong partition."""
        return self._producer.misplaced

    @property
    def idle(self) -> bool:
        """Whether it has sent everything the limit allows."""
        return self._pace.waiting or not self._thread.is_alive()

    @property
    def answered(self) -> int:
        """Requests with a prediction or a dead letter, those of faults included."""
        return self._answered_before + self._answers.count

    @property
    def unanswered(self) -> int:
        """Requests sent that have neither a prediction nor a dead letter."""
        requests = self._requests + self.extra_requests + self._http_answers
        return requests - self.answered - self._written_off

    def check(self) -> None:
        """Raise the error that ended the thread, if one did."""
        if self._error is not None:
            raise self._error

    def wait(self, count: int, timeout_s: float = TIMEOUT_S) -> None:
        """Wait until a number of planned requests is sent.

        Raises
        ------
        BrokerError
            When sending has failed, or makes no progress for `timeout_s`.
        """
        heard, before = time.monotonic(), -1
        while self.sent < count:
            self.check()
            if self.sent > before:
                heard, before = time.monotonic(), self.sent
            elif time.monotonic() - heard > timeout_s:
                raise BrokerError(f"only {self.sent} of {count} requests could be sent in {timeout_s:.0f} s")
            time.sleep(0.02)

    def join(self) -> None:
        """Wait until everything is sent and acknowledged; raises the error of the thread."""
        self._thread.join()
        self.check()

    # ------------------------------------------------------------------ the thread

    def _run(self) -> None:
        try:
            for block in self._blocks:
                self._closing = block.end == self.sent and self.sent > 0
                if not self._pace.wait(None if self._closing else block.end):
                    return
                self._send(block)
            self._flush()
        except BaseException as error:  # else it would be lost with the thread
            self._error = error

    def _send(self, block: Block) -> None:
        if self._closing:
            self._wait_all_answered()
            self._wait_consumed()
        for record in block.outcomes:
            self._producer.send_outcome(record, self.misplaced)
        if block.outcomes:
            self._flush()
            if self._closing:
                self._wait_consumed()
        self._wait_window()
        for record in block.requests:
            self._producer.send_request(record)
            self._requests += 1
            self.event_time = max(self.event_time, record.ts)
        self.sent = block.end

    def _wait_consumed(self) -> None:
        # On topics with added partitions, the closing requests could overtake records still to be forwarded.
        if self._give_up_s is None:
            self._progress.wait_consumed()

    def _drain(self) -> None:
        self._flush()
        self._wait_all_answered()

    def _renew(self) -> None:
        """Use new clients: topics may have been recreated."""
        self._answered_before += self._answers.count
        self._answers.close()
        self._answers = SeenAnswers(self._connection, self._codec, self._topics, self._partitions, self._seen)
        self._producer.renew()

    def _seen(self, prediction: Prediction) -> None:
        self._http_answers += prediction.source is None
        self.fault_answers += prediction.request_id.startswith(FAULT_PREFIX)

    def _flush(self) -> None:
        self._wait_until(lambda: self._producer.flush(1.0), "records are not acknowledged")
        self._producer.check()

    def _wait_all_answered(self) -> None:
        def reached() -> bool:
            self._answers.poll(0.05)
            return self.unanswered <= 0

        if self._give_up_s is None:
            self._wait_until(reached, "not all requests are answered")

    def _wait_window(self) -> None:
        """Wait until few requests are unanswered, and few records not joined if outcomes are misplaced."""
        answers = self._answers
        answers.poll()
        heard, before = time.monotonic(), -1
        while self.unanswered >= WINDOW and not self._pace.stopped:
            if answers.count != before:
                heard, before = time.monotonic(), answers.count
            elif time.monotonic() - heard > (self._give_up_s or TIMEOUT_S):
                if self._give_up_s is None:
                    text = f"{self.unanswered} of {self._requests} requests have no prediction"
                    raise BrokerError(f"{text} after {TIMEOUT_S:.0f} s")
                self._written_off += self.unanswered
            answers.poll(0.05)
        if self.misplaced or self.scattered:
            # Outcomes still being forwarded when the share returns to zero must not be late either.
            self._watched_until = self._requests + 10 * WINDOW
        if self._requests < self._watched_until and self._requests - self._joined_at >= WINDOW:
            self._joined_at = self._requests
            self._wait_until(
                lambda: self._join_lag() <= 2 * WINDOW, "predictions and outcomes are not joined"
            )

    def _join_lag(self) -> int:
        try:
            return self._progress.join_lag()
        except BrokerError as error:
            log.info("%s", error)
            return 2**31

    def _wait_until(self, reached: Callable[[], bool], otherwise: str) -> None:
        until = time.monotonic() + TIMEOUT_S
        while not (reached() or self._pace.stopped):
            if time.monotonic() > until:
                raise BrokerError(f"{otherwise} after {TIMEOUT_S:.0f} s; {self._requests} were sent")
            time.sleep(0.005)
