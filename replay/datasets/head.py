"""A head with electrodes: an EEG cap on a spherical head model, through MNE."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

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
_MONTAGE = "easycap-M1"


@dataclass(frozen=True, slots=True)
class EegHead:
    """Electrodes on a sphere of four tissues.

    Parameters
    ----------
    channels
        The 63 electrodes, with their positions in head coordinates.
    centre_m
        Centre of the sphere in head coordinates, shape (3,).
    brain_m
        Radius of the innermost sphere, metres.
    landmarks_m
        Position of every electrode name of the cap's 10-10 system, also of those without a channel.
    """

    channels: tuple[Channel, ...]
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

    def lead_field(self, places_m: Array) -> Array:
        """Potentials of unit dipoles, against the reference electrode.

        Parameters
        ----------
        places_m : array of shape (n, 3)
            Inside the brain's sphere, head coordinates.

        Returns
        -------
        array of shape (n, 3, n_channels)
            Volts for each ampere metre along x, y and z.
        """
        import mne

        names = [*(channel.name for channel in self.channels), REFERENCE]
        source = mne.setup_volume_source_space(
            pos={"rr": places_m, "nn": np.tile((0.0, 0.0, 1.0), (len(places_m), 1))}, verbose="error"
        )
        forward = mne.make_forward_solution(
            _info(names), trans=None, src=source, bem=self.conductor, meg=False, eeg=True, verbose="error"
        )
        potentials = forward["sol"]["data"]  # (n_electrodes, 3 n), already in the names' order
        if forward["nsource"] != len(places_m):
            raise ValueError("a dipole lies outside the brain's sphere")
        field: Array = (potentials[:-1] - potentials[-1:]).T.reshape(len(places_m), 3, -1)
        return field


def _info(names: list[str]) -> Any:
    import mne

    info = mne.create_info(names, 1000.0, "eeg")
    info.set_montage(mne.channels.make_standard_montage(_MONTAGE), verbose="error")
    return info


@cache
def eeg_head() -> EegHead:
    """Build the head that all simulated EEG subjects have."""
    import mne

    landmarks = mne.channels.make_standard_montage(_MONTAGE).ch_names
    info = _info([*landmarks])
    conductor = mne.make_sphere_model("auto", "auto", info, verbose="error")
    positions = {channel["ch_name"]: np.array(channel["loc"][:3], dtype=float) for channel in info["chs"]}
    return EegHead(
        channels=tuple(
            Channel(
                name=name,
                type=ChannelType.EEG,
                unit=Unit.VOLT,
                position_m=(float(x), float(y), float(z)),
            )
            for name, (x, y, z) in ((name, positions[name]) for name in EEG_NAMES)
        ),
        centre_m=np.array(conductor["r0"], dtype=float),
        brain_m=float(conductor["layers"][0]["rad"]),
        landmarks_m=positions,
        conductor=conductor,
    )
