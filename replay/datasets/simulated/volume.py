"""A folded brain in a scanner's grid: which voxels are visual cortex, and smooth maps over them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from replay.datasets.simulated.device import PEOPLE, Use

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

# Millimetres rightward, forward and upward from the brain's middle.
_HALF_AXES_MM = np.array([67.0, 86.0, 62.0])
_FIELD_MM = np.array([144.0, 184.0, 136.0])
"""What the scanner's grid covers."""

_CORTEX_MM = 3.0
_SULCUS_MM = 0.8
_DEEPEST_SULCUS_MM = 18.0
_FOLD_MM = 15.0
"""Distance from one fold to the next, about."""

_VISUAL_MM = (np.array([22.0, -72.0, -4.0]), np.array([16.0, 16.0, 15.0]))
"""Centre, in the right hemisphere, and half axes of the part of the brain that is taken for visual."""

_N_WAVES = 300
_FINEST_MM = 4.0
"""Maps over cortex vary over this distance; a scanner may blur them."""


@dataclass(frozen=True, eq=False, slots=True)
class Cortex:
    """Visual cortex in one grid.

    Parameters
    ----------
    voxel_mm
        Edge of a voxel.
    grid
        Voxels along each axis.
    index : array of shape (n_voxels, 3)
        Where in the grid the voxels of visual cortex are, first index slowest.
    """

    voxel_mm: float
    grid: tuple[int, int, int]
    index: NDArray[np.int64]

    @property
    def places_mm(self) -> Array:
        """Middle of each voxel, shape (n_voxels, 3)."""
        return places_mm(self.index, self.grid, self.voxel_mm)


def places_mm(index: NDArray[np.int64], grid: tuple[int, int, int], voxel_mm: float) -> Array:
    """Middles of voxels (n, 3) of a grid, millimetres from the brain's middle."""
    places: Array = (index - (np.array(grid) - 1) / 2) * voxel_mm
    return places


@cache
def visual_cortex(voxel_mm: float) -> Cortex:
    """Find the voxels of visual cortex in a grid of this fineness: both banks of the folds at the back."""
    n_x, n_y, n_z = np.ceil(_FIELD_MM / voxel_mm).astype(int).tolist()
    grid = (n_x, n_y, n_z)
    index = np.argwhere(np.ones(grid, dtype=bool))
    places = places_mm(index, grid, voxel_mm)
    centre, half_axes = _VISUAL_MM
    folded = np.abs(places * [1, 0, 0]) + places * [0, 1, 1]  # left onto right
    near = np.linalg.norm((folded - centre) / half_axes, axis=1) < 1.0
    grey = np.zeros(len(places), dtype=bool)
    grey[near] = tissues(places[near])[0] > 0.5
    return Cortex(voxel_mm, grid, index[grey])


def tissues(places: Array) -> tuple[Array, Array, Array]:
    """How much grey matter, white matter and fluid there is at places (n, 3), millimetres; (n,) each.

    None outside the skull. Sulci are where a smooth random field is zero, in each hemisphere another one.
    """
    radius = np.linalg.norm(places / _HALF_AXES_MM, axis=1)
    depth = (1 - radius) * _HALF_AXES_MM.mean()
    fold, slope = _folds(places)
    from_sulcus = np.abs(fold) / np.maximum(slope, 1e-9)
    from_sulcus += np.maximum(depth - _DEEPEST_SULCUS_MM, 0.0)  # where it ends, cortex closes below it
    between = np.abs(places[:, 0]) + np.maximum(-20.0 - places[:, 2], 0.0)  # the fissure, open above
    surface = np.minimum(depth, np.minimum(from_sulcus, between))

    def step(x: Array) -> Array:
        soft: Array = 1 / (1 + np.exp(-x / 0.3))
        return soft

    inside = step(depth)
    open_ = step(surface - _SULCUS_MM)
    grey = inside * open_ * step(_CORTEX_MM + _SULCUS_MM - surface)
    white = inside * step(surface - _CORTEX_MM - _SULCUS_MM)
    fluid = step(depth + 4.0) - inside + inside * (1 - open_)
    return grey, white, fluid


def smooth_maps(places: Array, n_maps: int, seed: tuple[int, ...], blur_mm: float, scale_mm: float) -> Array:
    """Smooth Gaussian random fields at places (n, 3), shape (n_maps, n); SD 1 before the blur.

    Parameters
    ----------
    places
        Millimetres.
    n_maps
        How many fields, independent of each other.
    seed
        Decides them; the same at any place and under any blur.
    blur_mm
        Standard deviation of the Gaussian that they are seen through.
    scale_mm
        Distance over which they vary.
    """
    rng = np.random.default_rng(seed)
    waves = rng.normal(size=(_N_WAVES, 3)) / scale_mm
    phase = rng.uniform(0, 2 * np.pi, size=_N_WAVES)
    strength = rng.normal(size=(n_maps, _N_WAVES)) * np.sqrt(2 / _N_WAVES)
    seen = np.exp(-0.5 * (blur_mm**2) * np.sum(waves**2, axis=1))
    maps: Array = (strength * seen) @ np.cos(waves @ places.T + phase[:, None])
    return maps


def receptive_weights(places: Array, n_latent: int, blur_mm: float) -> Array:
    """How strongly each latent feature drives each voxel, (n_latent, n): smooth, and for all people."""
    return smooth_maps(places, n_latent, (PEOPLE, Use.WIRING, 0xF), blur_mm, _FINEST_MM)


def _folds(places: Array) -> tuple[Array, Array]:
    """Value of the field whose zeros are the sulci, and its slope in each millimetre, (n,) each."""
    rng = np.random.default_rng((PEOPLE, Use.ANATOMY, 0xF))
    direction = rng.normal(size=(60, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    waves = direction * (2 * np.pi / (2 * _FOLD_MM) * rng.uniform(0.75, 1.25, size=(60, 1)))
    phase = rng.uniform(0, 2 * np.pi, size=60)
    # Hemispheres resemble each other, but are no mirror images.
    right = places[:, 0] > 0
    mirrored = np.abs(places * [1, 0, 0]) + places * [0, 1, 1]
    angle = mirrored @ waves.T + phase + np.where(right, 0.0, 0.7)[:, None]
    value = np.cos(angle).sum(axis=1)
    slope = np.linalg.norm(np.sin(angle) @ waves, axis=1)
    # Where the field is flat, its distance to zero is not known from its slope: no less than typical.
    return value, np.maximum(slope, 0.5 * np.sqrt(30.0) * 2 * np.pi / (2 * _FOLD_MM))
