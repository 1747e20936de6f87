"""MEG: a CTF-like helmet of 272 axial gradiometers at 1200 Hz."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

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
from replay.datasets.simulated.head import Sensors, build_head
from replay.datasets.simulated.noise import Blocks
from replay.datasets.simulated.responses import Wave
from replay.datasets.simulated.settings import SubjectSettings
from rtdecode.contracts import Channel, ChannelType, Unit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from replay.datasets.simulated.device import Device

    Array = NDArray[np.float64]

_STREAM = 0x3E6
_BLOCKS = Blocks(chunk=16384, overlap=2048)

_BROKEN = ("MLF25", "MRF43", "MRO13")
"""Of the 275 gradiometers these are off, so that 272 are left."""

# The helmet's inner coils lie on an ellipsoid: its half axes (rightward, forward, upward), and where its
# centre lies from the head's. They are those of the mesh that MNE ships of this helmet, to 3 mm on average.
_HALF_AXES_M = np.array([0.099, 0.119, 0.128])
_SHIFT_M = np.array([0.0, 0.007, -0.008])
# MNE's layout of this helmet is flat: distance from its middle is taken as angle from the helmet's top, which
# leans forward a little.
_LAYOUT_MIDDLE_Y = 0.1
_REACH_RAD = np.deg2rad(108.0)
_PITCH_RAD = np.deg2rad(14.0)

# The part that every image evokes: wave, relative strength along the upward direction, regions.
_EVOKED: tuple[tuple[Wave, float, tuple[str, ...]], ...] = (
    (Wave(0.100, 0.014), 0.80, ("O1", "O2", "Oz")),
    (Wave(0.165, 0.022), -1.00, ("PO7", "PO8", "P7", "P8")),
    (Wave(0.230, 0.032), 0.55, ("PO7", "PO8", "O1", "O2")),
    (Wave(0.340, 0.065), 0.35, ("P1", "P2")),
)


class MegSettings(SubjectSettings):
    """Dials of a simulated MEG subject; the defaults make plausible MEG after compensation.

    ``snr`` is about 60-500 ms after onset, relative to brain noise and alpha together. The other dials that
    all devices have are those of :class:`~replay.datasets.simulated.settings.SubjectSettings`.

    Parameters
    ----------
    evoked_t
        Largest deflection of the average evoked response, whatever the image.
    brain_t, alpha_t, sensor_t
        Standard deviation of 1/f brain noise and of alpha (root mean square over channels), and of sensor
        noise: 4 fT in each square root of a hertz.
    brain_slope
        The spectrum of brain noise falls with frequency to the power of minus this (in power).
    alpha_hz
        Frequency of the alpha rhythm.
    offset_t, drift_t
        Standard deviation over channels of the offset, and of the drift over minutes that is left of the
        room's field.
    line_hz, line_t
        Mains frequency, and effective value of the hum.
    blink_t, blinks_per_min
        Peak over the forehead, and rate.
    heartbeat_t
        Peak of the heart's field.
    muscle_t, muscle_per_min, jump_t, jumps_per_min
        Strength and rate of muscle bursts, and of jumps of a SQUID.
    """

    name: ClassVar[str] = "simulated-meg"
    title: ClassVar[str] = "MEG, 272 axial gradiometers, 1200 Hz"

    rate_hz: float = Field(default=1200.0, ge=200)
    soa_s: float = Field(default=1.5, gt=0)
    snr: float = Field(default=0.2, ge=0)
    evoked_t: float = Field(default=2.2e-13, ge=0)
    brain_t: float = Field(default=1.3e-13, gt=0)
    brain_slope: float = Field(default=1.2, ge=0, le=3)
    alpha_t: float = Field(default=1.0e-13, ge=0)
    alpha_hz: float = Field(default=10.2, ge=6, le=14)
    sensor_t: float = Field(default=1.0e-13, ge=0)
    offset_t: float = Field(default=2e-12, ge=0)
    drift_t: float = Field(default=4e-13, ge=0)
    line_hz: float = Field(default=60.0, gt=0)
    line_t: float = Field(default=6e-14, ge=0)
    blink_t: float = Field(default=1.6e-12, ge=0)
    blinks_per_min: float = Field(default=10.0, ge=0)
    heartbeat_t: float = Field(default=3.5e-13, ge=0)
    muscle_t: float = Field(default=5e-13, ge=0)
    muscle_per_min: float = Field(default=1.0, ge=0)
    jump_t: float = Field(default=8e-12, ge=0)
    jumps_per_min: float = Field(default=0.1, ge=0)

    def device(self, n_latent: int) -> Device:
        """Put this person's head into the helmet."""
        return cortex_device(
            self,
            meg_helmet(),
            _BLOCKS,
            n_latent,
            stream=_STREAM,
            evoked_parts=_EVOKED,
            axis=2,
            evoked=self.evoked_t,
            brain=self.brain_t,
            slope=self.brain_slope,
            alpha=self.alpha_t,
            alpha_hz=self.alpha_hz,
            sensor=self.sensor_t,
            disturbances=self._disturbances,
        )

    def _disturbances(self, rng: np.random.Generator, duration_s: float) -> Disturbances:
        helmet, scale = meg_helmet(), self.artefacts
        head = helmet.head
        background = Background(
            len(helmet.channels),
            rng,
            scale * self.offset_t,
            scale * self.drift_t,
            scale * self.line_t,
            self.line_hz,
        )
        # The eyes' fields are those of currents behind the forehead; the heart's is smooth over the helmet.
        behind = np.array([head.under(name, 0.05) for name in ("Fp1", "Fp2")])
        around = np.array([head.axes(place)[1] for place in behind])
        eyes = np.einsum("nd,ndc->c", around, helmet.lead_field(behind))
        heart = (helmet.positions_m - head.centre_m) @ np.array([-0.8, 0.3, -0.5])
        temples = (
            np.exp(-0.5 * (helmet.distance_m("FT9", "TP9") / 0.04) ** 2),
            np.exp(-0.5 * (helmet.distance_m("FT10", "TP10") / 0.04) ** 2),
        )
        time = (rng, self.rate_hz, duration_s)
        return Disturbances(
            background,
            (
                *blinks(eyes / np.abs(eyes).max(), *time, scale * self.blink_t, self.blinks_per_min),
                *heartbeats(heart / np.abs(heart).max(), *time, scale * self.heartbeat_t),
                *muscle_bursts(temples, *time, scale * self.muscle_t, self.muscle_per_min),
                *pops(len(helmet.channels), *time, scale * self.jump_t, self.jumps_per_min),
            ),
        )


@cache
def meg_helmet() -> Sensors:
    """Put the 272 gradiometers around the head.

    Each measures the field along its axis at the inner coil minus that at the outer one, 5 cm farther out, in
    tesla; MNE calls such channels magnetometers, as CTF's files do.
    """
    import mne
    from mne.channels import read_layout

    layout = Path(mne.channels.__file__).parent / "data" / "layouts" / "CTF275.lay"
    flat = read_layout(layout, scale=False)
    kept = [index for index, name in enumerate(flat.names) if name not in _BROKEN]
    names = [flat.names[index] for index in kept]
    head = build_head()
    places, outward = _on_helmet(flat.pos[kept, :2])
    places += head.centre_m
    info = _helmet_info(names, places, outward)

    def lead_field(places_m: Array) -> Array:
        return head.forward(info, places_m, "meg")

    return Sensors(
        head=head,
        channels=tuple(
            Channel(
                name=name, type=ChannelType.MAG, unit=Unit.TESLA, position_m=(float(x), float(y), float(z))
            )
            for name, (x, y, z) in zip(names, places, strict=True)
        ),
        lead_field=lead_field,
    )


def _on_helmet(flat: Array) -> tuple[Array, Array]:
    """From places in the layout (n, 2) to those of inner coils, from the head's centre, and their axes."""
    x, y = flat[:, 0], flat[:, 1] - _LAYOUT_MIDDLE_Y
    down = _REACH_RAD * np.hypot(x, y)
    around = np.arctan2(y, x)
    level = np.column_stack([np.sin(down) * np.cos(around), np.sin(down) * np.sin(around), np.cos(down)])
    cos, sin = np.cos(_PITCH_RAD), np.sin(_PITCH_RAD)
    towards = level @ np.array([[1.0, 0.0, 0.0], [0.0, cos, sin], [0.0, -sin, cos]])
    inner = towards / np.linalg.norm(towards / _HALF_AXES_M, axis=1, keepdims=True)
    outward = inner / _HALF_AXES_M**2
    return inner + _SHIFT_M, outward / np.linalg.norm(outward, axis=1, keepdims=True)


def _helmet_info(names: list[str], places: Array, outward: Array) -> Any:
    """Gradiometers as MNE has them, the device's coordinates being the head's."""
    import mne
    from mne.io.constants import FIFF

    info = mne.create_info(names, 1200.0, "mag")
    for channel, place, axis in zip(info["chs"], places, outward, strict=True):
        across = np.cross(axis, (0.0, 1.0, 0.0) if abs(axis[1]) < 0.9 else (1.0, 0.0, 0.0))
        across /= np.linalg.norm(across)
        channel["loc"] = np.concatenate([place, across, np.cross(axis, across), axis])
        channel["coil_type"] = FIFF.FIFFV_COIL_CTF_GRAD
    with info._unlock():
        info["dev_head_t"] = mne.Transform("meg", "head", np.eye(4))
    return info
