from __future__ import annotations

import threading
import uuid
from typing import TYPE_CHECKING

import numpy as np
import pylsl
from hypothesis import given
from hypothesis import strategies as st

from rtdecode.contracts import ChannelType
from rtdecode.sources.lsl import LslClock, MarkerInlet, SignalInlet, StreamQuery, resolve
from training.bench.models import sensors
from training.bench.sender import send
from training.bench.sending import Sending

if TYPE_CHECKING:
    from pathlib import Path

RATE_HZ = 500.0


def sending(**changes: object) -> Sending:
    settings = {
        "source_id": f"sender-{uuid.uuid4().hex}",
        "channels": sensors(2, ChannelType.EEG),
        "rate_hz": RATE_HZ,
        "chunk": 10,
        "streams": 1,
        "n_samples": 203,
        "onsets": (20, 115),
    }
    return Sending.model_validate({**settings, **changes})


@given(st.data())
def test_chunk_of_names_the_chunk_that_holds_the_sample(data: st.DataObject) -> None:
    plan = sending(
        chunk=data.draw(st.integers(1, 50)),
        streams=data.draw(st.integers(1, 20)),
        n_samples=data.draw(st.integers(116, 400)),
    )
    stream = data.draw(st.integers(0, plan.streams - 1))
    sample = data.draw(st.integers(0, plan.n_samples - 1))
    edges = plan.edges(stream)
    assert np.all(np.diff(edges) > 0)
    assert np.all(np.diff(edges) <= plan.chunk)
    chunk = plan.chunk_of(stream, sample)
    assert edges[chunk] <= sample < edges[chunk + 1]


def test_all_is_sent_in_real_time_with_exact_stamps(tmp_path: Path) -> None:
    plan = sending(streams=2)
    sender = threading.Thread(target=send, args=(plan, tmp_path / "sent.npz"))
    sender.start()
    clock = LslClock()
    infos = [
        resolve(StreamQuery(source_id=name), 20)
        for name in (plan.signal_id(0), plan.signal_id(1), plan.source_id)
    ]
    inlets = [SignalInlet(infos[0], clock), SignalInlet(infos[1], clock)]
    markers = MarkerInlet(infos[2], clock)
    stamps: list[list[float]] = [[], []]
    arrivals: list[list[float]] = [[], []]
    for inlet, own, arrived in zip(inlets, stamps, arrivals, strict=True):
        while len(own) < plan.n_samples:
            chunk = inlet.pull(10)
            assert chunk is not None
            own += chunk.stamps.tolist()
            arrived += [chunk.arrival] * len(chunk.stamps)
    marks = markers.pull(10)
    while len(marks) < len(plan.onsets):
        marks += markers.pull(10)
    for each in (*inlets, markers):
        each.close()
    sender.join()
    with np.load(tmp_path / "sent.npz") as sent:
        start = float(sent["start"])
        pushed = [sent["pushed_0"], sent["pushed_1"]]
        assert len(sent["late"]) == len(pushed[0]) + len(pushed[1])
        assert sent["late"].min() >= 0
    grid = start + np.arange(plan.n_samples) / RATE_HZ
    for stream in range(2):
        np.testing.assert_allclose(stamps[stream], grid, atol=1e-6)
        edges = plan.edges(stream)
        np.testing.assert_array_less(grid[edges[1:] - 1], pushed[stream] + 1e-6)
        np.testing.assert_array_less(pushed[stream], np.array(arrivals[stream])[edges[1:] - 1])
    assert [mark.label for mark in marks] == ["0", "1"]
    np.testing.assert_allclose([mark.stamp for mark in marks], grid[list(plan.onsets)], atol=1e-6)
    assert pylsl.local_clock() - start >= (plan.n_samples - 1) / RATE_HZ
