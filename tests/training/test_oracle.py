"""The best linear decoder that the simulator knows, against windows that training makes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
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
from replay.datasets.simulated.oracle import Oracle, WindowMoments, oracle
from rtdecode.contracts import EmbeddingSpace
from rtdecode.signal.design import running_demean, running_detrend, running_zscore
from training.fit import LinearSettings, fit
from training.prepare import SignalSettings, prepare
from training.targets import Targets

if TYPE_CHECKING:
    from pathlib import Path

    from replay.trials import TrialSet

DIM = 6
N_TRAIN, N_TEST = 420, 220

FILTERED = SignalSettings(
    highpass_hz=0.5,
    highpass_order=1,
    lowpass_hz=20.0,
    order=6,
    family="cheby2",
    tmin_s=-0.1,
    tmax_s=0.4,
    resample_hz=50.0,
)
RAW = SignalSettings(tmin_s=0.06, tmax_s=0.2)
DETRENDED = SignalSettings(running=(running_detrend(60.0, warmup_s=400.0),), tmin_s=1.5, tmax_s=9.0)
DEMEANED = SignalSettings(running=(running_demean(60.0, warmup_s=400.0),), tmin_s=1.5, tmax_s=9.0)


@dataclass(frozen=True)
class Case:
    dials: SubjectSettings
    signal: SignalSettings
    soa_s: float
    lead_in_s: float = 12.0


CASES = {
    # Responses overlap with those before and after, and the high-pass drags each into the next.
    "EEG": Case(EegSettings(rate_hz=250, snr=0.2), FILTERED, 0.3),
    "EEG, raw": Case(EegSettings(rate_hz=250, snr=0.2), RAW, 0.3, lead_in_s=0.0),
    "MEG": Case(MegSettings(rate_hz=200, snr=0.12), FILTERED, 0.5),
    "3T": Case(Fmri3tSettings(voxel_mm=3.5, snr=0.2), DETRENDED, 4.5, lead_in_s=420.0),
    "7T": Case(Fmri7tSettings(voxel_mm=3.0, snr=0.2), DEMEANED, 4.8, lead_in_s=420.0),
}

each_case = pytest.mark.parametrize("name", CASES)


@dataclass(frozen=True)
class World:
    subject: SimulatedSubject
    targets: Targets
    trials: TrialSet
    windows: np.ndarray
    truth: np.ndarray
    oracle: Oracle


@cache
def world(name: str, folder: Path) -> World:
    """Trials of images drawn at random from 400."""
    case, rng = CASES[name], np.random.default_rng(2)
    space = EmbeddingSpace(
        encoder="made-up",
        weights_sha256="0" * 64,
        layer="last",
        pooling="none",
        preprocessing="none",
        dim=DIM,
    )
    images = rng.standard_t(5, size=(400, DIM)) @ rng.normal(size=(DIM, DIM)) + 3.0  # not even Gaussian
    targets = Targets(tuple(f"i{k}" for k in range(400)), images.astype(np.float32), space)
    subject = SimulatedSubject(case.dials.linear_gaussian(), targets.embeddings)
    shown = rng.integers(400, size=N_TRAIN + N_TEST)
    recording = subject.session(
        [f"i{k}" for k in shown], targets.embeddings[shown], soa_s=case.soa_s, lead_in_s=case.lead_in_s
    )
    trials = prepare([recording], case.signal, folder / name.replace(", ", "-"))
    return World(
        subject,
        targets,
        trials,
        trials.windows().astype(np.float64),
        targets.of(trials.trials["stimulus_id"]).astype(np.float64),
        oracle(subject, trials.signal, targets.embeddings, case.soa_s),
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("oracle")


def correlation(found: np.ndarray, truth: np.ndarray) -> float:
    return float(np.mean([np.corrcoef(found[:, k], truth[:, k])[0, 1] for k in range(truth.shape[1])]))


def variance_along(moments: WindowMoments, directions: np.ndarray) -> np.ndarray:
    """Variance of windows projected onto directions (n, m), without building their covariance."""
    along = directions.reshape(*moments.mean.shape, -1)
    total = np.zeros(along.shape[2])
    for part in moments.noise:
        seen = along if part.mixing is None else np.einsum("sc,tcm->tsm", part.mixing, along)
        temporal = np.broadcast_to(part.temporal, (seen.shape[1], *part.temporal.shape[1:]))
        total += np.einsum("tsm,stu,usm->m", seen, temporal, seen, optimize=True)
    for response in (moments.response, *moments.neighbours):
        features = np.einsum("ltc,tcm->lm", response, along)
        total += np.einsum("lm,lk,km->m", features, moments.feature_covariance, features)
    return total


@each_case
def test_moments_are_those_of_the_windows_that_are_prepared(name: str, folder: Path) -> None:
    one = world(name, folder)
    flat, moments = one.windows.reshape(len(one.windows), -1), one.oracle.moments
    directions = np.random.default_rng(0).normal(size=(flat.shape[1], 10))
    directions = np.concatenate([directions, one.oracle.weights], axis=1)
    expected = variance_along(moments, directions)
    projected = flat @ directions
    assert np.abs(projected.var(axis=0) / expected - 1).max() < 5 * np.sqrt(2 / len(flat))
    off_mean = projected.mean(axis=0) - moments.mean.ravel() @ directions
    # Neighbouring trials share slow noise: their mean is less sure than of trials that are independent.
    assert np.abs(off_mean / np.sqrt(expected / len(flat))).max() < 8


@each_case
def test_the_oracle_decodes_as_well_as_it_says(name: str, folder: Path) -> None:
    one = world(name, folder)
    found = correlation(one.oracle(one.windows), one.truth)
    assert 0.3 < one.oracle.expected_r.mean() < 0.97
    assert found == pytest.approx(one.oracle.expected_r.mean(), abs=0.03)
    flat = one.windows.reshape(len(one.windows), -1)
    np.testing.assert_allclose(
        flat @ one.oracle.weights + one.oracle.bias, one.oracle(one.windows), atol=1e-6
    )


@each_case
def test_no_linear_decoder_is_better_and_ridge_comes_closer_with_trials(name: str, folder: Path) -> None:
    one = world(name, folder)
    test = np.arange(len(one.trials)) >= len(one.trials) - N_TEST
    truth, best = one.truth[test], one.oracle(one.windows[test])
    rows = np.random.default_rng(1).integers(len(truth), size=(100, len(truth)))

    def lead(decoded: np.ndarray) -> tuple[float, float]:
        """Of the oracle, and its standard error over trials."""
        again = [correlation(best[row], truth[row]) - correlation(decoded[row], truth[row]) for row in rows]
        return correlation(best, truth) - correlation(decoded, truth), float(np.std(again))

    leads = []
    for n_train in (80, 400):
        train = one.trials.select(np.arange(len(one.trials)) < n_train)
        for settings in (LinearSettings(), LinearSettings(penalties=(1000.0,))):
            decoded = fit(train, one.targets, settings).decoder.predict(one.trials.select(test))
            ahead, error = lead(decoded)
            assert ahead > -2 * error
            leads.append(ahead)
    assert leads[0] > 1.5 * leads[2] > 0


@pytest.mark.parametrize("name", ["EEG", "3T"])
def test_the_short_way_of_solving_gives_what_the_whole_covariance_gives(name: str, folder: Path) -> None:
    one = world(name, folder)
    moments, n_latent = one.oracle.moments, len(one.oracle.moments.response)
    whole = moments.covariance()
    response = moments.response.reshape(n_latent, -1)
    direct = np.linalg.solve(
        whole + 1e-12 * np.trace(whole) / len(whole) * np.eye(len(whole)),
        response.T @ moments.cross_covariance.T,
    )
    explained = np.einsum("ld,ln,nd->d", moments.cross_covariance.T, response, direct)
    np.testing.assert_allclose(
        one.oracle.expected_r, np.sqrt(explained / moments.embedding_variance), rtol=1e-3
    )
    agreement = np.corrcoef((one.windows.reshape(len(one.windows), -1) @ direct).T, one.oracle(one.windows).T)
    assert np.diag(agreement, DIM).min() > 0.9999


def test_more_noise_and_a_shorter_window_leave_less_to_decode() -> None:
    population = np.random.default_rng(0).normal(size=(300, DIM))

    def expected(signal: SignalSettings, **dials: float) -> float:
        settings = EegSettings(rate_hz=250, snr=0.2).linear_gaussian().model_copy(update=dials)
        subject = SimulatedSubject(settings, population)
        contract = signal.contract(subject.channels, 250.0)
        return float(oracle(subject, contract, population, 0.3).expected_r.mean())

    usual = expected(FILTERED)
    assert expected(FILTERED, noise=2.0) < usual - 0.05
    assert expected(FILTERED.model_copy(update={"tmax_s": 0.15})) < usual - 0.05


def test_what_it_does_not_hold_for_is_refused() -> None:
    population = np.random.default_rng(0).normal(size=(300, DIM))
    subject = SimulatedSubject(EegSettings(rate_hz=250).linear_gaussian(), population)
    contract = FILTERED.contract(subject.channels, 250.0)

    def refused(
        match: str, *, person: SimulatedSubject = subject, signal=contract, soa_s: float = 0.3
    ) -> None:  # type: ignore[no-untyped-def]
        with pytest.raises(ValueError, match=match):
            oracle(person, signal, population, soa_s)

    for dial, value in (
        ("nonlinearity", 0.1),
        ("artefacts", 1.0),
        ("gain_sd", 0.1),
        ("latency_jitter_s", 0.01),
    ):
        settings = subject.settings.model_copy(update={dial: value})
        refused(dial, person=SimulatedSubject(settings, population))
    refused(
        "noise is 0", person=SimulatedSubject(subject.settings.model_copy(update={"noise": 0.0}), population)
    )
    refused("whole number", soa_s=0.3021)
    refused("all channels", signal=contract.model_copy(update={"channels": contract.channels[1:]}))
    zscored = FILTERED.model_copy(update={"running": (running_zscore(10.0),)})
    refused("running_zscore is not linear", signal=zscored.contract(subject.channels, 250.0))
    shifted = FILTERED.model_copy(update={"shift_residual": True})
    refused("residual", signal=shifted.contract(subject.channels, 250.0))
