"""A photodiode and markers, sent live."""

from __future__ import annotations

import threading
import uuid
from typing import TYPE_CHECKING

import numpy as np
import pylsl
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

RATE_HZ = 500.0
DELAY_S = 0.045
"""From each marker to its flash."""


@pytest.fixture
def rig() -> Iterator[str]:
    """A photodiode, a trigger channel and a marker stream whose flashes come DELAY_S late; the source_id."""
    source_id = f"test-{uuid.uuid4().hex}"
    info = pylsl.StreamInfo("Amp", "EEG", 3, RATE_HZ, "float32", source_id)
    channels = info.desc().append_child("channels")
    for label in ("Fz", "photo", "STI"):
        channels.append_child("channel").append_child_value("label", label)
    signal = pylsl.StreamOutlet(info)
    markers = pylsl.StreamOutlet(pylsl.StreamInfo("Marks", "Markers", 1, 0.0, "string", source_id))
    stop = threading.Event()

    def send() -> None:
        start, n_sent, n_marked = pylsl.local_clock(), 0, 0
        while not stop.wait(0.02):
            n_due = int((pylsl.local_clock() - start) * RATE_HZ)
            times = np.arange(n_sent, n_due) / RATE_HZ
            photo = ((times - DELAY_S) % 0.25 < 0.1) & (times > 0.25)
            trigger = (times % 0.25 < 0.02) & (times > 0.2)
            rows = np.column_stack([times, 50 + 900 * photo, 7 * trigger]).astype(np.float32)
            if len(rows):
                signal.push_chunk(np.ascontiguousarray(rows), (start + times).tolist())
            n_sent = n_due
            while (n_marked + 1) * 0.25 <= n_sent / RATE_HZ:
                n_marked += 1
                markers.push_sample(["flip"], start + n_marked * 0.25)

    sender = threading.Thread(target=send)
    sender.start()
    yield source_id
    stop.set()
    sender.join()
