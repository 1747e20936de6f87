"""Released epochs as recordings: a stretch of its own for each, so that no window reaches into another."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from replay.recordings import Markers, Recording

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from rtdecode.contracts import Channel


def epochs_recording(
    name: str,
    *,
    channels: tuple[Channel, ...],
    rate_hz: float,
    n_times: int,
    onset: int,
    labels: Sequence[str],
    read: Callable[[int, int], NDArray[np.floating]],
    subject: str,
    session: str = "",
    run: str = "",
) -> Recording:
    """Recording of epochs, one after another.

    Parameters
    ----------
    name
        Of the recording.
    channels, rate_hz
        Of the epochs.
    n_times
        Samples of an epoch.
    onset
        At which of them its picture came, from 0.
    labels
        Stimulus of each epoch; an empty one has no marker.
    read
        ``(start, stop)`` to epochs of shape ``(stop - start, n_channels, n_times)``.
    subject, session, run
        Whose, and which.
    """
    shown = [epoch for epoch, label in enumerate(labels) if label]

    def samples(start: int, stop: int) -> NDArray[np.float64]:
        first, last = start // n_times, -(-stop // n_times)
        epochs = np.asarray(read(first, last), dtype=np.float64)
        joined = epochs.transpose(0, 2, 1).reshape(-1, len(channels))
        return joined[start - first * n_times : stop - first * n_times]

    return Recording(
        name=name,
        rate_hz=rate_hz,
        channels=channels,
        n_samples=n_times * len(labels),
        markers=Markers(
            np.array(shown, dtype=np.int64) * n_times + onset, [labels[epoch] for epoch in shown]
        ),
        reader=samples,
        segment_starts=tuple(range(0, n_times * len(labels), n_times)) or (0,),
        subject=subject,
        session=session,
        run=run,
    )
