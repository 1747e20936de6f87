"""EEG: a cap of 63 electrodes at 1000 Hz."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import Field

from replay.datasets.simulated.artefacts import (
    Background,
    Disturbances,
    blinks,
    heartbeats,
    muscle_bursts,
    pops,
)
from replay.datasets.simulated.cortex import cortex_device
from replay.datasets.simulated.device import PEOPLE, Device
from replay.datasets.simulated.head import Sensors, build_head, cap_info
from replay.datasets.simulated.noise import Blocks
from replay.datasets.simulated.responses import Wave
from replay.datasets.simulated.settings import SubjectSettings
from rtdecode.contracts import Channel, ChannelType, Unit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

# The 64 electrodes of a standard active cap without its reference: the 63 channels of THINGS-EEG.
EEG_NAMES: tuple[str, ...] = (
    "Fp1", "Fz", "F3", "F7", "FT9", "FC5", "FC1", "C3", "T7", "TP9", "CP5", "CP1", "Pz", "P3", "P7", "O1",
    "Oz", "O2", "P4", "P8", "TP10", "CP6", "CP2", "C4", "T8", "FT10", "FC6", "FC2", "F4", "F8", "Fp2", "AF7",
    "AF3", "AFz", "F1", "F5", "FT7", "FC3", "FCz", "C1", "C5", "TP7", "CP3", "P1", "P5", "PO7", "PO3", "POz",
    "PO4", "PO8", "P6", "P2", "CPz", "CP4", "TP8", "C6", "C2", "FC4", "FT8", "F6", "F2", "AF4", "AF8",
)  # fmt: skip
REFERENCE = "Cz"

_BLOCKS = Blocks(chunk=32768, overlap=4096)

# The part that every image evokes: wave, relative strength along the outward direction, regions.
_EVOKED: tuple[tuple[Wave, float, tuple[str, ...]], ...] = (
    (Wave(0.104, 0.015), 0.55, ("PO7", "PO8", "O1", "O2")),
    (Wave(0.168, 0.021), -0.95, ("PO7", "PO8", "P7", "P8")),
    (Wave(0.225, 0.030), 0.50, ("PO7", "PO8", "O1", "O2")),
    (Wave(0.330, 0.060), 0.35, ("P1", "P2")),
)


class EegSettings(SubjectSettings):
    """Dials of a simulated EEG subject; the defaults make plausible scalp EEG.

    ``snr`` is about 60-500 ms after onset, relative to brain noise and alpha together. The other dials that
    all devices have are those of :class:`~replay.datasets.simulated.settings.SubjectSettings`.

    Parameters
    ----------
    evoked_v
        Largest deflection of the average evoked response, whatever the image.
    brain_v, alpha_v, sensor_v
        Standard deviation of 1/f brain noise and of alpha (root mean square over channels), and of sensor
        noise.
    brain_slope
        The spectrum of brain noise falls with frequency to the power of minus this (in power).
    alpha_hz
        Frequency of the alpha rhythm.
    offset_v, drift_v
        Standard deviation over channels of the electrode offset, and of its drift over minutes.
    line_hz, line_v
        Mains frequency, and effective value of the hum.
    blink_v, blinks_per_min
        Peak at the forehead, and rate.
    heartbeat_v
        Peak of the heart's field.
    muscle_v, muscle_per_min, pop_v, pops_per_min
        Strength and rate of muscle bursts and electrode pops.
    """

    name: ClassVar[str] = "simulated-eeg"
    title: ClassVar[str] = "EEG, 63 electrodes, 1000 Hz"

    rate_hz: float = Field(default=1000.0, ge=200)
    soa_s: float = Field(default=0.35, gt=0)
    snr: float = Field(default=0.16, ge=0)
    evoked_v: float = Field(default=7e-6, ge=0)
    brain_v: float = Field(default=9e-6, gt=0)
    brain_slope: float = Field(default=1.3, ge=0, le=3)
    alpha_v: float = Field(default=6e-6, ge=0)
    alpha_hz: float = Field(default=10.2, ge=6, le=14)
    sensor_v: float = Field(default=1.5e-6, ge=0)
    offset_v: float = Field(default=3e-3, ge=0)
    drift_v: float = Field(default=40e-6, ge=0)
    line_hz: float = Field(default=50.0, gt=0)
    line_v: float = Field(default=1.5e-6, ge=0)
    blink_v: float = Field(default=130e-6, ge=0)
    blinks_per_min: float = Field(default=10.0, ge=0)
    heartbeat_v: float = Field(default=2.5e-6, ge=0)
    muscle_v: float = Field(default=20e-6, ge=0)
    muscle_per_min: float = Field(default=1.0, ge=0)
    pop_v: float = Field(default=120e-6, ge=0)
    pops_per_min: float = Field(default=0.5, ge=0)

    def device(self, n_latent: int) -> Device:
        """Put the cap on this person's head."""
        return cortex_device(
            self,
            eeg_cap(),
            _BLOCKS,
            n_latent,
            stream=PEOPLE,
            evoked_parts=_EVOKED,
            axis=0,
            evoked=self.evoked_v,
            brain=self.brain_v,
            slope=self.brain_slope,
            alpha=self.alpha_v,
            alpha_hz=self.alpha_hz,
            sensor=self.sensor_v,
            disturbances=self._disturbances,
        )

    def _disturbances(self, rng: np.random.Generator, duration_s: float) -> Disturbances:
        cap, scale = eeg_cap(), self.artefacts
        background = Background(
            len(cap.channels),
            rng,
            scale * self.offset_v,
            scale * self.drift_v,
            scale * self.line_v,
            self.line_hz,
        )
        forehead = np.exp(-0.5 * (cap.distance_m("Fp1", "Fp2") / 0.045) ** 2)
        from_heart = (cap.positions_m - cap.head.centre_m) @ np.array([-0.7, 0.2, -0.7])  # the lower left
        from_heart /= np.abs(from_heart).max()
        jaws = (
            np.exp(-0.5 * (cap.distance_m("FT9", "F7") / 0.035) ** 2),
            np.exp(-0.5 * (cap.distance_m("FT10", "F8") / 0.035) ** 2),
        )
        time = (rng, self.rate_hz, duration_s)
        return Disturbances(
            background,
            (
                *blinks(forehead, *time, scale * self.blink_v, self.blinks_per_min),
                *heartbeats(from_heart, *time, scale * self.heartbeat_v),
                *muscle_bursts(jaws, *time, scale * self.muscle_v, self.muscle_per_min),
                *pops(len(cap.channels), *time, scale * self.pop_v, self.pops_per_min),
            ),
        )


@cache
def eeg_cap() -> Sensors:
    """Put the 63 electrodes on the head; what they show is against the reference electrode."""
    head = build_head()
    info = cap_info([*EEG_NAMES, REFERENCE])

    def lead_field(places_m: Array) -> Array:
        potentials = head.forward(info, places_m, "eeg")
        against_reference: Array = potentials[..., :-1] - potentials[..., -1:]
        return against_reference

    return Sensors(
        head=head,
        channels=tuple(
            Channel(
                name=name,
                type=ChannelType.EEG,
                unit=Unit.VOLT,
                position_m=(float(x), float(y), float(z)),
            )
            for name, (x, y, z) in ((name, head.landmarks_m[name]) for name in EEG_NAMES)
        ),
        lead_field=lead_field,
    )
