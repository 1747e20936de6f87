"""From a stream's samples to decoder input: channels, front end, window, resampling."""

from __future__ import annotations

import math
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from rtdecode.contracts.base import Contract


class ChannelType(StrEnum):
    """What a channel measures; the values are MNE's channel types where MNE has one."""

    EEG = "eeg"
    MAG = "mag"
    GRAD = "grad"
    REF_MEG = "ref_meg"
    EOG = "eog"
    ECG = "ecg"
    EMG = "emg"
    STIM = "stim"
    MISC = "misc"
    VOXEL = "voxel"


class Unit(StrEnum):
    """SI unit of a channel's samples; ``NONE`` is a pure number (trigger codes, scaled BOLD)."""

    VOLT = "V"
    TESLA = "T"
    TESLA_PER_METRE = "T/m"
    NONE = "1"


class Channel(Contract):
    """One channel of a recording, a stream or a decoder's input.

    Parameters
    ----------
    name
        Unique within its recording or stream.
    type, unit
        What it measures, and the SI unit of its samples.
    position_m
        Sensor position in head coordinates, metres, if known.
    """

    name: str = Field(min_length=1)
    type: ChannelType
    unit: Unit
    position_m: tuple[float, float, float] | None = None


Section = tuple[float, float, float, float, float, float]
"""One second-order section ``(b0, b1, b2, a0, a1, a2)``, ``a0 = 1``, as in :func:`scipy.signal.sosfilt`."""


class IirSos(Contract):
    """Causal IIR filter as cascaded second-order sections, started at the first sample's steady state.

    Parameters
    ----------
    sections
        The cascade, in order.
    highpass_hz, lowpass_hz
        Edges it was designed for for people to read; None = no such edge.
    design
        How it was designed, in words, e.g. ``"butter order 2"``.
    warmup_s
        Seconds until 99.9 % of the energy has passed of the impulse response, and of the step transient: what
        is left of the guess that the first sample had stood for ever.
    delay_s
        Group delay in the middle of the pass band, seconds: the structural latency this step adds.
    """

    kind: Literal["iir_sos"] = "iir_sos"
    sections: tuple[Section, ...] = Field(min_length=1)
    highpass_hz: float | None = Field(default=None, gt=0)
    lowpass_hz: float | None = Field(default=None, gt=0)
    design: str
    warmup_s: float = Field(ge=0)
    delay_s: float = Field(ge=0)


class RunningDemean(Contract):
    """Subtracts the exponentially forgetting mean of the past of each channel, causally.

    ``time_constant_s`` is the forgetting time; ``warmup_s`` how long its output is not to be trusted.
    """

    kind: Literal["running_demean"] = "running_demean"
    time_constant_s: float = Field(gt=0)
    warmup_s: float = Field(ge=0)


class RunningDetrend(Contract):
    """Subtracts a causal, exponentially forgetting straight-line fit to the past of each channel.

    ``time_constant_s`` is the forgetting time; ``warmup_s`` how long its output is not to be trusted.
    """

    kind: Literal["running_detrend"] = "running_detrend"
    time_constant_s: float = Field(gt=0)
    warmup_s: float = Field(ge=0)


class RunningZscore(Contract):
    """Subtracts the exponentially forgetting mean, divides by the exponentially forgetting SD, causally."""

    kind: Literal["running_zscore"] = "running_zscore"
    time_constant_s: float = Field(gt=0)
    warmup_s: float = Field(ge=0)


class RunningRobustScale(Contract):
    """Divides by a running estimate of the median absolute value: gain that changes between days."""

    kind: Literal["running_robust_scale"] = "running_robust_scale"
    time_constant_s: float = Field(gt=0)
    warmup_s: float = Field(ge=0)


FrontEndStep = Annotated[
    IirSos | RunningDemean | RunningDetrend | RunningZscore | RunningRobustScale,
    Field(discriminator="kind"),
]
"""One causal step that runs on the live stream, before the window is cut."""


class Window(Contract):
    """Samples of one window, counted from the onset sample at the native rate, both ends included."""

    first_sample: int
    last_sample: int

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.last_sample < self.first_sample:
            raise ValueError(f"last_sample {self.last_sample} is before first_sample {self.first_sample}")
        return self

    @property
    def n_samples(self) -> int:
        """Number of samples in the window."""
        return self.last_sample - self.first_sample + 1


class Resampling(Contract):
    """The fixed matrix that follows the cut: what rate it leads to.

    Parameters
    ----------
    rate_hz
        Rate of the resampled window.
    n_times
        Number of resampled points; point ``i`` lies ``i / rate_hz`` seconds after the first one.
    shift_residual
        Where True, the points lie from the picture itself, not from the onset sample: they are shifted by
        what lies between the two (graph input ``residual_s``). The first point then belongs to the window's
        second sample, so that no point leaves the window; otherwise it is the window's first sample.
    """

    rate_hz: float = Field(gt=0)
    n_times: int = Field(gt=0)
    # Left out where it says nothing, so that what was written before it was thought of keeps its hash.
    shift_residual: bool = Field(default=False, exclude_if=lambda shifts: not shifts)

    @property
    def margin(self) -> int:
        """Samples of the window before the first point, and as many after the last."""
        return 1 if self.shift_residual else 0


class SignalContract(Contract):
    """All that turns a stream into decoder input: shared by TrialSet, manifest and live service.

    Parameters
    ----------
    channels
        In the order of the decoder's input.
    rate_hz
        Native rate of the stream.
    front_end
        Causal steps, in order.
    window
        What is cut around each onset, at the native rate.
    resampling
        The matrix applied to the cut window (identity where ``rate_hz`` is the native rate).
    """

    channels: tuple[Channel, ...] = Field(min_length=1)
    rate_hz: float = Field(gt=0)
    front_end: tuple[FrontEndStep, ...]
    window: Window
    resampling: Resampling

    @model_validator(mode="after")
    def _unique_names(self) -> Self:
        names = [channel.name for channel in self.channels]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"channel names appear twice: {', '.join(twice)}")
        return self

    @model_validator(mode="after")
    def _long_enough(self) -> Self:
        if self.window.n_samples <= 2 * self.resampling.margin:
            raise ValueError(f"no point of a window of {self.window.n_samples} samples can be shifted")
        return self

    @property
    def resamples(self) -> bool:
        """Whether the points are others than the window's samples."""
        return self.resampling.rate_hz != self.rate_hz or self.resampling.shift_residual

    @property
    def first_point_s(self) -> float:
        """Seconds from onset to the first resampled point."""
        return (self.window.first_sample + self.resampling.margin) / self.rate_hz

    @property
    def warmup_s(self) -> float:
        """Seconds after a segment's first sample during which windows are not to be trusted."""
        return sum(step.warmup_s for step in self.front_end)

    @property
    def warmup_samples(self) -> int:
        """The same in whole samples at the native rate."""
        return math.ceil(self.warmup_s * self.rate_hz - 1e-9)  # rounding must not add a sample

    @property
    def delay_s(self) -> float:
        """Group delay of the front end, seconds."""
        return sum(step.delay_s for step in self.front_end if isinstance(step, IirSos))

    @property
    def structural_s(self) -> float:
        """Seconds from onset until an answer can exist at all: the window's end, and the filter delay.

        The filter delay is part of what the window's last sample already lags behind the brain; it is added
        so that the sum compares with a zero-phase analysis of the same window.
        """
        return max(self.window.last_sample, 0) / self.rate_hz + self.delay_s
