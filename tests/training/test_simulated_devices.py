"""Simulated subjects of each device, from the recording to live answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pytest

from replay.datasets.simulated import (
    EegSettings,
    Fmri3tSettings,
    Fmri7tSettings,
    MegSettings,
    SimulatedSubject,
    SubjectSettings,
)
from replay.virtual import run_virtual
from rtdecode.contracts import EmbeddingSpace, Verdict
from rtdecode.decoder import Decoder
from rtdecode.signal.design import running_detrend, running_zscore
from training.export import export
from training.fit import LinearSettings, fit
from training.metrics import pearson
from training.prepare import SignalSettings, prepare
from training.targets import Targets

if TYPE_CHECKING:
    from pathlib import Path

    from replay.recordings.recording import Recording
    from rtdecode.contracts import DecoderManifest

DIM, N_TRAIN, N_TEST = 12, 200, 60
FAST = SignalSettings(
    highpass_hz=0.1,
    highpass_order=1,
    lowpass_hz=40.0,
    order=8,
    family="cheby2",
    tmin_s=-0.1,
    tmax_s=0.5,
    resample_hz=120.0,
)
SLOW = SignalSettings(running=(running_detrend(60.0), running_zscore(60.0)), tmin_s=3.0, tmax_s=9.0)


@dataclass(frozen=True)
class Way:
    dials: SubjectSettings
    signal: SignalSettings
    soa_s: float
    lead_in_s: float
    baseline_s: tuple[float, float] | None = None


WAYS = {
    "EEG": Way(EegSettings(), FAST, 0.55, 12.0, (-0.1, 0.0)),
    "MEG": Way(MegSettings(), FAST, 0.55, 12.0, (-0.1, 0.0)),
    "3T": Way(Fmri3tSettings(), SLOW, 4.5, 130.0),
    "7T": Way(Fmri7tSettings(), SLOW, 4.8, 130.0),
}


@dataclass(frozen=True)
class Result:
    test: Recording
    decoder: Path
    manifest: DecoderManifest
    offline: np.ndarray
    score: float


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Result]:
    """Each device: one session trained on, a later one decoded; every dial as it comes."""
    rng = np.random.default_rng(0)
    space = EmbeddingSpace(
        encoder="made-up",
        weights_sha256="0" * 64,
        layer="last",
        pooling="none",
        preprocessing="none",
        dim=DIM,
    )
    names = tuple(f"i{k}" for k in range(N_TRAIN + N_TEST))
    targets = Targets(names, rng.normal(size=(len(names), DIM)).astype(np.float32), space)
    found = {}
    for name, way in WAYS.items():
        folder = tmp_path_factory.mktemp(name)
        subject = SimulatedSubject(way.dials, targets.embeddings)
        train, test = (
            subject.session(shown, targets.of(shown), way.soa_s, session, way.lead_in_s)
            for session, shown in ((1, names[:N_TRAIN]), (2, names[N_TRAIN:]))
        )
        fitted = fit(
            prepare([train], way.signal, folder / "train"), targets, LinearSettings(baseline_s=way.baseline_s)
        )
        manifest = export(fitted, folder / "decoder.onnx", name="decoder", dataset="simulated")
        trials = prepare([test], way.signal, folder / "test")
        offline = fitted.decoder.predict(trials)
        score = pearson(offline, targets.of(trials.trials["stimulus_id"]))
        found[name] = Result(test, folder / "decoder.onnx", manifest, offline, score)
    return found


@pytest.mark.parametrize("name", WAYS)
def test_a_device_goes_from_recording_to_live_answers(name: str, results: dict[str, Result]) -> None:
    result = results[name]
    assert result.manifest.simulated
    run = run_virtual(result.test, [Decoder(result.decoder)])
    assert {message.verdict for message in run.verdicts} == {Verdict.EMITTED}
    assert all(message.simulated for message in run.messages)
    live = np.stack(run.embeddings["decoder", "image"])
    assert live.shape == result.offline.shape
    np.testing.assert_allclose(live, result.offline, atol=1e-4 * result.offline.std())


def test_single_trials_tell_more_from_eeg_to_meg_to_3_t_to_7_t(results: dict[str, Result]) -> None:
    eeg, meg, three, seven = (results[name].score for name in ("EEG", "MEG", "3T", "7T"))
    assert 0.05 < eeg < meg - 0.05
    assert meg < three - 0.05
    assert three < seven - 0.03
    assert seven < 0.9
