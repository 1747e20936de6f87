from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest

from rtdecode.contracts import Channel, ChannelType, DecoderManifest, Unit, Validation, Window
from rtdecode.decoder import MANIFEST_KEY, Decoder
from rtdecode.errors import MismatchError, UserError
from rtdecode.signal.resampling import Resampler, resampling_for, resampling_matrix
from training.export import PARITY, export, read_decoder
from training.fit import Fitted, LinearSettings, fit, split_hash

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from replay.trials import TrialSet
    from training.targets import Targets

    MakeTrials = Callable[..., TrialSet]
    MakeTargets = Callable[..., Targets]

STIMULI = [f"i{k}" for k in range(60)]
SETTINGS = LinearSettings(penalties=(1.0, 100.0), folds=3, clamp=4.0, baseline_s=(-0.1, 0.0))


@pytest.fixture
def fitted(make_trials: MakeTrials, make_targets: MakeTargets) -> Fitted:
    targets = make_targets(60)
    return fit(make_trials(targets, STIMULI), targets, SETTINGS)


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("baseline_s", [None, (-0.1, 0.0)])
@pytest.mark.parametrize("resample_hz", [200.0, 50.0, 47.0])
def test_the_graph_answers_as_the_fit_does(
    tmp_path: Path,
    make_trials: MakeTrials,
    make_targets: MakeTargets,
    resample_hz: float,
    baseline_s: tuple[float, float] | None,
) -> None:
    targets = make_targets(60)
    trials = make_trials(targets, STIMULI, resample_hz=resample_hz)
    fitted = fit(trials, targets, SETTINGS.model_copy(update={"baseline_s": baseline_s}))
    manifest = export(fitted, tmp_path / "out" / "d.onnx", name="d", dataset="made up")
    assert manifest.validation is not None
    assert manifest.validation.scores[PARITY] < 1e-5
    assert _names(tmp_path / "out") == ["d.onnx"]

    decoder = Decoder(tmp_path / "out" / "d.onnx")
    assert decoder.manifest == manifest
    rng = np.random.default_rng(3)
    native = (1e-5 * rng.normal(size=(9, 80, 4)) + 4e-5).astype(np.float32)
    matrix = resampling_matrix(trials.signal.window, 200.0, trials.signal.resampling)
    expected = fitted.decoder((matrix @ native).astype(np.float32))
    for batch in (1, 9):
        found = decoder.run(native[:batch])["image"]
        np.testing.assert_allclose(found, expected[:batch], atol=1e-5 * targets.embeddings.std())


@pytest.mark.parametrize("resample_hz", [200.0, 50.0])
def test_the_graph_shifts_as_the_training_windows_were(
    tmp_path: Path, make_trials: MakeTrials, make_targets: MakeTargets, resample_hz: float
) -> None:
    targets = make_targets(60)
    window = Window(first_sample=-20, last_sample=59)
    shifted = resampling_for(window, 200.0, resample_hz, shift_residual=True)
    trials = make_trials(targets, STIMULI, resampling=shifted)
    fitted = fit(trials, targets, SETTINGS.model_copy(update={"baseline_s": (-0.095, 0.0)}))
    manifest = export(fitted, tmp_path / "d.onnx", name="d", dataset="made up")
    assert manifest.validation is not None
    assert manifest.validation.scores[PARITY] < 1e-5
    decoder = Decoder(tmp_path / "d.onnx")
    resampler = Resampler(trials.signal)
    rng = np.random.default_rng(3)
    native = (1e-5 * rng.normal(size=(9, 80, 4)) + 4e-5).astype(np.float32)
    residual_s = np.linspace(-1.2, 1.2, 9) / 200.0
    windows = [resampler(one, float(s)) for one, s in zip(native, residual_s, strict=True)]
    expected = fitted.decoder(np.stack(windows))
    tolerance = 1e-5 * targets.embeddings.std()
    for n in (1, 9):
        found = decoder.run(native[:n], residual_s=residual_s[:n])["image"]
        np.testing.assert_allclose(found, expected[:n], atol=tolerance)
    unshifted = decoder.run(native, residual_s=np.zeros(9))["image"]
    assert np.abs(unshifted - expected).max() > 100 * tolerance


def test_the_manifest_tells_where_the_decoder_comes_from(tmp_path: Path, fitted: Fitted) -> None:
    validation = Validation(split="run 2", n_trials=7, scores={"top1": 0.5})
    manifest = export(fitted, tmp_path / "d.onnx", name="d", dataset="made up", validation=validation)
    model = onnx.load(tmp_path / "d.onnx")
    stored = {prop.key: prop.value for prop in model.metadata_props}[MANIFEST_KEY]
    assert DecoderManifest.model_validate_json(stored) == manifest
    assert manifest.signal == fitted.trials.signal
    assert manifest.scaling.clamp == 4.0
    assert manifest.scaling.baseline_s == (-0.1, 0.0)
    assert manifest.simulated
    assert manifest.provenance.dataset == "made up"
    assert manifest.provenance.subjects == ("s",)
    assert manifest.provenance.n_trials == 60
    assert manifest.provenance.hours == fitted.trials.hours > 0
    assert manifest.provenance.fold_rule == fitted.fold_rule
    assert manifest.provenance.split_sha256 == split_hash(fitted.trials.trials)
    assert set(manifest.provenance.versions) == {"python", "rtdecode", "numpy", "scipy", "onnx"}
    assert manifest.validation is not None
    assert manifest.validation.n_trials == 7
    assert manifest.validation.scores.keys() == {"top1", PARITY}


def test_without_test_scores_the_cross_validation_speaks(tmp_path: Path, fitted: Fitted) -> None:
    manifest = export(fitted, tmp_path / "d.onnx", name="d", dataset="made up")
    assert manifest.validation is not None
    assert manifest.validation.split.startswith("cross-validation")
    assert manifest.validation.scores["r2"] == fitted.r2


def test_an_exported_decoder_is_read_back(tmp_path: Path, fitted: Fitted) -> None:
    manifest = export(fitted, tmp_path / "d.onnx", name="d", dataset="made up")
    decoder, same = read_decoder(tmp_path / "d.onnx")
    assert same == manifest
    np.testing.assert_array_equal(decoder.predict(fitted.trials), fitted.decoder.predict(fitted.trials))


def test_the_spatial_matrix_may_be_overridden(tmp_path: Path, fitted: Fitted) -> None:
    export(fitted, tmp_path / "d.onnx", name="d", dataset="made up")
    decoder = Decoder(tmp_path / "d.onnx")
    graph = onnx.load(tmp_path / "d.onnx").graph
    assert [node.name for node in graph.input] == ["window", "spatial"]
    assert "spatial" in [tensor.name for tensor in graph.initializer]
    native = (1e-5 * np.random.default_rng(0).normal(size=(2, 80, 4))).astype(np.float32)
    swap = np.eye(4, dtype=np.float32)[[1, 0, 2, 3]]
    swapped = decoder._session.run(None, {"window": native, "spatial": swap})[0]
    np.testing.assert_array_equal(swapped, decoder.run(native[:, :, [1, 0, 2, 3]])["image"])


def _cap(n: int) -> tuple[Channel, ...]:
    """EEG channels spread evenly over the upper half of a head."""
    index = np.arange(n)
    z, turn = index / n, index * np.pi * (3 - np.sqrt(5))
    r = np.sqrt(1 - z**2)
    places = 0.09 * np.column_stack([r * np.cos(turn), r * np.sin(turn), z])
    return tuple(
        Channel(name=f"E{i}", type=ChannelType.EEG, unit=Unit.VOLT, position_m=tuple(place))
        for i, place in enumerate(places.tolist())
    )


def test_a_decoder_that_repairs_hardly_misses_a_channel(
    tmp_path: Path, make_trials: MakeTrials, make_targets: MakeTargets
) -> None:
    # Fields as smooth as the scalp makes them: the targets set their gradients.
    targets, channels = make_targets(60, dim=3), _cap(24)
    fields = np.array([channel.position_m for channel in channels]).T / 0.09
    course = np.exp(-0.5 * ((np.arange(80) - 45) / 12) ** 2)
    clean = np.einsum("nd,dc,t->ntc", targets.embeddings, fields, course)
    windows = 1e-5 * (clean + 0.02 * np.random.default_rng(4).normal(size=clean.shape))
    trials = make_trials(targets, STIMULI, windows=windows, n_channels=24, channels=channels)
    fitted = fit(trials, targets, LinearSettings(penalties=(1.0, 10.0, 100.0), folds=3))
    manifest = export(fitted, tmp_path / "d.onnx", name="d", dataset="made up", max_missing=2)
    assert (manifest.on_missing, manifest.max_missing) == ("repair", 2)

    decoder = Decoder(tmp_path / "d.onnx")
    native = windows.astype(np.float32)
    whole = decoder.run(native)["image"]
    there = [i for i in range(24) if i not in (9, 14)]
    binding = decoder.bind("cap", [channels[i] for i in there], 200.0)
    assert binding.missing == ("E9", "E14")
    lacking = np.stack([binding.select(window) for window in native[:, :, there]])
    repaired = decoder.run(lacking, binding.repair)["image"]
    unrepaired = decoder.run(lacking)["image"]
    assert np.isfinite(repaired).all()
    sd = whole.std(axis=0)
    assert np.abs((repaired - whole) / sd).max() < 0.1
    assert np.abs((unrepaired - whole) / sd).max() > 0.2
    with pytest.raises(MismatchError, match="it rebuilds at most 2"):
        decoder.bind("cap", channels[3:], 200.0)


def test_a_repair_that_cannot_be_is_not_promised(
    tmp_path: Path, make_trials: MakeTrials, make_targets: MakeTargets
) -> None:
    targets = make_targets(60)

    def refused(channels: tuple[Channel, ...], max_missing: int) -> str:
        trials = make_trials(targets, STIMULI, n_channels=len(channels), channels=channels)
        with pytest.raises(UserError) as caught:
            export(
                fit(trials, targets, SETTINGS),
                tmp_path / "d.onnx",
                name="d",
                dataset="",
                max_missing=max_missing,
            )
        assert not (tmp_path / "d.onnx").exists()
        return str(caught.value)

    cap = _cap(6)
    assert "leaves fewer than 4" in refused(cap, 3)
    nowhere = cap[0].model_copy(update={"position_m": None})
    assert "no position of E0" in refused((nowhere, *cap[1:]), 1)
    magnetometer = cap[0].model_copy(update={"type": ChannelType.MAG, "unit": Unit.TESLA})
    assert "E0 are none" in refused((magnetometer, *cap[1:]), 1)


@pytest.mark.parametrize("part", ["weights", "bias", "center", "scale"])
def test_numbers_that_are_not_finite_are_refused(tmp_path: Path, fitted: Fitted, part: str) -> None:
    broken = getattr(fitted.decoder, part).copy()
    broken.flat[0] = np.nan
    bad = replace(fitted, decoder=replace(fitted.decoder, **{part: broken}))
    (tmp_path / "d.onnx").write_text("the old one")
    with pytest.raises(UserError, match="NaN or infinity"):
        export(bad, tmp_path / "d.onnx", name="d", dataset="made up")
    assert (tmp_path / "d.onnx").read_text() == "the old one"


@pytest.mark.parametrize("lowpass_hz", [None, 40.0])
def test_a_front_end_that_aliases_is_refused(
    tmp_path: Path, make_trials: MakeTrials, make_targets: MakeTargets, lowpass_hz: float | None
) -> None:
    targets = make_targets(60)
    fitted = fit(make_trials(targets, STIMULI, lowpass_hz=lowpass_hz), targets, SETTINGS)
    with pytest.raises(
        UserError, match=r"resampling to 50 Hz would alias: from 25 Hz on .* lower lowpass_hz"
    ):
        export(fitted, tmp_path / "d.onnx", name="d", dataset="made up")
    assert not list(tmp_path.glob("*.onnx"))


def test_the_native_rate_needs_no_low_pass(
    tmp_path: Path, make_trials: MakeTrials, make_targets: MakeTargets
) -> None:
    targets = make_targets(60)
    trials = make_trials(targets, STIMULI, lowpass_hz=None, resample_hz=200.0, keep_native=False)
    export(fit(trials, targets, SETTINGS), tmp_path / "d.onnx", name="d", dataset="made up")
    assert (tmp_path / "d.onnx").is_file()


def test_a_decoder_that_cannot_be_checked_is_refused(
    tmp_path: Path, make_trials: MakeTrials, make_targets: MakeTargets
) -> None:
    targets = make_targets(60)
    fitted = fit(make_trials(targets, STIMULI, keep_native=False), targets, SETTINGS)
    with pytest.raises(UserError, match="no native windows"):
        export(fitted, tmp_path / "d.onnx", name="d", dataset="made up")


def test_a_graph_that_differs_from_the_fit_is_refused(
    tmp_path: Path, make_trials: MakeTrials, make_targets: MakeTargets
) -> None:
    # 0.3 V of offset in a signal of microvolts, and no high-pass: single precision has no digits left.
    targets = make_targets(60)
    rng = np.random.default_rng(0)
    native = 0.3 + 1e-6 * rng.normal(size=(60, 80, 4))
    fitted = fit(make_trials(targets, STIMULI, windows=native), targets, SETTINGS)
    with pytest.raises(UserError, match="give a highpass_hz"):
        export(fitted, tmp_path / "d.onnx", name="d", dataset="made up")
    assert not list(tmp_path.glob("*onnx*"))


def test_a_place_that_cannot_be_written_to_is_told(tmp_path: Path, fitted: Fitted) -> None:
    (tmp_path / "out").write_text("a file, not a folder")
    with pytest.raises(UserError, match="cannot write"):
        export(fitted, tmp_path / "out" / "d.onnx", name="d", dataset="made up")


def test_training_and_export_need_no_torch() -> None:
    code = "import sys, training.cli, training.export; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
