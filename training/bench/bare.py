"""The floor: what the same stream, filter, decoder and socket cost in a bare loop that checks nothing.

It knows beforehand which samples it will be asked for, so that it needs no markers, clocks and accounts; it
pulls, filters, keeps, decodes and publishes on one thread. What the service adds to it is the price of all
that it does beyond that.
"""

from __future__ import annotations

import json
import time
from collections import deque
from typing import TYPE_CHECKING

import numpy as np
import pylsl
import zmq
from scipy.signal import sosfilt

from rtdecode.contracts import IirSos
from rtdecode.decoder import WINDOW_INPUT, Decoder, open_session
from rtdecode.errors import UserError
from rtdecode.signal.ring import Ring
from rtdecode.sources.lsl_resolve import StreamQuery, resolve

if TYPE_CHECKING:
    from pathlib import Path

    from training.bench.sending import Sending

_AWAIT_S = 60.0
_PULL_S = 1.0
_MOST_SAMPLES = 1024


def follow(sending: Sending, path: Path, address: str) -> None:
    """Decode the window of every onset and publish it, until all is done or the stream has ended.

    Parameters
    ----------
    sending
        What the sender sends; one stream.
    path
        The decoder.
    address
        Where a SUB socket listens. Each message is ``[header, embedding]``; the header is JSON with the
        trial's ``number``, ``inference_start`` and ``inference_end``, seconds of ``local_clock()``. The last
        one has ``cpu_share`` instead, and no embedding.

    Raises
    ------
    UserError
        If the stream does not come, or the decoder's front end is more than a filter.
    """
    signal = Decoder(path).manifest.signal
    if not all(isinstance(step, IirSos) for step in signal.front_end):
        raise UserError("the bare loop only filters: measure it with a decoder whose front end is a filter")
    sections = np.array(
        [section for step in signal.front_end if isinstance(step, IirSos) for section in step.sections]
    )
    delays = np.zeros((len(sections), 2, len(signal.channels)))
    session = open_session(path.read_bytes())
    outputs = [output.name for output in session.get_outputs()]
    window = signal.window
    ring = Ring(window.n_samples + 2 * _MOST_SAMPLES, len(signal.channels))
    session.run(outputs, {WINDOW_INPUT: np.zeros((1, window.n_samples, len(signal.channels)), np.float32)})

    context = zmq.Context()
    publisher = context.socket(zmq.PUB)
    publisher.connect(address)
    markers, samples = (_open(source_id) for source_id in (sending.source_id, sending.signal_id(0)))
    due = deque(enumerate(sending.onsets))
    cpu, begin = time.process_time(), time.perf_counter()
    while due:
        values, stamps = samples.pull_chunk(_PULL_S, _MOST_SAMPLES, min_samples=1, as_numpy=True)
        if not len(stamps):
            break
        signals = values.astype(np.float64)
        if len(sections):
            signals, delays = sosfilt(sections, signals, axis=0, zi=delays)
        ring.append(signals)
        while due and due[0][1] + window.last_sample < ring.end:
            number, onset = due.popleft()
            first = onset + window.first_sample
            start = pylsl.local_clock()
            (embedding, *_) = session.run(
                outputs, {WINDOW_INPUT: ring.view(first, first + window.n_samples)[None]}
            )
            header = {"number": number, "inference_start": start, "inference_end": pylsl.local_clock()}
            publisher.send_multipart([json.dumps(header).encode(), embedding.tobytes()])
    share = (time.process_time() - cpu) / (time.perf_counter() - begin)
    publisher.send(json.dumps({"cpu_share": share}).encode())
    publisher.close(linger=1000)
    context.term()
    for inlet in (markers, samples):
        inlet.close_stream()


def _open(source_id: str) -> pylsl.StreamInlet:
    info = resolve(StreamQuery(source_id=source_id), _AWAIT_S)
    inlet = pylsl.StreamInlet(info, recover=False, processing_flags=pylsl.proc_none)
    inlet.open_stream(_AWAIT_S)
    return inlet
