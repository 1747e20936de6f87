"""The amplifier and the experiment of a measurement: they send on time, whatever becomes of what they sent.

An open loop: each chunk and each marker has its moment on the clock, and nothing that the consumer does moves
it. What is late is sent at once, and the moments after it stay where they were.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click
import numpy as np
import pylsl

from replay.description import marker_info, signal_info
from replay.recordings.recording import Markers, Recording, array_reader
from rtdecode.contracts import Unit
from rtdecode.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

    from training.bench.sending import Sending

SENT = "all is sent"
"""What the process says once its last sample has left."""

_NOISE_S = 8.0
_SD = {Unit.VOLT: 1e-5, Unit.TESLA: 1e-13, Unit.TESLA_PER_METRE: 1e-12, Unit.NONE: 1.0}
_AWAIT_S = 60.0
_POLL_S = 0.2
_LINGER_S = 60.0


def send(sending: Sending, record: Path) -> None:
    """Send everything in real time, and write down when each chunk left.

    Waits for a consumer on every stream first, and at the end until they have gone.

    Parameters
    ----------
    sending
        What and when.
    record
        ``.npz`` file: for each stream ``pushed_0``, …, ``(n_chunks,)``, seconds of ``local_clock()`` just
        before the chunk was pushed, NaN in an outage; ``start``, that of sample 0; ``late``, seconds by which
        each push came after its moment.

    Raises
    ------
    UserError
        If nobody listens within a minute.
    """
    noise = _noise(sending)
    block = noise.read(0, noise.n_samples).astype(np.float32)
    block = np.concatenate([block, block[: sending.chunk]])  # a chunk across its end is one slice, too
    outlets: list[pylsl.StreamOutlet | None] = [
        _outlet(sending, noise, stream) for stream in range(sending.streams)
    ]
    markers = pylsl.StreamOutlet(_marker_info(sending, noise))
    for outlet in (*outlets, markers):
        _await_consumer(outlet)

    due, stream_of, number = _plan(sending)
    edges = [sending.edges(stream).tolist() for stream in range(sending.streams)]
    pushed = np.full(len(due), np.nan)
    start = pylsl.local_clock()
    for i, (sample, stream, n) in enumerate(
        zip(due.tolist(), stream_of.tolist(), number.tolist(), strict=True)
    ):
        stamp = start + sample / sending.rate_hz
        while (ahead := stamp - pylsl.local_clock()) > 0:
            time.sleep(ahead)
        if stream < 0:
            markers.push_sample(*sending.marker(n, stamp))
            continue
        first, stop = edges[stream][n : n + 2]
        if any(begin <= first < end for begin, end in sending.outages):
            outlets[stream] = None
            continue
        outlet = outlets[stream]
        if outlet is None:
            outlet = outlets[stream] = _outlet(sending, noise, stream)
        at = first % noise.n_samples
        rows = block[at : at + stop - first]
        pushed[i] = pylsl.local_clock()
        outlet.push_chunk(rows, stamp)
    click.echo(SENT)
    chunks = np.isfinite(pushed)
    np.savez(
        record,
        start=start,
        late=(pushed - start - due / sending.rate_hz)[chunks],
        **{f"pushed_{stream}": pushed[stream_of == stream] for stream in range(sending.streams)},
    )
    until = pylsl.local_clock() + _LINGER_S
    while any(outlet and outlet.have_consumers() for outlet in (*outlets, markers)):
        if pylsl.local_clock() > until:
            break
        time.sleep(_POLL_S)  # who closes at once takes from a consumer what it has not pulled yet


def _outlet(sending: Sending, noise: Recording, stream: int) -> pylsl.StreamOutlet:
    name = sending.signal_id(stream)
    return pylsl.StreamOutlet(
        signal_info(noise, name=name, source_id=name, value_format="float32", speed=1.0)
    )


def _plan(sending: Sending) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All pushes in order: at which sample, of which stream (-1: a marker), and the how manieth of it."""
    parts = [(np.array(sending.onsets, int), -1)]
    # A chunk leaves when its last sample is there.
    parts += [(sending.edges(stream)[1:] - 1, stream) for stream in range(sending.streams)]
    due = np.concatenate([samples for samples, _ in parts])
    stream_of = np.concatenate([np.full(len(samples), stream) for samples, stream in parts])
    number = np.concatenate([np.arange(len(samples)) for samples, _ in parts])
    order = np.argsort(due, kind="stable")
    return due[order], stream_of[order], number[order]


def _marker_info(sending: Sending, noise: Recording) -> pylsl.StreamInfo:
    name = sending.source_id
    if sending.codes is None:
        return marker_info(noise, name=name, source_id=name, speed=1.0)
    info = pylsl.StreamInfo(name, "Markers", 1, pylsl.IRREGULAR_RATE, "int32", name)
    channel = info.desc().append_child("channels").append_child("channel")
    channel.append_child_value("label", "code")
    channel.append_child_value("type", "stim")
    return info


def _noise(sending: Sending) -> Recording:
    """White noise of a plausible size, sent over and over."""
    n_samples = max(int(_NOISE_S * sending.rate_hz), sending.chunk)
    sd = np.array([_SD[channel.unit] for channel in sending.channels])
    samples = np.random.default_rng(0).standard_normal((n_samples, len(sd))) * sd
    return Recording(
        name=sending.source_id,
        rate_hz=sending.rate_hz,
        channels=sending.channels,
        n_samples=n_samples,
        markers=Markers(np.array([], np.int64), ()),
        reader=array_reader(samples),
        simulated=True,
    )


def _await_consumer(outlet: pylsl.StreamOutlet) -> None:
    until = pylsl.local_clock() + _AWAIT_S
    while not outlet.wait_for_consumers(_POLL_S):
        if pylsl.local_clock() > until:
            raise UserError(f"nobody listened to the streams within {_AWAIT_S:g} s")
