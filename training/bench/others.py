"""What the service is compared with: a bare loop, the floor, and mne-lsl, the peer."""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import zmq

from replay.processes import Process
from rtdecode.errors import UserError
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

_LINGER_MS = 1000


@dataclass(frozen=True, slots=True)
class Other:
    """Something that answers a sender's markers in the service's place.

    Parameters
    ----------
    name
        Of its files.
    command
        The command of ``rtdecode bench`` that runs it.
    codes
        How the sender's markers are to be numbered.
    """

    name: str
    command: str
    codes: int | None


FLOOR = Other("floor", "bare", None)
PEER = Other("peer", "peer", CODES)


class Publisher:
    """Publishes the other's answers to the process that measures, with no more than that takes.

    Each message is ``[header, embedding]``; the header is JSON.

    Parameters
    ----------
    address
        Where a SUB socket listens.
    """

    def __init__(self, address: str) -> None:
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.PUB)
        self._socket.connect(address)

    def answer(self, number: int, began: float, ended: float, embedding: np.ndarray) -> None:
        """Publish a marker's answer, and when inference began and ended, seconds of ``local_clock()``."""
        header = {"number": number, "inference_start": began, "inference_end": ended}
        self._socket.send_multipart([json.dumps(header).encode(), embedding.tobytes()])

    def finish(self, cpu_share: float) -> None:
        """Say that no more will come, and how much of a core was used; and disconnect."""
        self._socket.send(json.dumps({"cpu_share": cpu_share}).encode())
        self._socket.close(linger=_LINGER_MS)
        self._context.term()


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
        Told the number of answers so far.

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
    answers: dict[int, tuple[float, float, float]] = {}
    cpu_share: float | None = None
    clock = LslClock()
    with ExitStack() as stack:
        context = stack.enter_context(zmq.Context())
        subscriber = stack.enter_context(context.socket(zmq.SUB))
        subscriber.subscribe(b"")
        subscriber.bind("tcp://127.0.0.1:*")
        address = subscriber.getsockopt_string(zmq.LAST_ENDPOINT)
        source = stack.enter_context(sender(again, sent))
        arguments = [str(sent.with_suffix(".json")), str(decoder.path), address, str(warmup_trials)]
        log = folder / f"{other.name}.log"
        process = stack.enter_context(Process(["bench", other.command, *arguments], log))
        while cpu_share is None:
            if not subscriber.poll(round(1e3 * _LOOK_S)):
                moved(len(answers))
                process.check()
                if not source.said(SENT):
                    source.check()
                continue
            header = json.loads(subscriber.recv_multipart()[0])
            at = clock.now()
            cpu_share = header.get("cpu_share")
            if cpu_share is None:
                answers[header["number"]] = (header["inference_start"], header["inference_end"], at)
        moved(len(answers))
        process.wait_for_end()
        source.wait_for_end()
    trials, _ = sent_trials(again, sent, decoder.manifest.signal, {})
    expected = [trial for trial in trials if trial.number >= warmup_trials]
    counted = [trial for trial in expected if trial.number in answers]
    if not counted:
        raise UserError(f"the {other.name} answered none of the trials that count: {process.last_line()}")
    began, ended, received = np.array([answers[trial.number] for trial in counted]).T
    inference = ended - began
    compute = received - np.array([trial.pushed for trial in counted])
    return {
        "n": len(expected),
        "drops": len(expected) - len(counted),
        "latency_ms": percentiles_ms(compute - inference),
        "compute_ms": percentiles_ms(compute),
        "inference_ms": percentiles_ms(inference),
        "cpu_share": cpu_share,
    }
