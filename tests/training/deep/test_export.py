from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
import torch
from live import serve

from replay.datasets.simulated import EegSettings, Fmri3tSettings, SimulatedSubject
from rtdecode.contracts import Channel, ChannelType, HeadRole, Unit, Verdict
from rtdecode.decoder import Decoder
from rtdecode.errors import UserError
from rtdecode.signal.design import running_detrend, running_zscore
from training.deep.export import export_deep
from training.deep.fit import DeepFitted, fit_deep
from training.deep.settings import FmriModel, MeegModel
from training.export import PARITY
from training.networks.settings import FmriSettings, MeegSettings
from training.prepare import SignalSettings, prepare

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from replay.trials import TrialSet
    from training.targets import Targets

    MakeTrials = Callable[..., TrialSet]
    MakeTargets = Callable[..., Targets]

CHANNELS = tuple(
    Channel(name=f"C{k}", type=ChannelType.EEG, unit=Unit.VOLT, position_m=(x, y, 0.07))
    for k, (x, y) in enumerate([(0.05, 0.0), (-0.05, 0.0), (0.0, 0.06), (0.0, -0.06)])
)
MODELS: dict[str, MeegModel | FmriModel] = {
    "meeg": MeegModel(
        network=MeegSettings(n_virtual=10, n_fourier=32, n_hidden=10, n_features=12, sensor_dropout=0.1),
        max_epochs=2,
        learning_rate=1e-2,
        baseline_s=(-0.1, 0.0),
    ),
    "fmri": FmriModel(network=FmriSettings(n_hidden=16), max_epochs=2, learning_rate=1e-2),
}
N = 80


@pytest.fixture(params=MODELS)
def fitted(request: pytest.FixtureRequest, make_trials: MakeTrials, make_targets: MakeTargets) -> DeepFitted:
    targets = make_targets(N)
    subjects = ["a", "b"] * (N // 2)
    trials = make_trials(targets, list(targets.stimulus_ids), channels=CHANNELS, subjects=subjects)
    return fit_deep(trials, targets, MODELS[request.param])


def test_the_graph_answers_as_the_network_does_for_the_person_that_is_named(
    tmp_path: Path, fitted: DeepFitted
) -> None:
    trials = fitted.trials
    rows, native = trials.native_windows()
    for subject in ("a", "b"):
        path = tmp_path / f"{subject}.onnx"
        manifest = export_deep(fitted, path, name=subject, dataset="made up", subject=subject)
        assert manifest.validation is not None
        assert manifest.validation.scores.keys() == {"loss", "pearson", PARITY}
        assert manifest.validation.scores[PARITY] < 1e-5
        assert [head.role for head in manifest.heads] == [HeadRole.RETRIEVAL, HeadRole.RECONSTRUCTION]
        assert manifest.provenance.model == f"deep {fitted.decoder.model.kind}"
        assert {"torch", "lightning"} <= manifest.provenance.versions.keys()
        decoder = Decoder(path)
        assert decoder.manifest == manifest
        number = fitted.decoder.subject_numbers([subject])
        expected = fitted.decoder(trials.windows(rows), number.repeat(len(rows)))
        for n in (1, len(rows)):
            found = decoder.run(native[:n])
            for head in manifest.heads:
                tolerance = 1e-5 * np.mean(head.target_sd)
                np.testing.assert_allclose(found[head.name], expected[head.name][:n], atol=tolerance)
    there = {tensor.op_type for tensor in onnx.load(tmp_path / "a.onnx").graph.node}
    assert "BatchNormalization" not in there
    assert "Softmax" not in there


def test_what_cannot_be_exported_is_told(tmp_path: Path, fitted: DeepFitted) -> None:
    def exported(of: DeepFitted, subject: str | None) -> None:
        export_deep(of, tmp_path / "d.onnx", name="d", dataset="made up", subject=subject)

    with pytest.raises(UserError, match="say whose decoder to export: it knows a, b"):
        exported(fitted, None)
    with pytest.raises(UserError, match="does not know subject c"):
        exported(fitted, "c")
    only_b = fitted.trials.select(fitted.trials.trials["subject"] == "b")
    with pytest.raises(UserError, match="keeps no native windows"):
        exported(dataclasses.replace(fitted, trials=only_b), "a")
    with torch.no_grad():
        next(iter(fitted.decoder.network.parameters()))[0] = torch.nan
    with pytest.raises(UserError, match="hold NaN or infinity"):
        exported(fitted, "a")
    assert list(tmp_path.glob("*.onnx")) == []


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


@pytest.mark.parametrize("kind", MODELS)
def test_a_simulated_subject_is_decoded_live_as_offline(
    tmp_path: Path, make_targets: MakeTargets, kind: str
) -> None:
    """EEG and fMRI at 3 T: fitted, exported, served over LSL."""
    targets = make_targets(60, dim=12)
    names = targets.stimulus_ids
    dials, signal, soa_s, lead_in_s, speed = {
        "meeg": (EegSettings(), FAST, 0.55, 12.0, 4.0),
        "fmri": (Fmri3tSettings(), SLOW, 4.5, 130.0, 30.0),
    }[kind]
    subject = SimulatedSubject(dials, targets.embeddings)
    train, test = (
        subject.session(shown, targets.of(shown), soa_s, session, lead_in_s)
        for session, shown in ((1, names[:50]), (2, names[50:]))
    )
    fitted = fit_deep(prepare([train], signal, tmp_path / "train"), targets, MODELS[kind])
    manifest = export_deep(fitted, tmp_path / "deep.onnx", name="deep", dataset="simulated")
    assert manifest.simulated
    trials = prepare([test], signal, tmp_path / "test")
    offline = dict(zip(trials.trials["onset_sample"], fitted.decoder.predict(trials), strict=True))
    answers = serve(test, tmp_path / "deep.onnx", speed=speed)
    assert {message.verdict for message in answers.verdicts.values()} == {Verdict.EMITTED}
    live = {message.onset_sample: embedding for message, embedding in answers.embeddings.values()}
    assert len(live) == 10
    assert live.keys() == offline.keys()
    differences = np.array([live[onset] - offline[onset] for onset in offline])
    assert np.max(np.abs(differences) / fitted.decoder.head.target_sd) < 1e-4
