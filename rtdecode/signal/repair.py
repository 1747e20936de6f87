"""Rebuilding missing EEG channels from their neighbours."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.polynomial.legendre import legval

from rtdecode.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

_STIFFNESS = 4
_N_TERMS = 50
_SMOOTHING = 1e-5
FEWEST_CHANNELS = 4
"""Channels that must be there for others to be rebuilt."""


def interpolation_matrix(
    positions: npt.NDArray[np.float64], missing: Sequence[int]
) -> npt.NDArray[np.float64]:
    """Build the matrix that replaces missing channels by a spherical spline through the others.

    The potential at a missing sensor e is c_0 + sum_i c_i g(cos(e, e_i)) over the sensors e_i that are there,
    where the c_i sum to 0 and make the spline pass through the values at all e_i, and
    g(x) = sum_n (2n + 1) / (n (n + 1))^4 P_n(x) / 4 pi. The sensors are first put on the sphere that fits
    them best.

    Parameters
    ----------
    positions : array of shape (n, 3)
        Sensor positions, metres, in any coordinates.
    missing
        Indices of the channels to rebuild.

    Returns
    -------
    array of shape (n, n)
        The identity, but for the rows of the missing channels: these sum to 1 and make no use of missing
        channels.

    Raises
    ------
    UserError
        Fewer than four channels are left.

    References
    ----------
    Perrin, Pernier, Bertrand, Echallier, 1989. Spherical splines for scalp potential and current density
    mapping. Electroencephalography and Clinical Neurophysiology 72:184-187.
    """
    n = len(positions)
    lost = sorted(set(missing))
    matrix = np.eye(n)
    if not lost:
        return matrix
    there = [channel for channel in range(n) if channel not in set(lost)]
    if len(there) < FEWEST_CHANNELS:
        raise UserError(
            f"{len(lost)} of {n} channels are missing: at least {FEWEST_CHANNELS} must be there "
            "to rebuild the others"
        )
    directions = _on_unit_sphere(np.asarray(positions, np.float64))
    n_there = len(there)
    # [G 1; 1' 0] [c; c_0] = [values; 0]
    system = np.ones((n_there + 1, n_there + 1))
    system[:n_there, :n_there] = _spline(directions[there] @ directions[there].T)
    system[:n_there, :n_there] += _SMOOTHING * np.eye(n_there)
    system[n_there, n_there] = 0.0
    readout = np.ones((len(lost), n_there + 1))
    readout[:, :n_there] = _spline(directions[lost] @ directions[there].T)
    matrix[lost] = 0.0
    matrix[np.ix_(lost, there)] = np.linalg.solve(system, readout.T).T[:, :n_there]
    return matrix


def _on_unit_sphere(positions: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Directions of the sensors from the centre of the sphere that fits them best (least squares).

    |p - c|^2 = r^2 is linear in c and in r^2 - |c|^2: 2 p . c + (r^2 - |c|^2) = |p|^2.
    """
    equations = np.column_stack([2 * positions, np.ones(len(positions))])
    centre = np.linalg.lstsq(equations, (positions**2).sum(axis=1), rcond=None)[0][:3]
    from_centre = positions - centre
    directions: npt.NDArray[np.float64] = from_centre / np.linalg.norm(from_centre, axis=1, keepdims=True)
    return directions


def _spline(cosines: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    order = np.arange(1, _N_TERMS + 1)
    terms = (2 * order + 1) / (order * (order + 1.0)) ** _STIFFNESS / (4 * np.pi)
    return np.asarray(legval(np.clip(cosines, -1.0, 1.0), np.append(0.0, terms)), np.float64)
