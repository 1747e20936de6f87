"""How a public dataset is prepared unless somebody says otherwise.

Values are those of Banville et al. 2025 and of its predecessor (arXiv 2501.15322, 2310.19812), made causal:
0.1 Hz high-pass and 120 Hz for EEG and MEG, the response from 2 s on for fMRI.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from replay.datasets.dataset import Form
from rtdecode.contracts import ChannelType, RunningDemean
from training.prepare import BRAIN, SignalSettings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from replay.datasets.dataset import Variant
    from replay.recordings.recording import Recording

_RATE_HZ = 120.0
_BASELINE_S = (-0.2, 0.0)


def signal_preset(variant: Variant, recording: Recording) -> SignalSettings:
    """Front end, window and rate for one variant of a dataset.

    What was filtered, cut or fitted before it was released is taken as it is.

    Parameters
    ----------
    variant
        The variant.
    recording
        One of its recordings: the rate and kind of its channels matter.
    """
    if variant.form is Form.EPOCHS:
        if variant.tmin_s is None or variant.tmax_s is None:
            raise ValueError(f"variant {variant.name} is epochs and does not say of which window")
        return SignalSettings(tmin_s=variant.tmin_s, tmax_s=variant.tmax_s)
    if variant.form is Form.BETAS:
        return SignalSettings(tmin_s=0.0, tmax_s=0.0)
    if recording.channels[0].type is ChannelType.VOXEL:
        return SignalSettings(
            running=(RunningDemean(time_constant_s=300.0, warmup_s=20.0),),
            tmin_s=2.0,
            tmax_s=9.0,
            shift_residual=True,
        )
    return SignalSettings(
        highpass_hz=0.1,
        highpass_order=1,
        lowpass_hz=40.0,
        order=8,
        family="cheby2",
        tmin_s=_BASELINE_S[0],
        tmax_s=0.8,
        resample_hz=_RATE_HZ if recording.rate_hz > _RATE_HZ else None,
    )


def shared_channels(recordings: Sequence[Recording]) -> tuple[str, ...] | None:
    """Names of the channels to decode from that all recordings have, in the first one's order.

    None where all have the same ones, or there is none that all have: then there is nothing to choose.
    """
    brains = [
        tuple(channel.name for channel in recording.channels if channel.type in BRAIN)
        for recording in recordings
    ]
    everywhere = set(brains[0]).intersection(*brains)
    if not everywhere or all(names == brains[0] for names in brains):
        return None
    return tuple(name for name in brains[0] if name in everywhere)


def baseline_preset(signal: SignalSettings) -> tuple[float, float] | None:
    """Give the part of the window before onset, whose mean is subtracted; None where there is none."""
    return (signal.tmin_s, 0.0) if signal.tmin_s < 0 else None
