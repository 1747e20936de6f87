"""A decoder that shows which samples its window holds, for the fixture whose first channel is the index."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from rtdecode.contracts import (
    Channel,
    DecoderManifest,
    EmbeddingSpace,
    FrontEndStep,
    Head,
    Provenance,
    Resampling,
    Scaling,
    SignalContract,
    Window,
)
from rtdecode.decoder import MANIFEST_KEY

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

SPACE = EmbeddingSpace(
    encoder="test", weights_sha256="0" * 64, layer="none", pooling="none", preprocessing="none", dim=2
)


def index_channels(n: int = 3) -> tuple[Channel, ...]:
    """Channels of the fixture; the first holds the sample index."""
    return tuple(Channel(name=f"CH{i}", type="eeg", unit="V") for i in range(n))


def placed_channels(n: int = 5) -> tuple[Channel, ...]:
    """The same on an arc over the head, so that one can be rebuilt from the others."""
    angles = np.linspace(0, np.pi, n)
    return tuple(
        channel.model_copy(
            update={"position_m": (0.09 * float(np.cos(a)), 0.01 * i, 0.09 * float(np.sin(a)))}
        )
        for i, (channel, a) in enumerate(zip(index_channels(n), angles, strict=True))
    )


def index_manifest(
    *,
    rate_hz: float = 256.0,
    window: tuple[int, int] = (0, 20),
    name: str = "index",
    channels: Sequence[Channel] | None = None,
    front_end: Sequence[FrontEndStep] = (),
    on_missing: str = "refuse",
    max_missing: int = 0,
    dim: int = 2,
    shift_residual: bool = False,
) -> DecoderManifest:
    """Manifest of a decoder whose embedding is the first channel at ``dim`` samples, from first to last.

    One that shifts adds the residual, in seconds.
    """
    cut = Window(first_sample=window[0], last_sample=window[1])
    return DecoderManifest(
        name=name,
        signal=SignalContract(
            channels=tuple(channels or index_channels()),
            rate_hz=rate_hz,
            front_end=tuple(front_end),
            window=cut,
            resampling=Resampling(
                rate_hz=rate_hz,
                n_times=cut.n_samples - (2 if shift_residual else 0),
                shift_residual=shift_residual,
            ),
        ),
        scaling=Scaling(baseline_s=None, clamp=20),
        on_missing=on_missing,
        max_missing=max_missing,
        heads=(
            Head(
                name="embedding",
                role="retrieval",
                space=SPACE.model_copy(update={"dim": dim}),
                target_mean=(0,) * dim,
                target_sd=(1,) * dim,
            ),
        ),
        provenance=Provenance(
            dataset="none",
            subjects=("none",),
            split_sha256="0" * 64,
            n_trials=1,
            hours=0,
            model="index",
            fold_rule="none",
            created="2026-01-01T00:00:00Z",
            versions={},
        ),
        simulated=True,
    )


def write_index_decoder(path: Path, manifest: DecoderManifest | None = None) -> DecoderManifest:
    """Write the ONNX file of :func:`index_manifest`, and return the manifest."""
    manifest = manifest or index_manifest()
    n_samples, n_channels = manifest.signal.window.n_samples, len(manifest.signal.channels)
    dim = manifest.heads[0].space.dim
    nodes = [
        helper.make_node("MatMul", ["window", "spatial"], ["mixed"]),
        helper.make_node("Gather", ["mixed", "places"], ["values"], axis=1),
        helper.make_node("Gather", ["values", "first_channel"], ["embedding"], axis=2),
    ]
    inputs = [
        helper.make_tensor_value_info("window", TensorProto.FLOAT, ["batch", n_samples, n_channels]),
        helper.make_tensor_value_info("spatial", TensorProto.FLOAT, [n_channels, n_channels]),
    ]
    if manifest.signal.resampling.shift_residual:
        nodes[-1].output[0] = "unshifted"
        nodes += [
            helper.make_node("Constant", [], ["last"], value_ints=[1]),
            helper.make_node("Unsqueeze", ["residual_s", "last"], ["shift"]),
            helper.make_node("Add", ["unshifted", "shift"], ["embedding"]),
        ]
        inputs.append(helper.make_tensor_value_info("residual_s", TensorProto.FLOAT, ["batch"]))
    graph = helper.make_graph(
        nodes,
        "index",
        inputs,
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", dim])],
        [
            numpy_helper.from_array(np.eye(n_channels, dtype=np.float32), "spatial"),
            numpy_helper.from_array(np.linspace(0, n_samples - 1, dim).astype(np.int64), "places"),
            numpy_helper.from_array(np.array(0), "first_channel"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {MANIFEST_KEY: manifest.model_dump_json()})
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return manifest
