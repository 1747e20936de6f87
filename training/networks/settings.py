"""Sizes of the networks and what their losses weigh, without torch."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator


class MeegSettings(BaseModel):
    """Sizes of the network; the defaults are the study's.

    Parameters
    ----------
    n_virtual
        Virtual channels that attention makes of the sensors.
    n_fourier
        Real Fourier coefficients of each virtual channel's attention; twice a square.
    sensor_dropout
        Radius of the patch of sensors that is left out in each training step, on a map of side 1.
    n_hidden
        Channels of the convolutional blocks.
    kernel
        Width of their kernels, odd.
    dilations
        One tuple a block: a convolution of each dilation.
    n_features
        What the heads read.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    n_virtual: int = Field(default=270, gt=0)
    n_fourier: int = Field(default=2048, gt=1)
    sensor_dropout: float = Field(default=0.2, ge=0, lt=1)
    n_hidden: int = Field(default=320, gt=0)
    kernel: int = Field(default=3, gt=0)
    dilations: tuple[tuple[int, ...], ...] = Field(default=((1, 2), (4, 8)), min_length=1)
    n_features: int = Field(default=2048, gt=0)

    @field_validator("n_fourier")
    @classmethod
    def _pairs_of_frequencies(cls, n: int) -> int:
        if 2 * math.isqrt(n // 2) ** 2 != n:
            raise ValueError("must be twice a square, such as 2048")
        return n

    @field_validator("kernel")
    @classmethod
    def _has_a_middle(cls, width: int) -> int:
        if width % 2 == 0:
            raise ValueError("must be odd")
        return width


class FmriSettings(BaseModel):
    """Sizes of the network.

    Parameters
    ----------
    n_hidden
        Dimension that each subject's voxels are mapped to, and of all that follows.
    dropout
        Share of the hidden numbers that a training step leaves out.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    n_hidden: int = Field(default=1024, gt=0)
    dropout: float = Field(default=0.5, ge=0, lt=1)


class LossSettings(BaseModel):
    """``[model.loss]``: weight * contrast + (1 - weight) * MSE.

    Parameters
    ----------
    contrast
        ``clip`` (softmax over the batch) or ``siglip`` (each pair for itself).
    weight
        Of the contrastive part; the study chose .75 on validation data.
    symmetric
        CLIP: also from images to brains; else from brains to images alone.
    normalise
        Which side is brought to unit length for the contrast: both (cosine), or the images' alone.
    temperature
        Where the learned temperature starts.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    contrast: Literal["clip", "siglip"] = "clip"
    weight: float = Field(default=0.75, ge=0, le=1)
    symmetric: bool = True
    normalise: Literal["both", "images"] = "both"
    temperature: float = Field(default=0.07, gt=0)
