"""Deep decoders as they run live, and their ONNX graphs, node by node, without torch.

One subject, fixed sensors, nothing that training alone needs: linear maps that follow one another are one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import helper

from training.export import PREPROCESSED, as_model, preprocessing

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import onnx

    from rtdecode.contracts import Head, Scaling, SignalContract


@dataclass(frozen=True)
class Convolution:
    """Over time, keeping the number of points.

    Parameters
    ----------
    weights : array of shape (n_out, n_in, kernel)
    bias : array of shape (n_out,)
    dilation
        Points from one weight to the next.
    """

    weights: np.ndarray
    bias: np.ndarray
    dilation: int = 1


@dataclass(frozen=True)
class Block:
    """Convolutions, each with a GELU behind and a skip where sizes agree; then one to twice the channels.

    Half of what the last one makes lets through the other half (GLU).
    """

    layers: tuple[Convolution, ...]
    gate: Convolution


@dataclass(frozen=True)
class Linear:
    """Product with weights ``(n_out, n_in)`` and a bias ``(n_out,)``."""

    weights: np.ndarray
    bias: np.ndarray


@dataclass(frozen=True)
class MeegGraph:
    """:class:`training.networks.meeg.MeegNetwork` of one subject and fixed sensors.

    Parameters
    ----------
    spatial
        Attention, mixing and the subject's layer in one, kernel 1.
    blocks, widening
        As there, batch normalisation folded into the convolutions.
    over_time : array of shape (n_times,)
        Weights of the mean over time.
    heads
        By name: the features and the head in one.
    """

    spatial: Convolution
    blocks: tuple[Block, ...]
    widening: Convolution
    over_time: np.ndarray
    heads: Mapping[str, Linear]

    def add_to(self, chain: Chain) -> None:
        """Put the network's nodes behind those of the preprocessing."""
        chain.add("Transpose", perm=[0, 2, 1])
        chain.convolve(self.spatial)
        for block in self.blocks:
            for layer in block.layers:
                before = chain.last
                chain.convolve(layer)
                chain.gelu()
                if layer.weights.shape[0] == layer.weights.shape[1]:
                    chain.add("Add", before)
            chain.convolve(block.gate)
            chain.glu()
        chain.convolve(self.widening)
        chain.gelu()
        chain.add("MatMul", chain.constant(self.over_time[:, None]))
        chain.add("Flatten", axis=1)


@dataclass(frozen=True)
class FmriGraph:
    """:class:`training.networks.fmri.FmriNetwork` of one subject.

    Parameters
    ----------
    voxels
        The subject's layer.
    volumes : arrays of shape (n_times, n_hidden, n_hidden) and (n_times, n_hidden)
        Weights, from the right, and bias of each volume's layer.
    norm
        Gain and bias of the layer normalisation, and what is added to the variance.
    over_time : array of shape (n_times,)
        Weights of the mean over volumes.
    heads
        By name.
    """

    voxels: Linear
    volumes: tuple[np.ndarray, np.ndarray]
    norm: tuple[np.ndarray, np.ndarray, float]
    over_time: np.ndarray
    heads: Mapping[str, Linear]

    def add_to(self, chain: Chain) -> None:
        """Put the network's nodes behind those of the preprocessing."""
        weights, bias = self.volumes
        gain, offset, epsilon = self.norm
        chain.add("MatMul", chain.constant(self.voxels.weights.T))
        chain.add("Add", chain.constant(self.voxels.bias))
        chain.add("Transpose", perm=[1, 0, 2])
        chain.add("MatMul", chain.constant(weights))
        chain.add("Add", chain.constant(bias[:, None]))
        chain.add(
            "LayerNormalization", chain.constant(gain), chain.constant(offset), axis=-1, epsilon=epsilon
        )
        chain.gelu()
        chain.add("Transpose", perm=[1, 2, 0])
        chain.add("MatMul", chain.constant(self.over_time[:, None]))
        chain.add("Flatten", axis=1)


class Chain:
    """Nodes, each behind the last one.

    Parameters
    ----------
    nodes, constants
        What stands before; both grow.
    """

    def __init__(self, nodes: list[onnx.NodeProto], constants: dict[str, np.ndarray]) -> None:
        self.nodes = nodes
        self.constants = constants
        self.last = PREPROCESSED

    def add(self, op: str, *others: str, output: str | None = None, **attributes: Any) -> str:
        """Put a node behind the last one; returns the name of its output."""
        name = output or f"{op.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, [self.last, *others], [name], **attributes))
        self.last = name
        return name

    def constant(self, value: np.ndarray) -> str:
        """Name of a new constant."""
        name = f"constant_{len(self.constants)}"
        self.constants[name] = value
        return name

    def convolve(self, convolution: Convolution) -> None:
        """Convolve over time."""
        pad = convolution.dilation * (convolution.weights.shape[2] // 2)
        self.add(
            "Conv",
            self.constant(convolution.weights),
            self.constant(convolution.bias),
            dilations=[convolution.dilation],
            pads=[pad, pad],
        )

    def gelu(self) -> None:
        """Gaussian error linear unit; onnxruntime makes one kernel of it."""
        x = self.last
        self.add("Div", self.constant(np.array(np.sqrt(2.0))))
        self.add("Erf")
        self.add("Add", self.constant(np.array(1.0)))
        self.add("Mul", x)
        self.add("Mul", self.constant(np.array(0.5)))

    def glu(self) -> None:
        """Gated linear unit over channels."""
        value, gate = f"value_{len(self.nodes)}", f"gate_{len(self.nodes)}"
        self.nodes.append(helper.make_node("Split", [self.last], [value, gate], axis=1))
        self.last = gate
        self.add("Sigmoid")
        self.add("Mul", value)


def deep_graph(
    network: MeegGraph | FmriGraph,
    signal: SignalContract,
    scaling: Scaling,
    center: np.ndarray,
    scale: np.ndarray,
    heads: Sequence[Head],
) -> onnx.ModelProto:
    """Graph from native-rate windows to the heads, in raw units.

    Parameters
    ----------
    network
        Predicts standardised targets; its heads bear the names of ``heads``.
    signal, scaling, center, scale
        See :func:`training.export.preprocessing`.
    heads
        The outputs.
    """
    nodes, constants = preprocessing(signal, scaling, center, scale)
    chain = Chain(nodes, constants)
    network.add_to(chain)
    features = chain.last
    for head in heads:
        linear = network.heads[head.name]
        chain.last = features
        chain.add("Gemm", chain.constant(linear.weights), chain.constant(linear.bias), transB=1)
        chain.add("Mul", chain.constant(np.array(head.target_sd)))
        chain.add("Add", chain.constant(np.array(head.target_mean)), output=head.name)
    return as_model(chain.nodes, chain.constants, signal, heads)
