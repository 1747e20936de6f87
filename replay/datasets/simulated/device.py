"""What a device sees of a person: responses, noise and disturbances, in its channels."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Protocol

from threadpoolctl import threadpool_limits

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    import numpy as np
    from numpy.typing import NDArray

    from replay.datasets.simulated.artefacts import Disturbances
    from replay.datasets.simulated.noise import Blocks, Component
    from rtdecode.contracts import Channel

    Array = NDArray[np.float64]

PEOPLE = 0xEE6
"""First in the seed of all that belongs to people and not to the device that looks at them."""


class Use(IntEnum):
    """What random numbers are for; second in each seed, so that no two uses share theirs."""

    ANATOMY = 0
    WIRING = 1
    SUBJECT = 2
    TRIALS = 3
    NOISE = 4
    DISTURBANCES = 5
    TRAITS = 6
    SESSION = 7


def one_thread() -> AbstractContextManager[None]:
    """Give a context in which linear algebra has one thread: its rounding follows their number.

    Where eigenvalues lie close together that decides which vectors stand for them, and so every sample.
    """
    limits: AbstractContextManager[None] = threadpool_limits(1, "blas")
    return limits


class Bank(Protocol):
    """Time courses."""

    def __call__(self, time_s: Array) -> Array:
        """Values at times from onset, shape (n_times,), as (n_times, n_waves)."""
        ...


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Device:
    """One person in one device.

    Parameters
    ----------
    name
        As the command line names it.
    stream
        First in the seeds of what is drawn anew in each session.
    channels, rate_hz
        What it records.
    lead_in_s
        Usual seconds before the first image.
    response_s
        No response lasts longer than this after the image's onset.
    evoked_bank, evoked_maps : maps of shape (n_waves, n_channels)
        What every image evokes.
    image_bank, image_patterns : patterns of shape (n_latent, n_waves, n_channels)
        How latent features show, in arbitrary units.
    span_s
        The part of the response that signal-to-noise is about, seconds from onset.
    reference_sd
        The noise that it is relative to.
    noise, blocks
        Stationary Gaussian noise, and the pieces that it is made in.
    resting : array of shape (n_channels,)
        What the channels show where nothing happens.
    disturbances
        From random numbers and the session's seconds to all that is neither response nor Gaussian noise.
    """

    name: str
    stream: int
    channels: tuple[Channel, ...]
    rate_hz: float
    lead_in_s: float
    response_s: float
    evoked_bank: Bank
    evoked_maps: Array
    image_bank: Bank
    image_patterns: Array
    span_s: tuple[float, float]
    reference_sd: float
    noise: tuple[Component, ...]
    blocks: Blocks
    resting: Array
    disturbances: Callable[[np.random.Generator, float], Disturbances]

    @property
    def n_response(self) -> int:
        """Samples of a response that begins on one."""
        return round(self.response_s * self.rate_hz)
