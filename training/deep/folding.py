"""Trained networks as they run live: one subject, batch normalisation and linear maps folded."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from training.deep.graph import Block, Convolution, FmriGraph, Linear, MeegGraph
from training.networks.meeg import MeegNetwork

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

    from training.deep.decoder import DeepDecoder

_NORM_EPSILON = 1e-5
"""What PyTorch's normalisations add to the variance."""


def fold(decoder: DeepDecoder, subject: int) -> MeegGraph | FmriGraph:
    """Bake one subject, counted from 0, and the fixed sensors into a decoder's network."""
    body = decoder.network.body
    state = {name: tensor.detach().cpu().double() for name, tensor in body.state_dict().items()}
    if not isinstance(body, MeegNetwork) or decoder.model.kind != "meeg":
        return _fold_fmri(state, subject)
    with torch.no_grad():
        attention = body.attention.attention(decoder.network.positions).cpu().double()
    return _fold_meeg(state, attention, decoder.model.network.dilations, subject)


def _fold_meeg(
    state: Mapping[str, torch.Tensor],
    attention: torch.Tensor,
    dilations: tuple[tuple[int, ...], ...],
    subject: int,
) -> MeegGraph:
    layer = state["subject_layer.weights"][subject]
    spatial = layer @ state["mixing.weight"][:, :, 0] @ attention
    # The offset of the mean over time is added to all features alike, and so is what it makes of their bias.
    offset = state["features.bias"] * state["over_time.weight"].sum() + state["over_time.bias"]
    return MeegGraph(
        spatial=Convolution(_array(spatial[:, :, None]), _array(layer @ state["mixing.bias"])),
        blocks=tuple(
            Block(
                tuple(
                    _normalised(state, f"blocks.{block}.layers.{index}", dilation)
                    for index, dilation in enumerate(of_block)
                ),
                _convolution(state, f"blocks.{block}.gate.0"),
            )
            for block, of_block in enumerate(dilations)
        ),
        widening=_convolution(state, "widening"),
        over_time=_array(state["over_time.weight"][0]),
        heads={
            name: Linear(
                _array(weight @ state["features.weight"]),
                _array(weight @ offset + state[f"heads.{name}.bias"]),
            )
            for name, weight in _heads(state).items()
        },
    )


def _fold_fmri(state: Mapping[str, torch.Tensor], subject: int) -> FmriGraph:
    of_subject = f"subject_layers.{subject}"
    return FmriGraph(
        voxels=Linear(_array(state[f"{of_subject}.weight"]), _array(state[f"{of_subject}.bias"])),
        volumes=(_array(state["volume_weights"]), _array(state["volume_bias"])),
        norm=(_array(state["norm.weight"]), _array(state["norm.bias"]), _NORM_EPSILON),
        over_time=_array(state["over_time.weight"][0]),
        heads={
            name: Linear(
                _array(weight),
                _array(weight.sum(dim=1) * state["over_time.bias"] + state[f"heads.{name}.bias"]),
            )
            for name, weight in _heads(state).items()
        },
    )


def _heads(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Weights of the heads, by name."""
    names = (name.split(".") for name in state if name.startswith("heads.") and name.endswith(".weight"))
    return {name: state[f"heads.{name}.weight"] for _, name, _ in names}


def _convolution(state: Mapping[str, torch.Tensor], name: str) -> Convolution:
    return Convolution(_array(state[f"{name}.weight"]), _array(state[f"{name}.bias"]))


def _normalised(state: Mapping[str, torch.Tensor], name: str, dilation: int) -> Convolution:
    """Batch normalisation by its running statistics, folded into the convolution before it."""
    gain = state[f"{name}.1.weight"] / torch.sqrt(state[f"{name}.1.running_var"] + _NORM_EPSILON)
    bias = (state[f"{name}.0.bias"] - state[f"{name}.1.running_mean"]) * gain + state[f"{name}.1.bias"]
    return Convolution(_array(state[f"{name}.0.weight"] * gain[:, None, None]), _array(bias), dilation)


def _array(tensor: torch.Tensor) -> np.ndarray:
    array: np.ndarray = tensor.float().numpy()
    return array
