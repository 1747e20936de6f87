"""Settings of front-end steps from what a scientist has in mind: edges, orders, time constants."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy.signal import butter, cheby2, ellip, sosfilt

from rtdecode.contracts import (
    FrontEndStep,
    IirSos,
    RunningDemean,
    RunningDetrend,
    RunningRobustScale,
    RunningZscore,
)
from rtdecode.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy.typing as npt

Family = Literal["butter", "cheby2", "ellip"]

_STOPBAND_DB = 60.0
_RIPPLE_DB = 0.1
_WARM_ENERGY = 0.999


def design_iir(
    rate_hz: float,
    *,
    highpass_hz: float | None = None,
    lowpass_hz: float | None = None,
    order: int = 2,
    family: Family = "butter",
    highpass_order: int | None = None,
) -> IirSos:
    """Design a causal high-pass, low-pass or band-pass.

    The high-pass is always a Butterworth filter: it removes a constant offset entirely, which the others need
    not. ``family`` is that of the low-pass: ``"butter"`` has its edge at -3 dB; ``"cheby2"`` has fallen by
    60 dB *at* its edge, smooth below it; ``"ellip"`` ripples by 0.1 dB up to its edge and has fallen by 60 dB
    as soon after it as its order allows.

    Parameters
    ----------
    rate_hz
        Rate of the stream.
    highpass_hz, lowpass_hz
        Edges; None leaves that side open.
    order
        Order of the low-pass and, unless ``highpass_order`` says otherwise, of the high-pass.
    family
        Kind of low-pass.
    highpass_order
        Order of the high-pass.

    Raises
    ------
    UserError
        No edge at all, an edge outside 0 … Nyquist, edges the wrong way round, or no such order.
    """
    highpass_order = order if highpass_order is None else highpass_order
    _check_edges(rate_hz, highpass_hz, lowpass_hz)
    sections: list[npt.NDArray[np.float64]] = []
    words = []
    if highpass_hz is not None:
        _check_order(highpass_order)
        sections.append(butter(highpass_order, highpass_hz, "highpass", output="sos", fs=rate_hz))
        words.append(f"butter order {highpass_order} high-pass")
    if lowpass_hz is not None:
        _check_order(order)
        sections.append(_lowpass(family, order, lowpass_hz, rate_hz))
        words.append(f"{family} order {order} low-pass")
    sos = np.concatenate(sections)
    middle_hz = ((highpass_hz or 0.0) + (lowpass_hz or rate_hz / 2)) / 2
    return IirSos(
        sections=tuple(tuple(map(float, section)) for section in sos),
        highpass_hz=highpass_hz,
        lowpass_hz=lowpass_hz,
        design=", ".join(words),
        warmup_s=_warmup_samples(sos) / rate_hz,
        delay_s=max(0.0, _group_delay_samples(sos, middle_hz / rate_hz)) / rate_hz,
    )


def running_demean(time_constant_s: float, warmup_s: float | None = None) -> RunningDemean:
    """Make a running mean to subtract; it is warm after one time constant unless told otherwise."""
    _check_time_constant(time_constant_s)
    return RunningDemean(
        time_constant_s=time_constant_s, warmup_s=time_constant_s if warmup_s is None else warmup_s
    )


def running_detrend(time_constant_s: float, warmup_s: float | None = None) -> RunningDetrend:
    """Make a running straight-line fit; it is warm after one time constant unless told otherwise."""
    _check_time_constant(time_constant_s)
    return RunningDetrend(
        time_constant_s=time_constant_s, warmup_s=time_constant_s if warmup_s is None else warmup_s
    )


def running_zscore(time_constant_s: float, warmup_s: float | None = None) -> RunningZscore:
    """Make a running z-score; it is warm after one time constant unless told otherwise."""
    _check_time_constant(time_constant_s)
    return RunningZscore(
        time_constant_s=time_constant_s, warmup_s=time_constant_s if warmup_s is None else warmup_s
    )


def running_robust_scale(time_constant_s: float, warmup_s: float | None = None) -> RunningRobustScale:
    """Make a running gain correction; it is warm after one time constant unless told otherwise."""
    _check_time_constant(time_constant_s)
    return RunningRobustScale(
        time_constant_s=time_constant_s, warmup_s=time_constant_s if warmup_s is None else warmup_s
    )


def attenuation_db(steps: Iterable[FrontEndStep], rate_hz: float, at_hz: float) -> float:
    """Least attenuation, at a frequency and above it, of a front end's IIR steps together.

    Parameters
    ----------
    steps
        The front end; steps of other kinds count as flat.
    rate_hz
        Rate of the stream.
    at_hz
        From where on: the Nyquist frequency of the rate that one wants to go down to.

    Returns
    -------
    float
        Decibels; infinite where ``at_hz`` lies above the stream's own Nyquist frequency.
    """
    if at_hz > rate_hz / 2:
        return math.inf
    sections = [section for step in steps if isinstance(step, IirSos) for section in step.sections]
    frequencies = np.linspace(at_hz, rate_hz / 2, 4096) / rate_hz
    gain = np.abs(_response(np.array(sections).reshape(-1, 6), frequencies))
    return float(-20.0 * np.log10(max(float(gain.max()), np.finfo(float).tiny)))


def _check_edges(rate_hz: float, highpass_hz: float | None, lowpass_hz: float | None) -> None:
    if highpass_hz is None and lowpass_hz is None:
        raise UserError("a filter needs an edge: give highpass_hz, lowpass_hz or both")
    for name, edge in (("highpass_hz", highpass_hz), ("lowpass_hz", lowpass_hz)):
        if edge is not None and not 0 < edge < rate_hz / 2:
            raise UserError(f"{name} = {edge:g} must lie between 0 and half the rate, {rate_hz / 2:g} Hz")
    if highpass_hz is not None and lowpass_hz is not None and highpass_hz >= lowpass_hz:
        raise UserError(f"highpass_hz = {highpass_hz:g} must lie below lowpass_hz = {lowpass_hz:g}")


def _check_order(order: int) -> None:
    if not 1 <= order <= 16:
        raise UserError(f"a filter of order {order}: use an order from 1 to 16")


def _check_time_constant(time_constant_s: float) -> None:
    if not 0 < time_constant_s < math.inf:
        raise UserError(f"time_constant_s = {time_constant_s:g} must be a positive number of seconds")


def _lowpass(family: Family, order: int, edge_hz: float, rate_hz: float) -> npt.NDArray[np.float64]:
    if family == "butter":
        sos = butter(order, edge_hz, "lowpass", output="sos", fs=rate_hz)
    elif family == "cheby2":
        sos = cheby2(order, _STOPBAND_DB, edge_hz, "lowpass", output="sos", fs=rate_hz)
    elif family == "ellip":
        sos = ellip(order, _RIPPLE_DB, _STOPBAND_DB, edge_hz, "lowpass", output="sos", fs=rate_hz)
    else:
        raise UserError(f"filter family {family!r} is not known: use butter, cheby2 or ellip")
    return np.asarray(sos, np.float64)


def _response(
    sos: npt.NDArray[np.float64], frequencies: npt.NDArray[np.float64]
) -> npt.NDArray[np.complex128]:
    """Complex gain at frequencies given in cycles per sample."""
    delay = np.exp(-2j * np.pi * frequencies)
    powers = np.stack([np.ones_like(delay), delay, delay**2])
    gains: npt.NDArray[np.complex128] = (sos[:, :3] @ powers) / (sos[:, 3:] @ powers)
    return np.asarray(gains.prod(axis=0))


def _group_delay_samples(sos: npt.NDArray[np.float64], frequency: float) -> float:
    """Minus the slope of the phase, from its central difference, at a frequency in cycles per sample."""
    step = 1e-5 * frequency
    below, above = _response(sos, np.array([frequency - step, frequency + step]))
    return float(-np.angle(above / below) / (2 * np.pi * 2 * step))


def _warmup_samples(sos: npt.NDArray[np.float64]) -> int:
    """How long a filter that starts in the steady state of its first sample is not to be trusted.

    Until 99.9 % of the energy has passed of both the impulse response h, the filter's memory, and of its
    step transient: the step response minus where it settles. The second is what is left of the guess that
    the first sample had stood for ever. For a high-pass it is by far the longer (the impulse response of a
    high-pass is nearly all in its first sample): on 1/f noise a 0.1 Hz, 40 Hz band-pass of order 2 is off by
    20 to 40 % of the signal's SD when the first has passed (1.5 s), by 4 % when the second has (7.4 s).
    """
    slowest = max(float(np.abs(np.roots(section[3:])).max()) for section in sos)
    # Until the slowest pole has decayed to 1e-6 (poles that coincide decay somewhat slower than one alone).
    n = 64 + int(2 * math.log(1e-6) / math.log(slowest)) if slowest > 0 else 64
    impulse = np.zeros(n)
    impulse[0] = 1.0
    response = np.asarray(sosfilt(sos, impulse))
    transient = np.cumsum(response[::-1])[::-1] - response
    return max(_energy_passed(response), _energy_passed(transient))


def _energy_passed(signal: npt.NDArray[np.float64]) -> int:
    """Count the samples after which nearly all energy of a decaying signal has passed."""
    energy = np.cumsum(signal**2)
    return int(np.searchsorted(energy, _WARM_ENERGY * energy[-1])) + 1 if energy[-1] > 0 else 0
