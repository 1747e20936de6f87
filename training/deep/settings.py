"""``[model]`` of a deep decoder, without torch."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from training.networks.settings import FmriSettings, LossSettings, MeegSettings

DECODER = "decoder.safetensors"
"""Name of a fitted decoder's file in the folder of its fit."""


class DeepSettings(BaseModel):
    """``[model]``: how a deep decoder is fitted.

    Parameters
    ----------
    baseline_s, clamp
        As for a linear decoder, see :class:`training.fit.LinearSettings`.
    loss
        What is minimised.
    optimiser, learning_rate, weight_decay
        How. ``adam`` knows no weight decay of its own: there it is a penalty on the weights.
    schedule
        The learning rate after the warm-up: ``constant``, or falling to 0 by a half ``cosine``.
    warmup_epochs
        Over so many epochs the learning rate grows from 0.
    batch
        Trials in a training step; also those that an image is told apart from.
    max_epochs, patience
        The fit ends after so many epochs, or so many in a row without a better validation loss; the weights
        are those of the best epoch.
    folds
        One fold of so many, by the rule of :mod:`training.folds`, is what the best epoch is chosen on.
    seed
        Of the first weights, the order of trials and all that drops out.
    start_from
        A deep decoder of other people (``decoder.safetensors`` in the folder of its fit). Of it the new
        person's layer alone is fitted, for which minutes of data are enough; its sizes count.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    baseline_s: tuple[float, float] | None = None
    clamp: float = Field(default=20.0, gt=0)
    loss: LossSettings = LossSettings()
    optimiser: Literal["adamw", "adam"] = "adamw"
    learning_rate: float = Field(default=3e-4, gt=0)
    weight_decay: float = Field(default=0.01, ge=0)
    schedule: Literal["constant", "cosine"] = "constant"
    warmup_epochs: int = Field(default=0, ge=0)
    batch: int = Field(default=128, ge=2)
    max_epochs: int = Field(default=100, gt=0)
    patience: int = Field(default=10, gt=0)
    folds: int = Field(default=5, ge=2)
    seed: int = Field(default=0, ge=0)
    start_from: Path | None = None


class MeegModel(DeepSettings):
    """``[model] kind = "meeg"``: the deep decoder for EEG and MEG, its sizes in ``[model.network]``."""

    kind: Literal["meeg"] = "meeg"
    network: MeegSettings = MeegSettings()


class FmriModel(DeepSettings):
    """``[model] kind = "fmri"``: the deep decoder for fMRI, its sizes in ``[model.network]``."""

    kind: Literal["fmri"] = "fmri"
    network: FmriSettings = FmriSettings()
