"""The deep M/EEG module's graph with random weights, node by node, without torch.

The shapes are those of the published module (Banville et al. 2025, arXiv 2501.15322): spatial attention to
270 virtual sensors, a 1x1 convolution, one linear layer a subject, two blocks of dilated convolutions, 1x1
convolutions to 2048, a learned mean over time, a linear layer a head. As at inference: one subject, the
attention of fixed sensors folded to one matrix, batch normalisation folded into the convolutions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import helper

from training.export import PREPROCESSED, as_model, preprocessing

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx

    from rtdecode.contracts import Head, Scaling, SignalContract

_SENSORS = 270
_HIDDEN = 320
_FEATURES = 2048
_DILATIONS = ((1, 2), (4, 8))


class _Network:
    """Grows a chain of nodes on signals ``(batch, n_channels, n_times)``."""

    def __init__(
        self, nodes: list[onnx.NodeProto], constants: dict[str, np.ndarray], n_channels: int
    ) -> None:
        self.nodes = nodes
        self.constants = constants
        self.n_channels = n_channels
        self.last = PREPROCESSED
        self._rng = np.random.default_rng(0)

    def add(self, op: str, *others: str, **attributes: Any) -> str:
        """Put a node behind the last one; returns the name of its output."""
        name = f"{op.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, [self.last, *others], [name], **attributes))
        self.last = name
        return name

    def constant(self, value: np.ndarray) -> str:
        """Name of a new constant."""
        name = f"constant_{len(self.constants)}"
        self.constants[name] = value
        return name

    def weights(self, *shape: int) -> str:
        """Random weights that keep the spread of what they are applied to; the first axis is the output's."""
        spread = 1 / np.sqrt(np.prod(shape[1:]))
        return self.constant(self._rng.standard_normal(shape, np.float32) * np.float32(spread))

    def convolve(self, n_out: int, kernel: int = 1, dilation: int = 1, *, bias: bool = True) -> None:
        """Convolution over time that keeps the number of points."""
        others = [self.weights(n_out, self.n_channels, kernel)]
        if bias:
            others.append(self.constant(np.zeros(n_out)))
        pad = dilation * (kernel // 2)
        self.add("Conv", *others, dilations=[dilation], pads=[pad, pad])
        self.n_channels = n_out

    def gelu(self) -> None:
        """Gaussian error linear unit, as torch exports it; onnxruntime makes one kernel of it."""
        x = self.last
        self.add("Div", self.constant(np.array(np.sqrt(2.0))))
        self.add("Erf")
        self.add("Add", self.constant(np.array(1.0)))
        self.add("Mul", x)
        self.add("Mul", self.constant(np.array(0.5)))

    def glu(self) -> None:
        """Gated linear unit, by a convolution to twice the channels."""
        self.convolve(2 * self.n_channels, kernel=3)
        self.n_channels //= 2
        value, gate = f"value_{len(self.nodes)}", f"gate_{len(self.nodes)}"
        self.nodes.append(helper.make_node("Split", [self.last], [value, gate], axis=1))
        self.last = gate
        self.add("Sigmoid")
        self.add("Mul", value)


def deep_graph(
    signal: SignalContract, scaling: Scaling, center: np.ndarray, scale: np.ndarray, heads: Sequence[Head]
) -> onnx.ModelProto:
    """Graph from windows to the heads; arguments as for :func:`training.export.preprocessing`."""
    nodes, constants = preprocessing(signal, scaling, center, scale)
    network = _Network(nodes, constants, len(signal.channels))
    network.add("Transpose", perm=[0, 2, 1])
    network.convolve(_SENSORS, bias=False)  # spatial attention
    network.convolve(_SENSORS)
    network.convolve(_SENSORS, bias=False)  # this subject's layer
    for dilations in _DILATIONS:
        for dilation in dilations:
            before, n_before = network.last, network.n_channels
            network.convolve(_HIDDEN, kernel=3, dilation=dilation)
            network.gelu()
            if n_before == network.n_channels:
                network.add("Add", before)
        network.glu()
    network.convolve(2 * _HIDDEN)
    network.gelu()
    network.convolve(_FEATURES)
    n_times = signal.resampling.n_times
    network.add("MatMul", network.constant(np.full((n_times, 1), 1 / n_times)))
    network.add("Add", network.constant(np.array(0.0)))
    features = network.add("Flatten", axis=1)
    for head in heads:
        weights, bias = network.weights(head.space.dim, _FEATURES), network.constant(np.zeros(head.space.dim))
        network.nodes.append(helper.make_node("Gemm", [features, weights, bias], [head.name], transB=1))
    return as_model(network.nodes, network.constants, signal, heads)
