from __future__ import annotations

import csv
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from rtdecode.contracts import Channel, ChannelType, Unit
from rtdecode.errors import UserError
from training.deep.decoder import DeepDecoder
from training.deep.fit import DeepFitted, fit_deep
from training.deep.settings import DECODER, FmriModel, MeegModel
from training.evaluate import evaluate
from training.fit import LinearSettings, fit
from training.metrics import pearson
from training.networks.settings import FmriSettings, LossSettings, MeegSettings

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
SIZES = MeegSettings(
    n_virtual=6, n_fourier=8, sensor_dropout=0.1, n_hidden=12, dilations=((1, 2),), n_features=16
)
FAST: dict[str, Any] = {"learning_rate": 5e-3, "batch": 32, "max_epochs": 4, "folds": 4}
MEEG = MeegModel(network=SIZES, baseline_s=(-0.1, 0.0), **FAST)
FMRI = FmriModel(network=FmriSettings(n_hidden=16, dropout=0.2), **FAST)
STIMULI = [f"i{k % 60}" for k in range(120)]


def weights(fitted: DeepFitted) -> dict[str, np.ndarray]:
    return {name: value.numpy() for name, value in fitted.decoder.network.state_dict().items()}


def assert_same_fit(found: DeepFitted, expected: DeepFitted) -> None:
    assert found.curve == expected.curve
    for name, value in weights(expected).items():
        np.testing.assert_array_equal(weights(found)[name], value)


@pytest.fixture
def targets(make_targets: MakeTargets) -> Targets:
    return make_targets(90)


@pytest.fixture
def trials(make_trials: MakeTrials, targets: Targets) -> TrialSet:
    return make_trials(targets, STIMULI, channels=CHANNELS)


@pytest.mark.parametrize("model", [MEEG, FMRI], ids=["meeg", "fmri"])
def test_what_was_fitted_decodes_images_that_it_never_saw(
    make_trials: MakeTrials, targets: Targets, model: MeegModel | FmriModel
) -> None:
    trials = make_trials(targets, STIMULI * 2 + [f"i{60 + k}" for k in range(30)], channels=CHANNELS)
    fitted = fit_deep(
        trials.select(np.arange(240)), targets, model.model_copy(update={"max_epochs": 40, "patience": 40})
    )
    test = trials.select(np.arange(240, 270))
    assert evaluate(fitted.decoder, test, targets).top1 > 0.3  # by chance 1 / 30
    predictions = fitted.decoder.with_head_first("reconstruction").predict(test)
    assert predictions.dtype == np.float32
    assert pearson(predictions, targets.of(test.trials["stimulus_id"])) > 0.5
    curve = [row["validation_loss"] for row in fitted.curve]
    assert fitted.best_epoch == 1 + int(np.argmin(curve))
    assert min(curve) < curve[0]
    assert fitted.fold_rule.startswith("best epoch on the last fold, by stimulus: 60 stimuli in 4 folds")
    assert fitted.validation.scores["loss"] == min(curve)


def test_the_same_seed_gives_the_same_weights(trials: TrialSet, targets: Targets) -> None:
    first = fit_deep(trials, targets, MEEG)
    assert_same_fit(fit_deep(trials, targets, MEEG), first)
    other = fit_deep(trials, targets, MEEG.model_copy(update={"seed": 1}))
    assert other.curve != first.curve


@pytest.mark.parametrize("model", [MEEG, FMRI], ids=["meeg", "fmri"])
def test_a_fit_that_was_killed_goes_on_as_if_nothing_had_been(
    tmp_path: Path, trials: TrialSet, targets: Targets, model: MeegModel | FmriModel
) -> None:
    model = model.model_copy(update={"schedule": "cosine", "warmup_epochs": 1})
    unbroken = fit_deep(trials, targets, model, tmp_path / "unbroken")
    steps = len({row["step"] for row in unbroken.curve}) and int(unbroken.curve[0]["step"])

    def killed(done: int, _total: int) -> None:
        if done == 2 * steps + 1:
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        fit_deep(trials, targets, model, tmp_path / "broken", killed)
    fitted = fit_deep(trials, targets, model, tmp_path / "broken")
    assert fitted.resumed_after == 2
    assert_same_fit(fitted, unbroken)
    for file in ("curve.csv", DECODER):
        assert (tmp_path / "broken" / file).read_bytes() == (tmp_path / "unbroken" / file).read_bytes()
    assert sorted(path.name for path in (tmp_path / "broken").iterdir()) == ["curve.csv", DECODER]
    with (tmp_path / "broken" / "curve.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2", "3", "4"]


def test_other_settings_do_not_go_on_from_a_killed_fit(
    tmp_path: Path, trials: TrialSet, targets: Targets
) -> None:
    def killed(done: int, _total: int) -> None:
        if done == 5:
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        fit_deep(trials, targets, MEEG, tmp_path, killed)
    assert fit_deep(trials, targets, MEEG.model_copy(update={"seed": 1}), tmp_path).resumed_after == 0


def test_what_the_test_trials_hold_changes_nothing(make_trials: MakeTrials, targets: Targets) -> None:
    """Neither the weights nor the epoch at which the fit ends."""
    rng = np.random.default_rng(0)
    runs = ["1"] * 80 + ["2"] * 40
    windows = rng.normal(size=(120, 80, 4))
    clean = make_trials(targets, STIMULI, windows=windows, runs=runs, channels=CHANNELS)
    windows[80:] *= 1e6
    poisoned = make_trials(targets, STIMULI[:80] + ["i0"] * 40, windows=windows, runs=runs, channels=CHANNELS)
    model = MEEG.model_copy(update={"patience": 1, "max_epochs": 12})
    first, second = (
        fit_deep(part.select(part.trials["run"] == "1"), targets, model) for part in (clean, poisoned)
    )
    assert len(first.curve) < 12  # noise: nothing to gain
    assert len(first.curve) == first.best_epoch + 1
    assert_same_fit(second, first)


def test_windows_are_scaled_as_for_a_linear_decoder(trials: TrialSet, targets: Targets) -> None:
    deep = fit_deep(trials, targets, MEEG.model_copy(update={"max_epochs": 1})).decoder
    linear = fit(trials, targets, LinearSettings(penalties=(10.0,), baseline_s=(-0.1, 0.0))).decoder
    np.testing.assert_array_equal(deep.center[0], linear.center)
    np.testing.assert_array_equal(deep.scale[0], linear.scale)
    assert deep.scaling == linear.scaling
    assert deep.head.target_mean == linear.head.target_mean
    assert deep.head.target_sd == linear.head.target_sd


@pytest.mark.parametrize(
    ("weight", "heads"),
    [(1.0, ["retrieval"]), (0.0, ["reconstruction"]), (0.5, ["retrieval", "reconstruction"])],
)
def test_there_is_a_head_for_each_part_of_the_loss(
    trials: TrialSet, targets: Targets, weight: float, heads: list[str]
) -> None:
    loss = LossSettings(weight=weight, contrast="siglip")
    model = FMRI.model_copy(update={"loss": loss, "max_epochs": 1, "optimiser": "adam"})
    assert [head.name for head in fit_deep(trials, targets, model).decoder.heads] == heads


def test_a_batch_of_one_image_s_repeats_holds_no_contrast(
    make_trials: MakeTrials, make_targets: MakeTargets
) -> None:
    targets = make_targets(2)
    trials = make_trials(targets, ["i0"] * 40, channels=CHANNELS, runs=[str(k // 5) for k in range(40)])
    fitted = fit_deep(
        trials, targets, FMRI.model_copy(update={"max_epochs": 1, "loss": LossSettings(weight=1)})
    )
    assert fitted.curve[0]["loss"] == 0.0


def test_a_fitted_decoder_is_read_back(tmp_path: Path, trials: TrialSet, targets: Targets) -> None:
    fitted = fit_deep(trials, targets, MEEG.model_copy(update={"max_epochs": 1}), tmp_path)
    same = DeepDecoder.load(tmp_path / DECODER)
    np.testing.assert_array_equal(same.predict(trials), fitted.decoder.predict(trials))
    assert same.model == fitted.decoder.model
    assert same.heads == fitted.decoder.heads
    (tmp_path / DECODER).write_bytes((tmp_path / DECODER).read_bytes()[:-10])
    with pytest.raises(UserError, match="no deep decoder of this version"):
        DeepDecoder.load(tmp_path / DECODER)
    with pytest.raises(UserError, match="no deep decoder at"):
        DeepDecoder.load(tmp_path / "nothing")


@pytest.fixture
def two_people(make_trials: MakeTrials, targets: Targets) -> TrialSet:
    """The second one's channels are the first one's turned round, and so is a third one's."""
    rng = np.random.default_rng(2)
    mixing = rng.normal(size=(6, 80, 4))
    clean = np.tensordot(targets.of(STIMULI * 3), mixing, 1)
    windows = clean + 0.5 * rng.normal(size=clean.shape)
    windows[120:] = 3 * windows[120:, :, ::-1]
    return make_trials(
        targets,
        STIMULI * 3,
        windows=1e-5 * windows,
        channels=CHANNELS,
        subjects=["a"] * 120 + ["b"] * 120 + ["c"] * 120,
    )


@pytest.mark.parametrize("model", [MEEG, FMRI], ids=["meeg", "fmri"])
def test_people_have_scaling_and_a_layer_of_their_own_and_a_new_one_is_added_with_that_alone(
    tmp_path: Path, two_people: TrialSet, targets: Targets, model: MeegModel | FmriModel
) -> None:
    subject = two_people.trials["subject"]
    both = fit_deep(
        two_people.select(subject != "c"), targets, model.model_copy(update={"max_epochs": 20}), tmp_path
    )
    assert both.decoder.subjects == ("a", "b")
    ratio = both.decoder.scale[1] / both.decoder.scale[0][::-1]
    np.testing.assert_allclose(ratio, 3, rtol=0.2)
    for name in ("a", "b"):
        assert evaluate(both.decoder, two_people.select(subject == name), targets).top1 > 0.2

    new = two_people.select(subject == "c")
    with pytest.raises(UserError, match="does not know subject c: it was fitted on a, b"):
        both.decoder.predict(new)
    tuned = fit_deep(
        new, targets, model.model_copy(update={"start_from": tmp_path / DECODER, "max_epochs": 10})
    ).decoder
    assert tuned.subjects == ("c",)
    own = ("body.subject_layer.", "body.subject_layers.")
    there = both.decoder.network.state_dict()
    for name, value in tuned.network.state_dict().items():
        if name.startswith(own):
            continue
        np.testing.assert_array_equal(value.numpy(), there[name].numpy(), err_msg=name)
    assert evaluate(tuned, new, targets).top1 > 0.2


def test_a_start_that_does_not_fit_is_told(
    tmp_path: Path, trials: TrialSet, targets: Targets, make_targets: MakeTargets
) -> None:
    fit_deep(trials, targets, MEEG.model_copy(update={"max_epochs": 1}), tmp_path)
    start = {"start_from": tmp_path / DECODER}
    with pytest.raises(UserError, match="fitted on subject s already"):
        fit_deep(trials, targets, MEEG.model_copy(update=start))
    with pytest.raises(UserError, match='of kind "meeg", not "fmri"'):
        fit_deep(trials, targets, FMRI.model_copy(update=start))
    with pytest.raises(UserError, match="no deep decoder at"):
        fit_deep(trials, targets, FMRI.model_copy(update={"start_from": tmp_path / "nothing"}))


def test_what_cannot_be_fitted_is_told(make_trials: MakeTrials, targets: Targets, trials: TrialSet) -> None:
    with pytest.raises(UserError, match="no sensor position of C0, C1"):
        fit_deep(make_trials(targets, STIMULI), targets, MEEG)
    with pytest.raises(UserError, match="1 training trials have a target"):
        fit_deep(trials.select([0]), targets, MEEG)
    with pytest.raises(UserError, match="does not lie in the window"):
        fit_deep(trials, targets, MEEG.model_copy(update={"baseline_s": (-3.0, 0.0)}))
    with pytest.raises(UserError, match="not finite any more in epoch 1: lower"):
        fit_deep(trials, targets, FMRI.model_copy(update={"learning_rate": 1e30}))
