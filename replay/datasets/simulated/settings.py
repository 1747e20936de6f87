"""The dials that simulated subjects of all devices have."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np
from pydantic import Field

from replay.datasets.simulated.device import PEOPLE, Use
from rtdecode.contracts import Contract

if TYPE_CHECKING:
    from replay.datasets.simulated.device import Device


class SubjectSettings(Contract):
    """Dials of a simulated subject.

    Parameters
    ----------
    seed
        Decides the people; with subject and session number, every sample.
    subject
        Number of the subject. Subject 1 is the typical one, from whom the others' coupling and noise deviate.
    rate_hz
        Sampling rate.
    soa_s
        Usual pace of images: seconds from one onset to the next.
    snr
        Single-trial signal-to-noise: standard deviation over images of the response (root mean square over
        channels and the time that the device's settings state), divided by the standard deviation of noise
        that they state.
    noise
        Multiplies all Gaussian noise; 0 leaves the response alone.
    nonlinearity
        0: latent features are linear in the embedding; 1: all pass through a saturating function.
    latency_jitter_s
        Standard deviation over trials of the response's latency.
    gain_sd
        Standard deviation over trials of the logarithm of the response's strength.
    artefacts
        Multiplies all that is neither response nor Gaussian noise; 0 removes it.
    rotation_rad
        How far this subject's features are turned away from those that people share: root mean square angle.
    subject_coupling_sd
        Standard deviation over subjects of the logarithm of how strongly the brain reaches the sensors:
        responses and noise of the brain, not that of the sensors.
    subject_noise_sd
        Standard deviation over subjects of the logarithm of the noise.
    session_gain_sd
        Standard deviation, from one session to the next, of the logarithm of the response's strength.
    session_rotation_rad
        How far features turn from one session to the next. Session 1 is where both start.
    """

    name: ClassVar[str]
    """As the command line names it."""
    title: ClassVar[str]

    seed: int = Field(default=0, ge=0)
    subject: int = Field(default=1, ge=0)
    rate_hz: float = Field(default=1000.0, gt=0)
    soa_s: float = Field(default=1.0, gt=0)
    snr: float = Field(default=0.2, ge=0)
    noise: float = Field(default=1.0, ge=0)
    nonlinearity: float = Field(default=0.3, ge=0, le=1)
    latency_jitter_s: float = Field(default=0.006, ge=0, le=0.03)
    gain_sd: float = Field(default=0.2, ge=0, le=1)
    artefacts: float = Field(default=1.0, ge=0)
    rotation_rad: float = Field(default=0.6, ge=0)
    subject_coupling_sd: float = Field(default=0.2, ge=0, le=1)
    subject_noise_sd: float = Field(default=0.15, ge=0, le=1)
    session_gain_sd: float = Field(default=0.05, ge=0, le=1)
    session_rotation_rad: float = Field(default=0.08, ge=0)

    @abstractmethod
    def device(self, n_latent: int) -> Device:
        """Put this person into the device.

        Parameters
        ----------
        n_latent
            Number of latent features.
        """

    @property
    def coupling(self) -> float:
        """How strongly this subject's brain reaches the sensors; 1 is typical."""
        return float(np.exp(self.subject_coupling_sd * self._traits()[0]))

    @property
    def noise_level(self) -> float:
        """What this subject's noise is multiplied by."""
        return self.noise * float(np.exp(self.subject_noise_sd * self._traits()[1]))

    def linear_gaussian(self) -> Self:
        """Give the same subject with every dial at zero that makes the world other than linear and Gaussian.

        Those are non-linearity, jitter, gain, artefacts, and drift between sessions; not signal-to-noise,
        noise, and what subjects differ in.
        """
        return self.model_copy(
            update={
                "nonlinearity": 0.0,
                "latency_jitter_s": 0.0,
                "gain_sd": 0.0,
                "artefacts": 0.0,
                "session_gain_sd": 0.0,
                "session_rotation_rad": 0.0,
            }
        )

    def _traits(self) -> tuple[float, float]:
        if self.subject == 1:
            return 0.0, 0.0
        coupling, noise = np.random.default_rng((PEOPLE, Use.TRAITS, self.seed, self.subject)).normal(size=2)
        return float(coupling), float(noise)
