"""What the raw samples of a window looked like: channels that fell silent, hit the rails or left their range.

To look at each window as a whole would cost more than to filter it. So the extremes of blocks of samples, and
how often each was reached, are noted as the samples come; of a window only the rows that no block within it
covers are looked at again.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from rtdecode.signal.ring import Ring

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

_BLOCK_S = 0.05
_MOST_BLOCK_SAMPLES = 127  # a byte can count the rows of two blocks
_RAILED_SHARE = 0.05
_FEWEST_RAILED = 5
_NOTHING = np.inf  # larger than any sample, and larger than the negative of any


@dataclass(frozen=True, slots=True)
class Findings:
    """Channels of one window that one should know of, by name; see :class:`rtdecode.contracts.Quality`."""

    nan: tuple[str, ...] = ()
    flat: tuple[str, ...] = ()
    railed: tuple[str, ...] = ()
    out_of_range: tuple[str, ...] = ()


NO_FINDINGS = Findings()


class Holder:
    """Puts the last number of a channel in the place of what is no number, zero before the first.

    Parameters
    ----------
    n_channels
        Number of channels.
    """

    def __init__(self, n_channels: int) -> None:
        self._last: npt.NDArray[np.float64] = np.zeros(n_channels)

    def process(
        self, samples: npt.NDArray[np.float64]
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_] | None]:
        """Take the next samples.

        Returns
        -------
        samples : array of shape (n, n_channels), float64
            Numbers all of them.
        held : array of shape (n, n_channels), bool, or None
            Where a number was put in; None for nowhere.
        """
        flat = samples.ravel()
        # What is no number makes the sum no number either; so do some that are too large to be squared.
        if math.isfinite(flat.dot(flat)) or (is_number := np.isfinite(samples)).all():
            if len(samples):
                self._last = samples[-1]
            return samples, None
        rows = np.where(is_number, np.arange(len(samples))[:, None], -1)
        np.maximum.accumulate(rows, axis=0, out=rows)  # of each channel, the last row that is a number
        earlier = np.take_along_axis(samples, np.maximum(rows, 0), axis=0)
        held = np.where(rows < 0, self._last, earlier)
        self._last = held[-1]
        return held, ~is_number


class Screening:
    """Watches the raw samples of one segment, and says of each window what was odd.

    A channel is *flat* where its largest and smallest sample are the same; *railed* where it is not, but
    stands at one of the two for more than 5 % of the window, and at least 5 samples; *out of range* where the
    two lie too far apart; *nan* where a sample was no number. Samples that were no numbers or were put in for
    lost ones have no part in the other three. It does not matter in which chunks the samples came.

    Parameters
    ----------
    names
        Channels.
    rate_hz
        Their rate.
    capacity
        Number of samples that windows may reach back.
    max_peak_to_peak : array of shape (n_channels,), optional
        Largest range of each channel, SI units; none without.
    """

    def __init__(
        self,
        names: Sequence[str],
        rate_hz: float,
        capacity: int,
        max_peak_to_peak: npt.NDArray[np.float64] | None = None,
    ) -> None:
        n_channels = len(names)
        self._names = tuple(names)
        self._limits = np.full(n_channels, np.inf) if max_peak_to_peak is None else max_peak_to_peak
        self._block = min(max(1, round(_BLOCK_S * rate_hz)), _MOST_BLOCK_SAMPLES)
        n_blocks = math.ceil(capacity / self._block) + 2
        # Samples as they came, in single precision: NaN what was no number, infinite what was put in.
        self._rows = np.empty((n_blocks, self._block, n_channels), np.float32)
        # Of each block: smallest sample, smallest negative of one, how often each; and whether there is NaN.
        self._blocks = Ring(n_blocks, 4 * n_channels, np.float32)
        self._has_nan = Ring(n_blocks, n_channels, np.bool_)
        self._scratch = np.empty((2 * self._block, 2 * n_channels), np.float32)
        self._none = np.full(2 * n_channels, _NOTHING, np.float32)
        self._noted = np.empty((1, 4 * n_channels), np.float32)
        self._no_nan = np.zeros((1, n_channels), np.bool_)
        self._end = 0
        self._odd_until = 0  # no sample from here on is NaN or was put in

    def append(
        self, samples: npt.NDArray[np.float64], held: npt.NDArray[np.bool_] | None, *, is_bridge: bool = False
    ) -> None:
        """Take the next samples, as they come from :class:`Holder`, or such as were put in for lost ones."""
        start = 0
        while start < len(samples):
            block, row = divmod(self._end, self._block)
            n = min(len(samples) - start, self._block - row)
            rows = self._rows[block % len(self._rows), row : row + n]
            rows[:] = _NOTHING if is_bridge else samples[start : start + n]
            if held is not None:
                rows[held[start : start + n]] = np.nan
            self._end += n
            if is_bridge or held is not None:
                self._odd_until = self._end
            start += n
            if row + n == self._block:
                self._note(block)

    def findings(self, start: int, stop: int) -> Findings:
        """Say what was odd in samples ``start`` to ``stop - 1``, which must have come and still be held."""
        whole, end = -(-start // self._block), stop // self._block
        scratch, nan = self._gather(start, stop, whole, end)
        least = np.minimum.reduce(scratch, axis=0) if len(scratch) else self._none
        blocks = None
        if whole < end:
            blocks, n_columns = self._blocks.view(whole, end), scratch.shape[1]
            least = np.minimum(least, np.minimum.reduce(blocks[:, :n_columns], axis=0))
            if nan is not None:
                nan |= self._has_nan.view(whole, end).any(axis=0)
        n_least = _count(scratch == least)
        if blocks is not None:
            reached = blocks[:, n_columns:] * (blocks[:, :n_columns] == least)
            n_least = np.add.reduce(reached, axis=0) + n_least
        return self._judge(stop - start, least, n_least, nan)

    def _note(self, block: int) -> None:
        """Sum up a block that is complete."""
        at = block * self._block
        scratch, nan = self._gather(at, at + self._block, block + 1, block)
        n_columns = scratch.shape[1]
        least = np.minimum.reduce(scratch, axis=0, out=self._noted[0, :n_columns])
        self._noted[0, n_columns:] = _count(scratch == least)
        self._blocks.append(self._noted)
        self._has_nan.append(self._no_nan if nan is None else nan[None])

    def _gather(
        self, start: int, stop: int, whole: int, end: int
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_] | None]:
        """Rows of a window outside the blocks ``whole`` to ``end - 1``, if there are such.

        Returns
        -------
        rows : array of shape (n, 2 * n_channels)
            The samples and their negatives, infinite what has no part in it.
        nan : array of shape (n_channels,) or None
            Whether a channel has samples that were no numbers; None: no row of the window is odd at all.
        """
        if whole < end:
            parts = [(start, whole * self._block), (end * self._block, stop)]
        else:
            border = min(stop, (start // self._block + 1) * self._block)
            parts = [(start, border), (border, stop)]
        n, n_channels = 0, len(self._names)
        for first, last in parts:
            if first < last:
                block, row = divmod(first, self._block)
                rows = self._rows[block % len(self._rows), row : row + last - first]
                self._scratch[n : n + last - first, :n_channels] = rows
                n += last - first
        scratch = self._scratch[:n]
        samples = scratch[:, :n_channels]
        np.negative(samples, out=scratch[:, n_channels:])
        if start >= self._odd_until:
            return scratch, None
        nan = np.logical_or.reduce(np.isnan(samples), axis=0)
        scratch[~np.isfinite(scratch)] = _NOTHING
        return scratch, nan

    def _judge(
        self,
        n: int,
        least: npt.NDArray[np.float32],
        n_least: npt.NDArray[Any],
        nan: npt.NDArray[np.bool_] | None,
    ) -> Findings:
        n_channels = len(self._names)
        # Minus the span; infinite where there are no samples.
        width = least[:n_channels] + least[n_channels:]
        spare = self._limits + width
        most_allowed = max(_RAILED_SHARE * n, _FEWEST_RAILED - 1)
        if (
            nan is None
            and np.maximum.reduce(n_least) <= most_allowed
            and np.maximum.reduce(width) < 0 <= np.minimum.reduce(spare)
        ):
            return NO_FINDINGS
        most = np.maximum(n_least[:n_channels], n_least[n_channels:])
        flat = (width == 0) & (most > 1)  # a single sample cannot tell
        railed = (width < 0) & (most > most_allowed)
        out_of_range = spare < 0
        return Findings(
            nan=() if nan is None else self._named(nan),
            flat=self._named(flat),
            railed=self._named(railed),
            out_of_range=self._named(out_of_range),
        )

    def _named(self, chosen: npt.NDArray[np.bool_]) -> tuple[str, ...]:
        return tuple(self._names[channel] for channel in np.flatnonzero(chosen).tolist())


def _count(hits: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    """Number of hits in each column, at most 255; the fastest way there is."""
    counts: npt.NDArray[np.uint8] = np.add.reduce(hits.view(np.uint8), axis=0, dtype=np.uint8)
    return counts
