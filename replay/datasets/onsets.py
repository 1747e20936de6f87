"""Onsets in seconds, as tables of events have them, as markers at samples."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replay.recordings import Markers
from rtdecode.signal.alignment import nearest_whole

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from replay.recordings import Recording


def onset_markers(
    recording: Recording,
    onsets_s: NDArray[np.float64],
    labels: Sequence[str],
    *,
    keep_residuals: bool = False,
) -> Markers:
    """Markers at the samples nearest to onsets, ties to the earlier.

    Parameters
    ----------
    recording
        Whose samples they are.
    onsets_s : array of shape (n,)
        Seconds from the first sample; those outside the signal, and NaN, are left out.
    labels
        What each says.
    keep_residuals
        Whether markers keep what lies between an onset and its sample: of slow signals that is much.
    """
    rate_hz = recording.rate_hz
    begin_s, end_s = -1 / rate_hz, (recording.n_samples + 1) / rate_hz
    shown = [
        (nearest_whole(onset_s * rate_hz), onset_s, label)
        for onset_s, label in zip(onsets_s.tolist(), labels, strict=True)
        if begin_s < onset_s < end_s  # neither NaN nor too large to be counted in samples
    ]
    shown = [one for one in shown if 0 <= one[0] < recording.n_samples]
    return Markers.in_order(
        [sample for sample, _, _ in shown],
        [label for _, _, label in shown],
        [1e6 * (onset_s - sample / rate_hz) for sample, onset_s, _ in shown] if keep_residuals else None,
    )
