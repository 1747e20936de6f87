"""The deep decoder for fMRI, from its description in the study.

Banville et al. 2025 (arXiv 2501.15322): one linear layer a subject from voxels to a hidden space, a linear
layer for each volume of the window, a learned mean over volumes, linear heads.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from training.networks.settings import FmriSettings


class FmriNetwork(nn.Module):
    """Windows of volumes to embeddings.

    Parameters
    ----------
    settings
        Sizes.
    n_times
        Volumes of a window.
    n_voxels
        Voxels of each subject.
    heads
        Dimensions of the outputs, by name.
    """

    def __init__(
        self, settings: FmriSettings, n_times: int, n_voxels: Sequence[int], heads: Mapping[str, int]
    ) -> None:
        super().__init__()
        n = settings.n_hidden
        self.subject_layers = nn.ModuleList(nn.Linear(voxels, n) for voxels in n_voxels)
        self.volume_weights = nn.Parameter(torch.randn(n_times, n, n) / math.sqrt(n))
        self.volume_bias = nn.Parameter(torch.zeros(n_times, n))
        self.norm = nn.LayerNorm(n)
        self.dropout = nn.Dropout(settings.dropout)
        self.over_time = nn.Linear(n_times, 1)
        self.heads = nn.ModuleDict({name: nn.Linear(n, dim) for name, dim in heads.items()})

    def forward(self, windows: torch.Tensor, subject: int) -> dict[str, torch.Tensor]:
        """Predict embeddings (batch, dim), by head, of one subject's windows (batch, n_times, n_voxels)."""
        hidden = self.subject_layers[subject](windows)
        hidden = torch.einsum("bti,tij->btj", hidden, self.volume_weights) + self.volume_bias
        hidden = self.dropout(nn.functional.gelu(self.norm(hidden)))
        features = self.over_time(hidden.transpose(1, 2)).squeeze(2)
        return {name: head(features) for name, head in self.heads.items()}
