"""Streams that other software sends are served like our own."""

from __future__ import annotations

import subprocess
import sys
import threading
import uuid
from typing import TYPE_CHECKING, Any

import numpy as np
import pylsl
import pytest
from index_decoder import index_manifest, write_index_decoder

from rtdecode.bus.subscriber import Subscriber
from rtdecode.bus.wire import floats
from rtdecode.config import ServeConfig
from rtdecode.contracts import Channel, EmbeddingMessage
from rtdecode.service import Service

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

RATE_HZ = 200
N_SAMPLES = 12_000
WINDOW = (-4, 30)

MOCK_STREAM = """
import sys, warnings
warnings.simplefilter("ignore")
import mne, numpy as np
from mne_realtime import MockLSLStream
raw = mne.io.RawArray(np.arange(12000.0).reshape(1, -1) * 1e-6, mne.create_info(["CH0"], 200.0, "eeg"),
                      verbose="error")
with MockLSLStream(sys.argv[1], raw, "eeg"):
    sys.stdin.read()
"""


@pytest.fixture
def source_id() -> str:
    return f"foreign-{uuid.uuid4().hex}"


@pytest.fixture
def mne_lsl_player(source_id: str) -> Iterator[dict[str, Any]]:
    mne = pytest.importorskip("mne")
    player_module = pytest.importorskip("mne_lsl.player")
    raw = mne.io.RawArray(
        np.arange(float(N_SAMPLES))[np.newaxis] * 1e-6,
        mne.create_info(["CH0"], RATE_HZ, "eeg"),
        verbose="error",
    )
    with player_module.PlayerLSL(raw, chunk_size=20, source_id=source_id):
        yield {"lsl": {"source_id": source_id}}


@pytest.fixture
def mock_lsl_stream(source_id: str) -> Iterator[dict[str, Any]]:
    pytest.importorskip("mne_realtime")
    # It forks, so it runs in a process that has no other threads.
    process = subprocess.Popen([sys.executable, "-c", MOCK_STREAM, source_id], stdin=subprocess.PIPE)
    yield {"lsl": {"source_id": source_id}, "unit": "V"}
    process.communicate()


def answers_to_markers(stream: dict[str, Any], decoder: Path, n_markers: int) -> list[tuple[float, float]]:
    """First and last index of the windows around markers that a separate stream sends now and then."""
    marker_id = f"markers-{uuid.uuid4().hex}"
    outlet = pylsl.StreamOutlet(
        pylsl.StreamInfo("experiment", "Markers", 1, pylsl.IRREGULAR_RATE, "string", marker_id)
    )
    config = ServeConfig(
        streams=[{"id": "foreign", **stream}],
        markers={"streams": [{"source_id": marker_id}]},
        decoders=[{"path": decoder}],
        bus={"publish_port": 0, "subscribe_port": 0, "control_port": 0},
    )
    windows = []
    with (
        Service(config) as service,
        Subscriber(service.endpoints.publish, ("embedding",)) as subscriber,
    ):
        assert subscriber.wait_joined(10)
        service.connect()
        pace = threading.Event()
        for number in range(n_markers):
            pace.wait(0.23)  # an experiment's pace, not a wait for anything
            outlet.push_sample([f"picture-{number}"])
        for _ in range(n_markers):
            received = subscriber.receive(20)
            assert received is not None
            assert isinstance(received.message, EmbeddingMessage)
            windows.append(tuple(floats(received.payload[0], 2).tolist()))
    return windows


@pytest.mark.parametrize("source", ["mne_lsl_player", "mock_lsl_stream"])
def test_a_foreign_stream_with_markers_beside_it_is_served(
    tmp_path: Path, source: str, request: pytest.FixtureRequest
) -> None:
    channels = [Channel(name="CH0", type="eeg", unit="V")]
    write_index_decoder(
        tmp_path / "d.onnx", index_manifest(rate_hz=RATE_HZ, window=WINDOW, channels=channels)
    )
    windows = answers_to_markers(request.getfixturevalue(source), tmp_path / "d.onnx", 6)
    first, last = np.rint(np.array(windows) * 1e6).T
    np.testing.assert_array_equal(last - first, WINDOW[1] - WINDOW[0])
    assert np.all(np.diff(first) > 0)
