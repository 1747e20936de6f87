"""Attention over sensor positions: any set of sensors, in any order, becomes the same virtual channels.

Défossez et al. 2023, *Decoding speech perception from non-invasive brain recordings*, Nature Machine
Intelligence 5, 1097-1107.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from rtdecode.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rtdecode.contracts import Channel

_MARGIN = 0.2
"""The Fourier series repeats only this far beyond the layout's border: opposite borders are no neighbours."""


def layout(channels: Sequence[Channel]) -> np.ndarray:
    """Positions of sensors on a flat map of the head.

    Azimuthal equidistant projection from the middle of the sphere that fits the sensors best: distance on the
    map from its centre is the angle from straight up, as in topographies. Scaled so that the map spans 0 to 1
    along its longer side.

    Returns
    -------
    array of shape (n_channels, 2), float32
        x to the right, y to the front.

    Raises
    ------
    UserError
        If a channel has no position.
    """
    if lacking := [channel.name for channel in channels if channel.position_m is None]:
        raise UserError(
            f"no sensor position of {', '.join(lacking[:8])}: a deep decoder attends to sensors by position; "
            "use recordings that know them, or leave these channels out ([signal] channels)"
        )
    places = np.array([channel.position_m for channel in channels], dtype=np.float64)
    flat = _project(places - _centre(places))
    flat -= flat.min(axis=0)
    spread = flat.max()
    scaled: np.ndarray = (flat / spread if spread > 0 else flat).astype(np.float32)
    return scaled


def _centre(places: np.ndarray) -> np.ndarray:
    """Middle of the sphere that fits best: |p|^2 = 2 p c + (r^2 - |c|^2) is linear in c and the rest."""
    if len(places) < 4:
        below: np.ndarray = places.mean(axis=0) * (1.0, 1.0, 0.0)
        return below
    system = np.column_stack([2 * places, np.ones(len(places))])
    found: np.ndarray = np.linalg.lstsq(system, np.sum(places**2, axis=1), rcond=None)[0][:3]
    return found


def _project(directions: np.ndarray) -> np.ndarray:
    horizontal = np.hypot(directions[:, 0], directions[:, 1])
    angle = np.arctan2(horizontal, directions[:, 2])
    ratio = np.divide(angle, horizontal, out=np.zeros_like(angle), where=horizontal > 0)
    flat: np.ndarray = directions[:, :2] * ratio[:, None]
    return flat


class SpatialAttention(nn.Module):
    r"""Weighted means of sensors, the weights a softmax over sensors of a function of their position.

    .. math:: a_j(x, y) = \sum_{k, l} z_{j,k,l} e^{2 \pi i (k x + l y)}, \quad
       out_j = \sum_s softmax_s(a_j(x_s, y_s)) \, in_s

    Parameters
    ----------
    n_out
        Virtual channels.
    n_fourier
        Real coefficients of each; twice a square.
    dropout_radius
        While training all sensors within this distance from a random place are left out, on a map of side 1.
    """

    def __init__(self, n_out: int, n_fourier: int, dropout_radius: float) -> None:
        super().__init__()
        n = math.isqrt(n_fourier // 2)
        if 2 * n * n != n_fourier:
            raise ValueError(f"n_fourier {n_fourier} is not twice a square")
        self.n = n
        self.dropout_radius = dropout_radius
        self.weights = nn.Parameter(torch.randn(n_out, n_fourier) / math.sqrt(n_fourier))

    def forward(self, signal: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """Attend to sensors.

        Parameters
        ----------
        signal : tensor of shape (batch, n_channels, n_times)
        positions : tensor of shape (n_channels, 2)
            See :func:`layout`; the same for the whole batch.

        Returns
        -------
        tensor of shape (batch, n_out, n_times)
        """
        return torch.einsum("oc,bct->bot", self.attention(positions), signal)

    def attention(self, positions: torch.Tensor) -> torch.Tensor:
        """Weights of the sensors, (n_out, n_channels); rows sum to 1."""
        scores = self.weights @ self._fourier(positions).T
        if self.training and self.dropout_radius > 0:
            place = torch.rand(2, device=positions.device, dtype=positions.dtype)
            left_out = torch.linalg.vector_norm(positions - place, dim=1) <= self.dropout_radius
            if not left_out.all():
                scores = scores.masked_fill(left_out, -torch.inf)
        return scores.softmax(dim=1)

    def _fourier(self, positions: torch.Tensor) -> torch.Tensor:
        """Cosines and sines of all pairs of frequencies, (n_channels, n_fourier)."""
        frequency = 2 * math.pi * torch.arange(self.n, device=positions.device, dtype=positions.dtype)
        place = (positions + _MARGIN) / (1 + 2 * _MARGIN)
        phase = (place[:, :1, None] * frequency[:, None] + place[:, 1:, None] * frequency).flatten(1)
        return torch.cat([phase.cos(), phase.sin()], dim=1)


class SubjectLayer(nn.Module):
    """One linear map of channels a subject, without bias.

    Parameters
    ----------
    n_channels
        In and out.
    n_subjects
        How many there are.
    """

    def __init__(self, n_channels: int, n_subjects: int) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.randn(n_subjects, n_channels, n_channels) / math.sqrt(n_channels))

    def forward(self, signal: torch.Tensor, subjects: torch.Tensor) -> torch.Tensor:
        """Map ``signal`` (batch, n_channels, n_times) by each row's subject (batch,), counted from 0."""
        # index_select and a product have no loop over subjects: they export as they are
        return torch.einsum("bij,bjt->bit", self.weights.index_select(0, subjects), signal)
