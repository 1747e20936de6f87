"""What was measured offline is what comes live."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import numpy as np
import pytest
from live import serve

from replay.player import LslPlayer
from replay.recordings.recording import Markers, Recording, array_reader
from rtdecode.contracts import Channel, EmbeddingSpace
from training.export import export
from training.fit import LinearSettings, fit
from training.prepare import SignalSettings, prepare
from training.targets import Targets

if TYPE_CHECKING:
    from pathlib import Path

RATE_HZ = 500.0
N_CHANNELS = 8
N_STIMULI = 40
SPACE = EmbeddingSpace(
    encoder="test", weights_sha256="0" * 64, layer="none", pooling="none", preprocessing="none", dim=6
)
SIGNAL = SignalSettings(
    highpass_hz=0.1,
    highpass_order=2,
    lowpass_hz=30.0,
    order=8,
    family="cheby2",
    tmin_s=-0.1,
    tmax_s=0.6,
    resample_hz=100.0,
)
rng = np.random.default_rng(7)
TARGETS = Targets(tuple(f"s{i}" for i in range(N_STIMULI)), rng.normal(size=(N_STIMULI, 6)), SPACE)
MAP = rng.normal(size=(6, N_CHANNELS)) * 4e-6


def session(n_trials: int, offset_v: float, seed: int) -> Recording:
    """Noise of 10 uV with a response to each stimulus, on electrodes that are off by ``offset_v``."""
    noise = np.random.default_rng(seed)
    onsets = 3000 + 120 * np.arange(n_trials)  # a window holds three onsets
    samples = noise.normal(scale=10e-6, size=(int(onsets[-1]) + 800, N_CHANNELS))
    stimuli = noise.integers(N_STIMULI, size=n_trials)
    course = np.exp(-0.5 * ((np.arange(200) - 90) / 20) ** 2)[:, None]
    for onset, stimulus in zip(onsets, stimuli, strict=True):
        samples[onset : onset + 200] += course * (TARGETS.embeddings[stimulus] @ MAP)
    samples += offset_v * np.linspace(-1, 1, N_CHANNELS)
    return Recording(
        name=f"parity-{uuid.uuid4().hex}",
        rate_hz=RATE_HZ,
        channels=tuple(Channel(name=f"E{i}", type="eeg", unit="V") for i in range(N_CHANNELS)),
        n_samples=len(samples),
        markers=Markers(onsets, [f"s{i}" for i in stimuli]),
        reader=array_reader(samples),
        simulated=True,
    )


@pytest.mark.parametrize("offset_v", [0.0, 0.3])
def test_live_embeddings_are_those_of_prepare_on_the_recording(tmp_path: Path, offset_v: float) -> None:
    training = prepare([session(300, offset_v, seed=1)], SIGNAL, tmp_path / "training")
    fitted = fit(training, TARGETS, LinearSettings(penalties=(100.0, 1000.0), baseline_s=(-0.1, 0.0)))
    export(fitted, tmp_path / "decoder.onnx", name="parity", dataset="test")
    test = session(30, offset_v, seed=2)
    trials = prepare([test], SIGNAL, tmp_path / "test")
    offline = fitted.decoder.predict(trials)
    if offset_v:
        assert LslPlayer(test).value_format == "double64"  # float32 would cost 3e-4 SD
    answers = serve(test, tmp_path / "decoder.onnx")
    live = {message.onset_sample: embedding for message, embedding in answers.embeddings.values()}
    assert sorted(live) == trials.trials["onset_sample"].tolist()
    together = np.array([live[onset] for onset in trials.trials["onset_sample"]])
    assert np.max(np.abs(together - offline) / offline.std(axis=0)) <= 1e-4
