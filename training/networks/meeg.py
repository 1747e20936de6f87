"""The deep decoder for EEG and MEG, from its description in the study.

Banville et al. 2025 (arXiv 2501.15322) and its predecessor Benchetrit et al. 2023 (arXiv 2310.19812): spatial
attention, one linear layer a subject, two blocks of dilated convolutions, a learned mean over time, linear
heads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

from training.networks.sensors import SpatialAttention, SubjectLayer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from training.networks.settings import MeegSettings


class MeegNetwork(nn.Module):
    """Windows of EEG or MEG to embeddings.

    Parameters
    ----------
    settings
        Sizes.
    n_times
        Points of a window.
    n_subjects
        People that it is trained on.
    heads
        Dimensions of the outputs, by name.
    """

    def __init__(
        self, settings: MeegSettings, n_times: int, n_subjects: int, heads: Mapping[str, int]
    ) -> None:
        super().__init__()
        self.attention = SpatialAttention(settings.n_virtual, settings.n_fourier, settings.sensor_dropout)
        self.mixing = nn.Conv1d(settings.n_virtual, settings.n_virtual, 1)
        self.subject_layer = SubjectLayer(settings.n_virtual, n_subjects)
        n_in = [settings.n_virtual, *[settings.n_hidden] * (len(settings.dilations) - 1)]
        self.blocks = nn.Sequential(
            *(
                _Block(n, settings.n_hidden, settings.kernel, dilations)
                for n, dilations in zip(n_in, settings.dilations, strict=True)
            )
        )
        self.widening = nn.Conv1d(settings.n_hidden, 2 * settings.n_hidden, 1)
        self.features = nn.Linear(2 * settings.n_hidden, settings.n_features)
        self.over_time = nn.Linear(n_times, 1)
        self.heads = nn.ModuleDict({name: nn.Linear(settings.n_features, dim) for name, dim in heads.items()})

    def forward(
        self, windows: torch.Tensor, positions: torch.Tensor, subjects: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """Predict embeddings.

        Parameters
        ----------
        windows : tensor of shape (batch, n_times, n_channels)
            After baseline, scaling and clamp.
        positions : tensor of shape (n_channels, 2)
            Of the channels, see :func:`training.networks.sensors.layout`. Other sensors than in training, or
            the same in another order, are fine: position alone counts.
        subjects : tensor of shape (batch,), int64
            Counted from 0.

        Returns
        -------
        dict of tensors of shape (batch, dim)
            By head.
        """
        signal = self.attention(windows.transpose(1, 2), positions)
        signal = self.subject_layer(self.mixing(signal), subjects)
        hidden = functional.gelu(self.widening(self.blocks(signal)))
        # The features of each point, (W h + b), are averaged over time with weights a and an offset c. Both
        # are linear: averaging first gives the same numbers for a fraction of the work.
        averaged = hidden @ self.over_time.weight[0]
        offset = self.features.bias * self.over_time.weight.sum() + self.over_time.bias
        features = functional.linear(averaged, self.features.weight) + offset
        return {name: head(features) for name, head in self.heads.items()}


class _Block(nn.Module):
    """Dilated convolutions with skips where sizes agree, then a gated one."""

    def __init__(self, n_in: int, n_out: int, kernel: int, dilations: tuple[int, ...]) -> None:
        super().__init__()
        self.layers = nn.ModuleList()
        for dilation in dilations:
            convolution = nn.Conv1d(n_in, n_out, kernel, dilation=dilation, padding=dilation * (kernel // 2))
            self.layers.append(nn.Sequential(convolution, nn.BatchNorm1d(n_out), nn.GELU()))
            n_in = n_out
        self.gate = nn.Sequential(nn.Conv1d(n_out, 2 * n_out, kernel, padding=kernel // 2), nn.GLU(dim=1))

    def forward(self, signal: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            made = layer(signal)
            signal = made + signal if made.shape == signal.shape else made
        gated: torch.Tensor = self.gate(signal)
        return gated
