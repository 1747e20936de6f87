"""Designed steps keep what they promise: edges, attenuation, delay, warm-up."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy.signal import group_delay, sosfilt, sosfreqz

from rtdecode.errors import UserError
from rtdecode.signal.design import (
    attenuation_db,
    design_iir,
    running_demean,
    running_detrend,
    running_robust_scale,
    running_zscore,
)

if TYPE_CHECKING:
    from rtdecode.contracts import IirSos


def gain_db(step: IirSos, rate_hz: float, at_hz: float) -> float:
    _, response = sosfreqz(np.array(step.sections), [at_hz], fs=rate_hz)
    return float(20 * np.log10(np.abs(response[0])))


def test_butterworth_edges_are_at_minus_3_db() -> None:
    step = design_iir(1000.0, highpass_hz=0.5, lowpass_hz=40.0, order=4, highpass_order=2)
    assert gain_db(step, 1000.0, 0.5) == pytest.approx(-3.01, abs=0.01)
    assert gain_db(step, 1000.0, 40.0) == pytest.approx(-3.01, abs=0.01)
    assert gain_db(step, 1000.0, 5.0) == pytest.approx(0.0, abs=0.01)
    assert (step.highpass_hz, step.lowpass_hz) == (0.5, 40.0)
    assert step.design == "butter order 2 high-pass, butter order 4 low-pass"


def test_orders_of_highpass_and_lowpass_are_separate() -> None:
    step = design_iir(1000.0, highpass_hz=1.0, lowpass_hz=40.0, order=8, highpass_order=1)
    assert gain_db(step, 1000.0, 0.01) == pytest.approx(-40.0, abs=0.1)  # order 1: 20 dB a decade
    assert gain_db(step, 1000.0, 80.0) < -48  # order 8: 48 dB an octave


def test_families_have_the_edges_that_they_promise() -> None:
    cheby2 = design_iir(1000.0, lowpass_hz=60.0, order=8, family="cheby2")
    assert gain_db(cheby2, 1000.0, 60.0) == pytest.approx(-60.0, abs=0.01)
    assert gain_db(cheby2, 1000.0, 30.0) > -1
    ellip = design_iir(1000.0, lowpass_hz=40.0, order=6, family="ellip")
    assert gain_db(ellip, 1000.0, 40.0) == pytest.approx(-0.1, abs=0.01)
    assert gain_db(ellip, 1000.0, 70.0) < -59.9


@pytest.mark.parametrize("family", ["butter", "cheby2", "ellip"])
def test_a_highpass_has_a_true_zero_at_0_hz_whatever_the_lowpass(family: str) -> None:
    step = design_iir(1000.0, highpass_hz=0.1, lowpass_hz=60.0, order=6, family=family)  # type: ignore[arg-type]
    assert math.prod(sum(section[:3]) for section in step.sections) == 0.0


@pytest.mark.parametrize("at_hz", [50.0, 60.0, 100.0])
def test_attenuation_is_the_least_one_from_there_on(at_hz: float) -> None:
    step = design_iir(1000.0, lowpass_hz=45.0, order=6, family="ellip")
    _, response = sosfreqz(np.array(step.sections), np.linspace(at_hz, 500, 20001), fs=1000.0)
    expected = -20 * np.log10(np.abs(response).max())
    assert attenuation_db([running_zscore(1.0), step], 1000.0, at_hz) == pytest.approx(expected, abs=0.1)


def test_attenuation_adds_up_over_steps_and_is_zero_without() -> None:
    step = design_iir(1000.0, lowpass_hz=40.0, order=4)
    once = attenuation_db([step], 1000.0, 60.0)
    assert attenuation_db([step, step], 1000.0, 60.0) == pytest.approx(2 * once)
    assert attenuation_db([], 1000.0, 60.0) == 0.0
    assert attenuation_db([], 1000.0, 501.0) == math.inf


@pytest.mark.parametrize(
    ("highpass_hz", "lowpass_hz", "middle_hz"), [(0.5, 40.0, 20.25), (None, 40.0, 20.0), (1.0, None, 250.5)]
)
def test_delay_is_the_group_delay_in_the_middle_of_the_pass_band(
    highpass_hz: float | None, lowpass_hz: float | None, middle_hz: float
) -> None:
    step = design_iir(1000.0, highpass_hz=highpass_hz, lowpass_hz=lowpass_hz, order=4)
    delay = sum(
        group_delay((section[:3], section[3:]), [middle_hz], fs=1000.0)[1][0] for section in step.sections
    )
    assert step.delay_s == pytest.approx(delay / 1000.0, rel=1e-3)


DESIGNS = [(0.1, None, 1), (0.1, 40.0, 2), (0.5, 30.0, 2), (None, 40.0, 4), (0.1, 40.0, 4)]


@pytest.mark.parametrize(("highpass_hz", "lowpass_hz", "order"), DESIGNS)
def test_warm_means_that_the_impulse_response_has_passed(
    highpass_hz: float | None, lowpass_hz: float | None, order: int
) -> None:
    step = design_iir(500.0, highpass_hz=highpass_hz, lowpass_hz=lowpass_hz, order=order)
    impulse = np.zeros(60 * 500)
    impulse[0] = 1
    energy = np.cumsum(sosfilt(np.array(step.sections), impulse) ** 2)
    assert energy[round(step.warmup_s * 500) - 1] >= 0.999 * energy[-1]


@pytest.mark.parametrize(("highpass_hz", "lowpass_hz", "order"), DESIGNS)
def test_once_warm_a_filter_is_close_to_one_that_has_run_for_ever(
    highpass_hz: float | None, lowpass_hz: float | None, order: int
) -> None:
    rate_hz, n, start = 500.0, 120 * 500, 60 * 500
    step = design_iir(rate_hz, highpass_hz=highpass_hz, lowpass_hz=lowpass_hz, order=order)
    sos = np.array(step.sections)
    gain = math.prod(sum(section[:3]) / sum(section[3:]) for section in step.sections)
    rng = np.random.default_rng(0)
    frequency = np.maximum(np.fft.rfftfreq(n, 1 / rate_hz), rate_hz / n)
    pink = np.fft.irfft(
        np.fft.rfft(rng.standard_normal((n, 20)), axis=0) / np.sqrt(frequency)[:, None], axis=0
    )
    for_ever = sosfilt(sos, pink, axis=0)[start:]
    started = sosfilt(sos, pink[start:] - pink[start], axis=0) + gain * pink[start]
    error = (started - for_ever)[round(step.warmup_s * rate_hz) :]
    assert error.std() < 0.01 * for_ever.std()
    assert np.sqrt((error[:10] ** 2).mean()) < 0.1 * for_ever.std()


@pytest.mark.parametrize("make", [running_demean, running_detrend, running_zscore, running_robust_scale])
def test_running_steps_are_warm_after_a_time_constant_or_when_told(make) -> None:  # type: ignore[no-untyped-def]
    assert make(3.0).warmup_s == 3.0
    assert make(3.0, warmup_s=0.0).warmup_s == 0.0
    with pytest.raises(UserError, match="time_constant_s"):
        make(0.0)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "needs an edge"),
        ({"lowpass_hz": 500.0}, "half the rate, 500 Hz"),
        ({"highpass_hz": 0.0}, "highpass_hz = 0"),
        ({"highpass_hz": 40.0, "lowpass_hz": 40.0}, "must lie below"),
        ({"lowpass_hz": 40.0, "order": 0}, "order from 1"),
        ({"highpass_hz": 1.0, "highpass_order": 99}, "order from 1"),
        ({"lowpass_hz": 40.0, "family": "bessel"}, "use butter, cheby2 or ellip"),
    ],
)
def test_designs_that_make_no_sense_are_refused(arguments: dict[str, object], words: str) -> None:
    with pytest.raises(UserError, match=words):
        design_iir(1000.0, **arguments)  # type: ignore[arg-type]
