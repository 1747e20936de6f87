"""The deep M/EEG module with random weights, as it runs live, without torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from training.deep.graph import Block, Convolution, Linear, MeegGraph

if TYPE_CHECKING:
    from collections.abc import Mapping

    from training.networks.settings import MeegSettings


def random_meeg(settings: MeegSettings, n_channels: int, n_times: int, heads: Mapping[str, int]) -> MeegGraph:
    """Weights that keep the spread of what they are applied to.

    Parameters
    ----------
    settings
        Sizes.
    n_channels, n_times
        Of its windows.
    heads
        Dimensions of the outputs, by name.
    """
    rng = np.random.default_rng(0)
    n = settings.n_hidden

    def weights(*shape: int) -> np.ndarray:
        spread = np.float32(1 / np.sqrt(np.prod(shape[1:])))
        drawn: np.ndarray = rng.standard_normal(shape, np.float32) * spread
        return drawn

    def convolution(n_out: int, n_in: int, kernel: int = 1, dilation: int = 1) -> Convolution:
        return Convolution(weights(n_out, n_in, kernel), np.zeros(n_out, np.float32), dilation)

    blocks, n_in = [], settings.n_virtual
    for dilations in settings.dilations:
        layers = []
        for dilation in dilations:
            layers.append(convolution(n, n_in, settings.kernel, dilation))
            n_in = n
        blocks.append(Block(tuple(layers), convolution(2 * n, n, settings.kernel)))
    return MeegGraph(
        spatial=convolution(settings.n_virtual, n_channels),
        blocks=tuple(blocks),
        widening=convolution(2 * n, n),
        over_time=np.full(n_times, 1 / n_times, np.float32),
        heads={name: Linear(weights(dim, 2 * n), np.zeros(dim, np.float32)) for name, dim in heads.items()},
    )
