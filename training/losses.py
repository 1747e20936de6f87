"""What a deep decoder minimises: contrast with other images (CLIP, SigLIP), distance (MSE), or both."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Mapping

    from training.networks.settings import LossSettings


_LARGEST_LOG_SCALE = math.log(100.0)
"""As in CLIP: a temperature that falls on and on makes training unstable."""


class DecodingLoss(nn.Module):
    """Loss of predictions by head against true embeddings.

    The head ``retrieval`` is for the contrast, ``reconstruction`` for the distance; where there is only one
    head it serves both.

    Parameters
    ----------
    settings
        Which parts, and how.
    """

    def __init__(self, settings: LossSettings) -> None:
        super().__init__()
        self.settings = settings
        self.log_scale = nn.Parameter(torch.tensor(-math.log(settings.temperature)))
        self.offset = nn.Parameter(torch.tensor(-10.0 if settings.contrast == "siglip" else 0.0))

    def forward(
        self, predictions: Mapping[str, torch.Tensor], targets: torch.Tensor, stimuli: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """Give the loss and its parts.

        Parameters
        ----------
        predictions : dict of tensors of shape (batch, dim)
            By head, of standardised targets.
        targets : tensor of shape (batch, dim)
            Standardised by the training statistics.
        stimuli : tensor of shape (batch,), int64
            Number of each trial's image: repeats of one are no contrast to each other.

        Returns
        -------
        dict of scalar tensors
            ``loss``, ``contrast``, ``mse``.
        """
        first = next(iter(predictions.values()))
        weight = self.settings.weight
        mse = functional.mse_loss(predictions.get("reconstruction", first), targets)
        contrast = self._contrast(predictions.get("retrieval", first), targets, stimuli)
        return {"loss": weight * contrast + (1 - weight) * mse, "contrast": contrast, "mse": mse}

    def _contrast(
        self, predictions: torch.Tensor, targets: torch.Tensor, stimuli: torch.Tensor
    ) -> torch.Tensor:
        if self.settings.normalise == "both":
            predictions = functional.normalize(predictions, dim=1)
        logits = (
            self.log_scale.clamp(max=_LARGEST_LOG_SCALE).exp()
            * predictions
            @ functional.normalize(targets, dim=1).T
        )
        same = stimuli[:, None] == stimuli
        if self.settings.contrast == "siglip":
            return siglip_loss(logits + self.offset, same)
        return clip_loss(logits, same, symmetric=self.settings.symmetric)


def clip_loss(logits: torch.Tensor, same: torch.Tensor, *, symmetric: bool) -> torch.Tensor:
    """Cross-entropy of finding each trial's own image in the batch.

    Radford et al. 2021, *Learning transferable visual models from natural language supervision*. Other trials
    of the same image are left out: as candidates they would be punished for being right.

    Parameters
    ----------
    logits : tensor of shape (batch, batch)
        Similarity of each prediction to each image.
    same : bool tensor of shape (batch, batch)
        Whether two trials show one image.
    symmetric
        The mean of both directions; else of finding images only.
    """
    own = torch.eye(len(logits), dtype=torch.bool, device=logits.device)
    logits = logits.masked_fill(same & ~own, -torch.inf)
    truth = torch.arange(len(logits), device=logits.device)
    loss = functional.cross_entropy(logits, truth)
    return (loss + functional.cross_entropy(logits.T, truth)) / 2 if symmetric else loss


def siglip_loss(logits: torch.Tensor, same: torch.Tensor) -> torch.Tensor:
    """Logistic loss of each pair for itself: the same image or not; summed over pairs, mean over trials.

    Zhai et al. 2023, *Sigmoid loss for language image pre-training*. All trials of one image are positives.
    """
    sign = torch.where(same, 1.0, -1.0)
    return -functional.logsigmoid(sign * logits).sum() / len(logits)
