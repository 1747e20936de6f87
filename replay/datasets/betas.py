"""Fitted responses as recordings: one sample a trial, in the order in which they were shown.

Files of responses are laid out by voxel: a single trial costs nearly as much as a hundred. They are read in
blocks of trials, of which the last one is kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from replay.recordings import Markers, Recording

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from replay.recordings.recording import Read
    from rtdecode.contracts import Channel

LARGEST_BLOCK = 256 << 20
"""Bytes of a block."""


class TrialBlocks:
    """Reads trials in blocks, and keeps the block that was read last, whoever's it is.

    Parameters
    ----------
    largest
        Bytes of a block; a single trial may be larger.
    """

    def __init__(self, largest: int = LARGEST_BLOCK) -> None:
        self._largest = largest
        self._last: tuple[Callable[..., object], int, NDArray[np.float32]] | None = None

    def reader(self, read: Callable[[int, int], NDArray[np.float32]], n_trials: int, n_channels: int) -> Read:
        """Reader of a recording.

        Parameters
        ----------
        read
            ``(start, stop)`` to trials of shape ``(stop - start, n_channels)``, single precision.
        n_trials, n_channels
            How many there are.
        """
        n = max(1, min(n_trials, self._largest // (4 * n_channels)))

        def block(begin: int) -> NDArray[np.float32]:
            last = self._last
            if last is not None and last[0] is read and last[1] == begin:
                return last[2]
            self._last = None  # two blocks are not held at once
            made = read(begin, min(begin + n, n_trials))
            self._last = (read, begin, made)
            return made

        def trials(start: int, stop: int) -> NDArray[np.float64]:
            out = np.empty((stop - start, n_channels))
            at = start
            while at < stop:
                begin = at // n * n
                end = min(stop, begin + n)
                out[at - start : end - start] = block(begin)[at - begin : end - begin]
                at = end
            return out

        return trials


def betas_recording(
    name: str,
    *,
    channels: tuple[Channel, ...],
    labels: Sequence[str],
    interval_s: float,
    reader: Read,
    subject: str,
    session: str,
    run: str = "",
) -> Recording:
    """Recording of the responses of one session, or of one run.

    Parameters
    ----------
    name
        Of the recording.
    channels
        The voxels.
    labels
        Stimulus of each trial.
    interval_s
        Seconds from one trial to the next, blank ones left out: the rate is one over it.
    reader
        Reads trials as samples.
    subject, session, run
        Whose, and which.
    """
    return Recording(
        name=name,
        rate_hz=1 / interval_s,
        channels=channels,
        n_samples=len(labels),
        markers=Markers(np.arange(len(labels)), labels),
        reader=reader,
        subject=subject,
        session=session,
        run=run,
    )
