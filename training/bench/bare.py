"""The floor: what the same stream, filter, decoder and socket cost in a bare loop that checks nothing.

It knows beforehand which samples it will be asked for, so that it needs no markers, clocks and accounts; it
pulls, filters, keeps, decodes and publishes on one thread. What the service adds to it is the price of all
that it does beyond that.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING

import numpy as np
import pylsl
from scipy.signal import sosfilt

from rtdecode.contracts import IirSos
from rtdecode.decoder import WINDOW_INPUT, Decoder, open_session
from rtdecode.errors import UserError
from rtdecode.signal.ring import Ring
from rtdecode.sources.lsl_resolve import StreamQuery, resolve

if TYPE_CHECKING:
    from pathlib import Path

    from training.bench.others import Publisher
    from training.bench.sending import Sending

_AWAIT_S = 60.0
_PULL_S = 1.0
_MOST_SAMPLES = 1024


def follow(sending: Sending, path: Path, publisher: Publisher, warmup_trials: int) -> None:
    """Decode the window of every onset and publish it, until all is done or the stream has ended.

    Parameters
    ----------
    sending
        What the sender sends; one stream.
    path
        The decoder.
    publisher
        Takes the answers, and at the end the share of a core from the first trial that counts on.
    warmup_trials
        Those before it.

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
            publisher.answer(number, start, pylsl.local_clock(), embedding)
            if number < warmup_trials:
                cpu, begin = time.process_time(), time.perf_counter()
    publisher.finish((time.process_time() - cpu) / (time.perf_counter() - begin))
    for inlet in (markers, samples):
        inlet.close_stream()


def _open(source_id: str) -> pylsl.StreamInlet:
    info = resolve(StreamQuery(source_id=source_id), _AWAIT_S)
    inlet = pylsl.StreamInlet(info, recover=False, processing_flags=pylsl.proc_none)
    inlet.open_stream(_AWAIT_S)
    return inlet
