from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from rtdecode.errors import MismatchError, UserError
from training.fit import LinearSettings, baseline_weights, fit, split_hash
from training.metrics import pearson

if TYPE_CHECKING:
    from collections.abc import Callable

    from replay.trials import TrialSet
    from training.targets import Targets

    MakeTrials = Callable[..., TrialSet]
    MakeTargets = Callable[..., Targets]

STIMULI = [f"i{k % 60}" for k in range(120)]
SETTINGS = LinearSettings(penalties=(1.0, 10.0, 100.0, 1000.0), folds=3)


def test_a_linear_world_is_decoded(make_trials: MakeTrials, make_targets: MakeTargets) -> None:
    targets = make_targets(90)
    trials = make_trials(targets, STIMULI + [f"i{60 + k}" for k in range(30)])
    new = trials.select(np.arange(120, 150))
    fitted = fit(trials.select(np.arange(120)), targets, SETTINGS)
    predictions = fitted.decoder.predict(new)
    assert predictions.shape == (30, 6)
    assert predictions.dtype == np.float32
    assert pearson(predictions, targets.of(new.trials["stimulus_id"])) > 0.9
    # Raw units: nothing is left of the standardisation.
    assert np.abs(predictions - targets.of(new.trials["stimulus_id"])).mean() < 0.3 * targets.embeddings.std()
    assert fitted.r2 is not None
    assert fitted.r2 > 0.8
    assert fitted.fold_rule.startswith("by stimulus: 60 stimuli in 3 folds")
    assert fitted.decoder.signal == trials.signal


def test_test_trials_leave_no_trace_in_the_fit(make_trials: MakeTrials, make_targets: MakeTargets) -> None:
    targets = make_targets(60)
    runs = ["1"] * 80 + ["2"] * 40
    rng = np.random.default_rng(0)
    windows = rng.normal(size=(120, 80, 4))
    clean = make_trials(targets, STIMULI, windows=windows, runs=runs)
    windows[80:] = 1e6 * rng.normal(size=(40, 80, 4))
    poisoned = make_trials(targets, STIMULI[:80] + ["i0"] * 40, windows=windows, runs=runs)

    def training(trials: TrialSet) -> TrialSet:
        return trials.select(trials.trials["run"] == "1")

    a, b = fit(training(clean), targets, SETTINGS), fit(training(poisoned), targets, SETTINGS)
    for part in ("center", "scale", "weights", "bias"):
        np.testing.assert_array_equal(getattr(a.decoder, part), getattr(b.decoder, part))
    assert a.decoder.head == b.decoder.head
    assert a.r2 == b.r2
    np.testing.assert_array_equal(a.penalties, b.penalties)


def test_scaling_is_the_median_and_interquartile_range_of_the_training_trials(
    make_trials: MakeTrials, make_targets: MakeTargets
) -> None:
    targets = make_targets(60)
    trials = make_trials(targets, STIMULI)
    decoder = fit(trials.select(np.arange(50)), targets, SETTINGS).decoder
    seen = trials.windows(np.arange(50)).reshape(-1, 4)
    np.testing.assert_allclose(decoder.center, np.median(seen, axis=0), rtol=1e-5)
    spread = np.subtract(*np.percentile(seen, (75, 25), axis=0)) / 1.349
    np.testing.assert_allclose(decoder.scale, spread, rtol=1e-5)


def test_predictions_are_those_of_the_formula(make_trials: MakeTrials, make_targets: MakeTargets) -> None:
    targets = make_targets(60)
    trials = make_trials(targets, STIMULI)
    settings = LinearSettings(penalties=(10.0,), clamp=1.5, baseline_s=(-0.1, 0.0))
    decoder = fit(trials, targets, settings).decoder
    windows = trials.windows([3, 7]).astype(np.float64)
    times = -0.1 + np.arange(windows.shape[1]) / 50
    windows -= windows[:, times < 0.01].mean(axis=1, keepdims=True)
    scaled = np.clip((windows - decoder.center) / decoder.scale, -1.5, 1.5)
    assert (np.abs(scaled) == 1.5).any()
    standardised = scaled.reshape(2, -1) @ decoder.weights + decoder.bias
    expected = standardised * decoder.head.target_sd + decoder.head.target_mean
    np.testing.assert_allclose(decoder.predict(trials.select([3, 7])), expected, rtol=1e-4, atol=1e-5)


def test_the_mean_of_a_window_is_decoded_with_weights_that_its_points_share(
    make_trials: MakeTrials, make_targets: MakeTargets
) -> None:
    targets = make_targets(3)
    stimuli = [f"i{k % 3}" for k in range(60)]
    rng = np.random.default_rng(3)
    state = targets.of(stimuli) @ rng.normal(size=(6, 40))
    noise = 40 * rng.normal(size=(60, 80, 20)) @ rng.normal(size=(20, 40)) + rng.normal(size=(60, 80, 40))
    trials = make_trials(
        targets,
        stimuli,
        windows=1e-5 * (state[:, None] + noise),
        n_channels=40,
        lowpass_hz=None,
        runs=[f"{k // 6}" for k in range(60)],
    )
    train = trials.select(np.arange(54))
    settings = LinearSettings(penalties=SETTINGS.penalties, average_times=True)
    fitted = fit(train, targets, settings)
    weights = fitted.decoder.weights.reshape(-1, 40, 6)
    np.testing.assert_array_equal(weights, np.broadcast_to(weights[0], weights.shape))
    test = trials.select(np.arange(54, 60))
    mean = test.windows().mean(axis=1, keepdims=True).repeat(len(weights), axis=1)
    np.testing.assert_allclose(fitted.decoder.predict(test), fitted.decoder(mean), rtol=1e-4, atol=1e-4)
    assert fitted.fold_rule == "by run: 9 runs in 5 folds"
    # the noise that comes and goes within windows of one state tells which directions to mistrust
    apart = fit(train, targets, SETTINGS).decoder.predict(test)
    truth = targets.of(test.trials["stimulus_id"])
    assert pearson(fitted.decoder.predict(test), truth) > 0.8 > pearson(apart, truth)


def test_an_artefact_is_clamped(make_trials: MakeTrials, make_targets: MakeTargets) -> None:
    targets = make_targets(60)
    trials = make_trials(targets, STIMULI)
    decoder = fit(trials, targets, SETTINGS).decoder
    window = trials.windows([0])
    window[0, 3:6, 1] = 1e-2
    higher = window.copy()
    higher[0, 3:6, 1] = 1.0
    np.testing.assert_array_equal(decoder(window), decoder(higher))


def test_trials_without_a_target_are_left_out_and_counted(
    make_trials: MakeTrials, make_targets: MakeTargets
) -> None:
    targets = make_targets(60)
    trials = make_trials(targets, [*STIMULI, "", "", "unheard of"])
    fitted = fit(trials, targets, SETTINGS)
    assert fitted.left_out == {"stimulus unknown": 2, "stimulus without target": 1}
    assert len(fitted.trials) == 120


def test_targets_are_standardised_by_training_statistics(
    make_trials: MakeTrials, make_targets: MakeTargets
) -> None:
    targets = make_targets(60)
    targets.embeddings[:, 2] = 0.1
    trials = make_trials(targets, [f"i{k % 20}" for k in range(60)])
    head = fit(trials, targets, SETTINGS).decoder.head
    seen = targets.embeddings[[k % 20 for k in range(60)]].astype(np.float64)
    np.testing.assert_allclose(head.target_mean, seen.mean(axis=0))
    expected = seen.std(axis=0)
    expected[2] = 0
    np.testing.assert_allclose(head.target_sd, expected)
    np.testing.assert_allclose(fit(trials, targets, SETTINGS).decoder.predict(trials)[:, 2], 0.1, rtol=1e-5)


def test_penalties_at_the_edge_and_flat_channels_are_told(
    make_trials: MakeTrials, make_targets: MakeTargets
) -> None:
    targets = make_targets(60)
    native = 1e-5 * np.random.default_rng(0).normal(size=(120, 80, 4))
    native[:, :, 2] = 0
    trials = make_trials(targets, STIMULI, windows=native)
    fitted = fit(trials, targets, LinearSettings(penalties=(1e-3, 1e-2), folds=2, per_target=False))
    assert len(fitted.warnings) == 2
    assert "flat and tell nothing: C2" in fitted.warnings[0]
    assert "largest penalty, 0.01, was chosen for all targets" in fitted.warnings[1]
    assert np.isfinite(fitted.decoder.weights).all()


def test_one_penalty_needs_no_folds(make_trials: MakeTrials, make_targets: MakeTargets) -> None:
    targets = make_targets(60)
    fitted = fit(make_trials(targets, STIMULI[:3]), targets, LinearSettings(penalties=(10.0,)))
    assert fitted.r2 is None
    assert fitted.fold_rule == "none: one penalty given"
    assert fitted.warnings == ()


def test_trials_of_another_front_end_are_not_decoded(
    make_trials: MakeTrials, make_targets: MakeTargets
) -> None:
    targets = make_targets(60)
    decoder = fit(make_trials(targets, STIMULI), targets, SETTINGS).decoder
    with pytest.raises(MismatchError, match="another front end"):
        decoder.predict(make_trials(targets, STIMULI, lowpass_hz=9.0))


def test_too_few_trials_are_refused(make_trials: MakeTrials, make_targets: MakeTargets) -> None:
    targets = make_targets(60)
    with pytest.raises(UserError, match="0 training trials have a target"):
        fit(make_trials(targets, ["x", "y"]), targets)


@pytest.mark.parametrize("baseline_s", [(-0.5, 0.0), (0.2, 0.9), (0.1, -0.1)])
def test_a_baseline_outside_the_window_is_refused(
    make_trials: MakeTrials, make_targets: MakeTargets, baseline_s: tuple[float, float]
) -> None:
    signal = make_trials(make_targets(3), ["i0"]).signal
    with pytest.raises(UserError, match=r"does not lie in the window, -0\.1 to 0\.28"):
        baseline_weights(signal, baseline_s)


def test_the_split_hash_tells_trials_and_not_their_order(
    make_trials: MakeTrials, make_targets: MakeTargets
) -> None:
    trials = make_trials(make_targets(60), STIMULI).trials
    assert split_hash(trials) == split_hash(trials.sample(frac=1, random_state=0))
    assert split_hash(trials) != split_hash(trials.iloc[1:])
