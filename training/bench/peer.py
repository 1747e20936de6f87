"""The same streams and the same decoder through mne-lsl, for comparison.

What its documentation shows: streams and epochs that acquire every millisecond, and a loop that asks for new
epochs as often. Signals go through the decoder's own filter sections. Its answers are published as those of
the bare loop are.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

from rtdecode.contracts import IirSos
from rtdecode.decoder import WINDOW_INPUT, Decoder, open_session
from rtdecode.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

    from mne_lsl.stream import StreamLSL

    from rtdecode.contracts import SignalContract
    from training.bench.others import Publisher
    from training.bench.sending import Sending

CODES = 100
"""Events are numbered from 1 to this and again, to tell the epochs apart."""

_ACQUIRE_S = 0.001
_LOOK_S = 0.001
_BUFFER = 1.5
"""Stream buffer in epochs; mne-lsl asks for 1.2 at least, and each chunk costs what the buffer is long."""

_KEPT = 20
_AWAIT_S = 60.0
_LAST_WORDS_S = 10.0


def follow(sending: Sending, decoder: Path, publisher: Publisher, warmup_trials: int) -> None:
    """Decode every epoch and publish it, until all have come or the streams have ended.

    Parameters
    ----------
    sending
        What the sender sends; one stream, with ``codes``.
    decoder
        The ONNX file.
    publisher
        Takes the answers, and at the end the share of a core from the first trial that counts on.
    warmup_trials
        Those before it.

    Raises
    ------
    UserError
        If mne-lsl is not installed, has no such filter, or finds no stream.
    """
    try:
        from mne_lsl import set_log_level
        from mne_lsl.lsl import local_clock
        from mne_lsl.stream import EpochsStream, StreamLSL
    except ImportError:
        raise UserError("this peer needs mne-lsl: install rtdecode with the extra `bench`") from None

    set_log_level("ERROR")
    signal = Decoder(decoder).manifest.signal
    session = open_session(decoder.read_bytes())
    outputs = [output.name for output in session.get_outputs()]
    window = signal.window
    tmin, tmax = window.first_sample / signal.rate_hz, (window.last_sample + 0.5) / signal.rate_hz
    session.run(outputs, {WINDOW_INPUT: np.zeros((1, window.n_samples, len(signal.channels)), np.float32)})

    events = StreamLSL(_KEPT, source_id=sending.source_id)
    stream = StreamLSL(_BUFFER * (tmax - tmin), source_id=sending.signal_id(0))
    for one in (events, stream):
        one.connect(_ACQUIRE_S, processing_flags="all", timeout=_AWAIT_S)
    _filter(stream, signal)
    epochs = EpochsStream(
        stream,
        bufsize=_KEPT,
        event_id={str(code): code for code in range(1, CODES + 1)},
        event_channels="code",
        event_stream=events,
        tmin=tmin,
        tmax=tmax,
        baseline=None,
    ).connect(_ACQUIRE_S)

    number = 0
    begin: tuple[float, float] | None = None
    until = local_clock() + _AWAIT_S + sending.n_samples / sending.rate_hz + _LAST_WORDS_S
    while number < len(sending.onsets) and local_clock() < until:
        if not (n_new := epochs.n_new_epochs):
            time.sleep(_LOOK_S)
            continue
        windows = epochs.get_data(n_new)
        for code, epoch in zip(epochs.events[-n_new:].tolist(), windows, strict=True):
            feed = {WINDOW_INPUT: np.ascontiguousarray(epoch.T[None], np.float32)}
            start = local_clock()
            (embedding, *_) = session.run(outputs, feed)
            end = local_clock()
            number += (code - 1 - number) % CODES  # those in between never came
            publisher.answer(number, start, end, embedding)
            number += 1
            if begin is None and number > warmup_trials:
                begin = local_clock(), time.process_time()
    if begin is None:
        raise UserError("mne-lsl gave no epoch")
    publisher.finish((time.process_time() - begin[1]) / (local_clock() - begin[0]))
    epochs.disconnect()
    stream.disconnect()
    events.disconnect()


def _filter(stream: StreamLSL, signal: SignalContract) -> None:
    for step in signal.front_end:
        if not isinstance(step, IirSos):
            raise UserError(f"mne-lsl has no {step.kind}: compare with a decoder whose front end is a filter")
        sections = {"sos": np.array(step.sections), "order": len(step.sections), "padlen": 0}
        stream.filter(step.highpass_hz, step.lowpass_hz, iir_params=sections)
