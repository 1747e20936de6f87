"""The head that all simulated people have, and sensors around it: spherical head models, through MNE."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from rtdecode.contracts import Channel

    Array = NDArray[np.float64]

MONTAGE = "easycap-M1"


@dataclass(frozen=True, eq=False, slots=True)
class Head:
    """A sphere of four tissues, and the places on it that the 10-10 system names.

    Parameters
    ----------
    centre_m
        Centre of the sphere in head coordinates, shape (3,).
    brain_m
        Radius of the innermost sphere, metres.
    landmarks_m
        Position of every electrode name of the 10-10 system, shape (3,) each.
    conductor
        The sphere model, as MNE has it.
    """

    centre_m: Array
    brain_m: float
    landmarks_m: dict[str, Array]
    conductor: Any

    def under(self, electrode: str, depth: float) -> Array:
        """Give the place in the brain below an electrode; ``depth`` 0 is the surface, 1 the centre."""
        outward = self.landmarks_m[electrode] - self.centre_m
        place: Array = self.centre_m + outward / np.linalg.norm(outward) * (1 - depth) * self.brain_m
        return place

    def axes(self, place_m: Array) -> Array:
        """Give three orthogonal directions at a place: radial, around (rightward), upward; shape (3, 3)."""
        radial = (place_m - self.centre_m) / np.linalg.norm(place_m - self.centre_m)
        around = np.cross(radial, (0.0, 0.0, 1.0))
        around /= np.linalg.norm(around)
        return np.stack([radial, around, np.cross(around, radial)])

    def forward(self, info: Any, places_m: Array, kind: str) -> Array:
        """What sensors see of unit dipoles in the brain.

        Parameters
        ----------
        info
            The sensors, as MNE has them.
        places_m : array of shape (n, 3)
            Inside the brain's sphere, head coordinates.
        kind
            ``"eeg"`` or ``"meg"``.

        Returns
        -------
        array of shape (n, 3, n_sensors)
            In the sensors' unit for each ampere metre along x, y and z.

        Raises
        ------
        ValueError
            If a place lies outside the brain.
        """
        import mne

        source = mne.setup_volume_source_space(
            pos={"rr": places_m, "nn": np.tile((0.0, 0.0, 1.0), (len(places_m), 1))}, verbose="error"
        )
        forward = mne.make_forward_solution(
            info,
            trans=None,
            src=source,
            bem=self.conductor,
            meg=kind == "meg",
            eeg=kind == "eeg",
            verbose="error",
        )
        if forward["nsource"] != len(places_m):
            raise ValueError("a dipole lies outside the brain's sphere")
        field: Array = forward["sol"]["data"].T.reshape(len(places_m), 3, -1)  # columns are 3 n
        return field


@dataclass(frozen=True, eq=False, slots=True)
class Sensors:
    """Sensors around a head.

    Parameters
    ----------
    head
        The head.
    channels
        The sensors, with their positions in head coordinates.
    lead_field
        From places in the brain (n, 3), metres, to what the sensors see of unit dipoles there,
        (n, 3, n_channels), in their unit for each ampere metre.
    """

    head: Head
    channels: tuple[Channel, ...]
    lead_field: Callable[[Array], Array]

    @property
    def positions_m(self) -> Array:
        """Positions of the sensors, shape (n_channels, 3)."""
        return np.array([channel.position_m for channel in self.channels])

    def distance_m(self, *electrodes: str) -> Array:
        """Distance of each sensor from the nearest of some places by name, shape (n_channels,)."""
        places = np.array([self.head.landmarks_m[name] for name in electrodes])
        distance: Array = np.linalg.norm(self.positions_m[:, None] - places, axis=2).min(axis=1)
        return distance


@cache
def build_head() -> Head:
    """Build the head."""
    import mne

    info = cap_info([*mne.channels.make_standard_montage(MONTAGE).ch_names])
    conductor = mne.make_sphere_model("auto", "auto", info, verbose="error")
    return Head(
        centre_m=np.array(conductor["r0"], dtype=float),
        brain_m=float(conductor["layers"][0]["rad"]),
        landmarks_m={
            channel["ch_name"]: np.array(channel["loc"][:3], dtype=float) for channel in info["chs"]
        },
        conductor=conductor,
    )


def cap_info(names: list[str]) -> Any:
    """Electrodes by name, as MNE has them."""
    import mne

    info = mne.create_info(names, 1000.0, "eeg")
    info.set_montage(mne.channels.make_standard_montage(MONTAGE), verbose="error")
    return info
