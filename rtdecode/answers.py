"""What is said of each marker, window and request, and the books that see to it that all is said."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from rtdecode.contracts import EmbeddingMessage, MarkerMessage, Stamps, Verdict, VerdictMessage
from rtdecode.signal.ledger import Ledger

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rtdecode.connection import Ending, Job
    from rtdecode.contracts import Accounts, Message, Request
    from rtdecode.gate import Admission
    from rtdecode.signal.markers import Marker
    from rtdecode.sources.base import Clock

log = logging.getLogger(__name__)


class Emit(Protocol):
    """Where messages go."""

    def __call__(self, message: Message, payload: Sequence[np.ndarray] = ()) -> None:
        """Take a message, with its payload frames; called from any thread."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a decoder.

    Parameters
    ----------
    outputs
        One array of shape ``(n_windows, dim)`` a head, or why there is none.
    start, end
        When it ran, seconds of our clock.
    """

    outputs: dict[str, np.ndarray] | Exception
    start: float
    end: float


class Answers:
    """Turns what became of markers, windows and requests into messages, and keeps both ledgers.

    Any thread may call it; :meth:`run` one at a time.

    Parameters
    ----------
    clock
        Stamps when a decoder starts and ends.
    emit
        Where messages go.
    marker_delay_s
        Seconds from a marker to the picture on the screen, told with each embedding.
    """

    def __init__(self, clock: Clock, emit: Emit, marker_delay_s: float) -> None:
        self._clock = clock
        self._emit = emit
        self._marker_delay_s = marker_delay_s
        self._ledger = Ledger()
        self._lock = threading.Lock()  # guards the ledger

    def accounts(self) -> Accounts:
        """Both ledgers as they stand."""
        with self._lock:
            return self._ledger.accounts()

    def admit(self, marker: Marker, admission: Admission, *, simulated: bool) -> None:
        """Count a marker, and say what became of it."""
        with self._lock:
            self._ledger.admit(admission.fate)
        self._emit(
            MarkerMessage(
                simulated=simulated,
                source=marker.source,
                label=admission.label,
                stimulus_id=admission.stimulus_id,
                fate=admission.fate,
                index=admission.index,
                stamp=marker.stamp,
                reason=admission.reason,
            )
        )

    def open(self, requests: Sequence[Request]) -> None:
        """Note new requests; each is to be ended once."""
        if not requests:
            return
        with self._lock:
            for request in requests:
                self._ledger.open(request)

    def run(self, jobs: Sequence[Job]) -> Run:
        """Run the decoder once on windows that go together."""
        windows = [job.cut.window for job in jobs]
        # Fast replays have shorter residuals than the recording.
        residual_s = [1e-6 * job.cut.residual_us * job.facts.speed for job in jobs]
        start = self._clock.now()
        outputs: dict[str, np.ndarray] | Exception
        try:
            outputs = jobs[0].decoder.run(
                windows[0][np.newaxis] if len(windows) == 1 else np.stack(windows),
                jobs[0].binding.repair,
                residual_s,
            )
        except Exception as error:
            outputs = error
        return Run(outputs, start, self._clock.now())

    def answer(self, job: Job, run: Run, number: int) -> tuple[Verdict, str]:
        """Publish what the decoder says of the n-th window of a run; return how its request ends, and why."""
        try:
            return self._answer(job, run, number)
        except Exception as error:
            log.error("decoder %s failed on %s", job.decoder.name, job.cut.request, exc_info=error)
            return Verdict.FAILED, f"{type(error).__name__}: {error}"

    def _answer(self, job: Job, run: Run, number: int) -> tuple[Verdict, str]:
        cut, decoder = job.cut, job.decoder
        marker = cut.marker
        if isinstance(run.outputs, Exception):
            raise run.outputs
        if not job.track.holds(cut):
            return Verdict.LATE, "the window left the ring while the decoder ran"
        embeddings = [run.outputs[head.name][number] for head in decoder.manifest.heads]
        if not all(np.isfinite(embedding).all() for embedding in embeddings):
            return Verdict.FAILED, "the decoder's output is not finite"
        self._emit(
            EmbeddingMessage(
                simulated=job.facts.simulated or decoder.manifest.simulated,
                request=cut.request,
                label="" if marker is None else marker.label,
                stimulus_id=None if marker is None else marker.stimulus_id,
                decoder_sha256=decoder.sha256,
                segment=cut.segment,
                onset_sample=cut.onset_sample,
                residual_us=cut.residual_us,
                uncertainty_us=cut.uncertainty_us,
                stamps=Stamps(
                    marker_host="" if marker is None else marker.host,
                    marker_source=None if marker is None else marker.stamp,
                    marker_corrected=None if marker is None else marker.time,
                    marker_arrival=None if marker is None else marker.arrival,
                    data_host=job.facts.host,
                    data_source=cut.data_source,
                    data_corrected=cut.data_corrected,
                    data_arrival=cut.data_arrival,
                    inference_start=run.start,
                    inference_end=run.end,
                ),
                quality=job.quality,
                heads=decoder.head_outputs,
                stream_delay_s=job.facts.delay_s,
                marker_delay_s=self._marker_delay_s,
                latency_comparable=job.facts.latency_comparable,
            ),
            embeddings,
        )
        return Verdict.EMITTED, ""

    def end(self, ending: Ending) -> None:
        """End a request, and say how and why."""
        closed = ending.closed
        with self._lock:
            self._ledger.close(closed.request, closed.verdict)
        self._emit(
            VerdictMessage(
                simulated=ending.facts.simulated or ending.decoder.manifest.simulated,
                request=closed.request,
                label="" if closed.marker is None else closed.marker.label,
                stimulus_id=None if closed.marker is None else closed.marker.stimulus_id,
                verdict=closed.verdict,
                reason=closed.reason,
            )
        )
