"""Windows through the decoders, on whichever thread gets the answer out soonest."""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING

from rtdecode.contracts import AlarmCode, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rtdecode.alarms import Alarms
    from rtdecode.connection import Job
    from rtdecode.engine import Engine

_SUBJECT = "inference"


class Inference:
    """Decodes windows in one run at a time, and never lets more wait than was agreed.

    One window alone is decoded at once by the thread of the stream that completed it: waking another thread
    would only take longer. Where windows come together, or another is being decoded, they wait for a thread
    of their own, which decodes those that wait for the same decoder in one run where that is faster
    (:attr:`~rtdecode.decoder.Decoder.most_together`). Before it begins, it lets all streams that wait for
    their turn have it, as a marker completes windows of all streams at about the same time. A stream that
    cannot keep up completes several windows at a time; when too many wait, the rest end as ``overflow``.

    Parameters
    ----------
    engine
        Decodes, and ends what is not decoded.
    most
        Windows that may wait.
    alarms
        Told of an overflow.
    on_failure
        Told of an error that ended the thread.
    """

    def __init__(
        self, engine: Engine, most: int, alarms: Alarms, on_failure: Callable[[BaseException], None]
    ) -> None:
        self._engine = engine
        self._most = most
        self._alarms = alarms
        self._on_failure = on_failure
        # The C queue: it wakes its reader soonest.
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._next: list[Job | None] = []  # taken from the queue, but not for the run before
        self._n_handed_over = 0  # to the thread, and not decoded yet
        self._counting = threading.Lock()
        self._decoding = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="inference", daemon=True)

    @property
    def is_alive(self) -> bool:
        """Whether its thread runs."""
        return self._thread.is_alive()

    @property
    def n_waiting(self) -> int:
        """Windows that wait for the thread."""
        return self._jobs.qsize() + len(self._next)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def take(self, jobs: Sequence[Job]) -> None:
        """Decode the windows that a chunk completed, or have them decoded; for the threads of the streams."""
        # While the thread has windows, later ones of the same stream must not overtake them. And streams that
        # wait for their turn may be about to complete windows that go with this one.
        is_alone = len(jobs) == 1 and not self._n_handed_over and not self._engine.turn.is_awaited
        if is_alone and self._decoding.acquire(blocking=False):
            try:
                self._engine.decode(jobs)
            finally:
                self._decoding.release()
            return
        for job in jobs:
            if self.n_waiting < self._most:
                self._hand_over(job)
                continue
            reason = f"{self._most} windows already wait for the decoder"
            self._engine.end(job, Verdict.OVERFLOW, reason)
            self._alarms.begin(
                AlarmCode.OVERFLOW, _SUBJECT, f"{reason}: use fewer decoders, or a faster machine"
            )

    def check(self) -> None:
        """End the alarm of an overflow that is over."""
        if not self._n_handed_over:
            self._alarms.end(AlarmCode.OVERFLOW, _SUBJECT, "the decoder keeps up again")

    def finish(self, jobs: Sequence[Job]) -> None:
        """Decode what waits and these last windows; without the thread, end them. Once all streams ended."""
        for job in jobs:
            self._hand_over(job)
        self._jobs.put(None)
        self._thread.join()
        while self.n_waiting:
            if (left := self._take()) is not None:
                self._engine.end(left, Verdict.SHUTDOWN, "the decoder's thread had ended")

    def _hand_over(self, job: Job) -> None:
        with self._counting:
            self._n_handed_over += 1
        self._jobs.put(job)

    def _take(self) -> Job | None:
        return self._next.pop() if self._next else self._jobs.get()

    def _run(self) -> None:
        try:
            while (job := self._take()) is not None:
                with self._decoding:
                    jobs = [job]
                    if job.decoder.most_together > 1:
                        with self._engine.turn.taken():
                            jobs += self._others(job)
                    self._engine.decode(jobs)
                with self._counting:
                    self._n_handed_over -= len(jobs)
        except BaseException as error:  # a dead thread must end the service, not hang it
            self._on_failure(error)

    def _others(self, first: Job) -> list[Job]:
        """Take the windows that wait right behind one and can be decoded with it."""
        jobs: list[Job] = []
        while len(jobs) < first.decoder.most_together - 1 and not self._jobs.empty():
            job = self._jobs.get()
            if job is None or not job.goes_with(first):
                self._next.append(job)
                break
            jobs.append(job)
        return jobs
