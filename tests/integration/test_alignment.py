"""The fixture whose first channel is the sample index, through replay, LSL and the live service."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import numpy as np
import pytest
from index_decoder import index_channels, index_manifest, write_index_decoder
from live import serve

from replay.recordings.recording import Markers, Recording, array_reader
from rtdecode.contracts import Fate, Verdict

if TYPE_CHECKING:
    from pathlib import Path


def index_recording(rate_hz: float, seconds: float = 1.5, every: int = 37) -> Recording:
    n_samples = round(rate_hz * seconds)
    samples = np.zeros((n_samples, 3))
    samples[:, 0] = np.arange(n_samples)
    onsets = np.arange(20, n_samples - round(0.2 * rate_hz), every)
    return Recording(
        name=f"index-{uuid.uuid4().hex}",
        rate_hz=rate_hz,
        channels=index_channels(),
        n_samples=n_samples,
        markers=Markers(onsets, [f"stimulus-{i}" for i in range(len(onsets))]),
        reader=array_reader(samples),
        simulated=True,
    )


@pytest.mark.parametrize("rate_hz", [256, 300, 512, 1000, 1200])
@pytest.mark.parametrize("chunk_size", [1, 10, 32])
def test_every_window_is_sample_exact(tmp_path: Path, rate_hz: float, chunk_size: int) -> None:
    last = round(0.1 * rate_hz)
    write_index_decoder(tmp_path / "d.onnx", index_manifest(rate_hz=rate_hz, window=(-5, last)))
    recording = index_recording(rate_hz)
    answers = serve(recording, tmp_path / "d.onnx", chunk_size=chunk_size)
    onsets = recording.markers.sample
    assert {index: message.onset_sample for index, (message, _) in answers.embeddings.items()} == dict(
        enumerate(onsets.tolist())
    )
    for index, (message, embedding) in answers.embeddings.items():
        assert embedding.tolist() == [onsets[index] - 5, onsets[index] + last]
        assert abs(message.residual_us) < 1
    accounts = answers.accounts
    assert accounts.markers[Fate.ACCEPTED] == accounts.requests[Verdict.EMITTED] == len(onsets)
    assert accounts.n_open == 0


def test_a_replay_faster_than_real_time_is_divided_out(tmp_path: Path) -> None:
    write_index_decoder(tmp_path / "d.onnx", index_manifest(rate_hz=256, window=(0, 20)))
    recording = index_recording(256, seconds=8)
    answers = serve(recording, tmp_path / "d.onnx", speed=4.0)
    onsets = recording.markers.sample
    assert len(answers.embeddings) == len(onsets)
    for index, (message, embedding) in answers.embeddings.items():
        assert embedding.tolist() == [onsets[index], onsets[index] + 20]
        assert not message.latency_comparable
