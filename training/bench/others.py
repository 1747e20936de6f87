"""What the service is compared with: a bare loop, the floor, and mne-lsl, the peer."""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import zmq

from replay.processes import Process
from rtdecode.sources.lsl import LslClock
from training.bench.peer import CODES
from training.bench.phases import sender, sent_trials
from training.bench.sender import SENT
from training.latency import percentiles_ms

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from rtdecode.decoder import Decoder
    from training.bench.sending import Sending

_LOOK_S = 0.1
"""When nothing has come for so long, there is time to draw."""


@dataclass(frozen=True, slots=True)
class Followed:
    """What another than the service made of the markers.

    Parameters
    ----------
    answers
        By number of the marker: when inference began and ended, and when the answer was there, seconds of
        ``local_clock()``.
    cpu_share
        Processor time by time.
    """

    answers: dict[int, tuple[float, float, float]]
    cpu_share: float


@dataclass(frozen=True, slots=True)
class Other:
    """Something that answers a sender's markers in the service's place.

    Parameters
    ----------
    name
        Of its files.
    codes
        How the sender's markers are to be numbered.
    follow
        Runs it in a process of its own while the sender, another one, sends.
    """

    name: str
    codes: int | None
    follow: Callable[[_Course], Followed]


@dataclass(frozen=True, slots=True)
class _Course:
    """The course of one run: what is sent, as ``plan`` says, by ``source``; the rest as :func:`run_other`."""

    sending: Sending
    plan: Path
    source: Process
    decoder: Decoder
    folder: Path
    warmup_trials: int
    moved: Callable[[int], None]


def run_other(
    other: Other,
    sending: Sending,
    decoder: Decoder,
    folder: Path,
    warmup_trials: int,
    moved: Callable[[int], None],
) -> dict[str, Any]:
    """Run the sender and another than the service in processes of their own.

    Parameters
    ----------
    other
        Which: :data:`FLOOR` or :data:`PEER`.
    sending, decoder, folder, warmup_trials
        As for :func:`~training.bench.phases.run_service`; one stream.
    moved
        Told the number of markers that are done, about.

    Returns
    -------
    dict
        Its percentiles; ``latency_ms`` is what it adds to inference, as the service's overhead.

    Raises
    ------
    UserError
        If a process fails.
    """
    again = sending.model_copy(
        update={"source_id": f"{sending.source_id}-{other.name}", "codes": other.codes}
    )
    sent = folder / f"{other.name}-sent"
    with sender(again, sent) as source:
        plan = sent.with_suffix(".json")
        found = other.follow(_Course(again, plan, source, decoder, folder, warmup_trials, moved))
        source.wait_for_end()
    trials, _ = sent_trials(again, sent, decoder.manifest.signal, {})
    expected = [trial for trial in trials if trial.number >= warmup_trials]
    counted = [trial for trial in expected if trial.number in found.answers]
    began, ended, received = np.array([found.answers[trial.number] for trial in counted]).T
    inference = ended - began
    compute = received - np.array([trial.pushed for trial in counted])
    return {
        "n": len(expected),
        "drops": len(expected) - len(counted),
        "latency_ms": percentiles_ms(compute - inference),
        "compute_ms": percentiles_ms(compute),
        "inference_ms": percentiles_ms(inference),
        "cpu_share": found.cpu_share,
    }


def _follow_floor(course: _Course) -> Followed:
    """A bare loop that publishes to a socket of this process."""
    clock = LslClock()
    answers: dict[int, tuple[float, float, float]] = {}
    cpu_share: float | None = None
    with ExitStack() as stack:
        context = stack.enter_context(zmq.Context())
        subscriber = stack.enter_context(context.socket(zmq.SUB))
        subscriber.subscribe(b"")
        subscriber.bind("tcp://127.0.0.1:*")
        address = subscriber.getsockopt_string(zmq.LAST_ENDPOINT)
        arguments = [str(course.plan), str(course.decoder.path), address]
        loop = stack.enter_context(Process(["bench", "bare", *arguments], course.folder / "floor.log"))
        while cpu_share is None:
            if not subscriber.poll(round(1e3 * _LOOK_S)):
                course.moved(len(answers))
                loop.check()
                continue
            header = json.loads(subscriber.recv_multipart()[0])
            at = clock.now()
            cpu_share = header.get("cpu_share")
            if cpu_share is None:
                answers[header["number"]] = (header["inference_start"], header["inference_end"], at)
        course.moved(len(answers))
        loop.wait_for_end()
    return Followed(answers, cpu_share)


def _follow_peer(course: _Course) -> Followed:
    """mne-lsl, which notes when it answered; nothing is published."""
    sending, clock = course.sending, LslClock()
    record = course.folder / "peer.npz"
    arguments = [str(course.plan), str(course.decoder.path), str(record), str(course.warmup_trials)]
    with Process(["bench", "peer", *arguments], course.folder / "peer.log") as peer:
        start = clock.now()
        while not peer.ended(_LOOK_S):
            share = (clock.now() - start) * sending.rate_hz / sending.n_samples
            course.moved(round(min(share, 1.0) * len(sending.onsets)))
            if not course.source.said(SENT):
                course.source.check()
        peer.wait_for_end()
    with np.load(record) as noted:
        columns = [noted[key].tolist() for key in ("number", "inference_start", "inference_end")]
        cpu_share = float(noted["cpu_s"] / noted["seconds"])
    return Followed(
        {number: (began, ended, ended) for number, began, ended in zip(*columns, strict=True)}, cpu_share
    )


FLOOR = Other("floor", None, _follow_floor)
PEER = Other("peer", CODES, _follow_peer)
