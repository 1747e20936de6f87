"""Makes the built-in image encoder: ``python -m training.builtin_encoder``.

The encoder is three layers deep and nothing in it is learned by gradient descent:

1. Colour-opponent channels go through a fixed bank of oriented filters in quadrature; their energies, and the
   rectified colours themselves, are pooled to a 16 x 16 grid.
2. The filters of the second layer are whitened patches of first-layer maps, drawn at random from training
   pictures (Coates and Ng, "Learning feature representations with k-means", 2012), rectified, then pooled
   over a coarse grid and over the whole picture.
3. A ridge regression from the pooled features to what each training picture shows (its category, its other
   factors, and a coarse thumbnail), whose predictions are rotated into 64 dimensions of mean 0.

The rotation spreads every factor over all dimensions, so that no single dimension is "the category" and
scaling the dimensions one by one leaves the distances between pictures as they are.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper
from rich.console import Console

from replay.datasets.encoder import SIZE_PX, WEIGHTS_FILE
from replay.datasets.outlines import CATEGORIES
from replay.datasets.rendering import BACKGROUNDS, COLOURS, LAYOUTS, TEXTURES
from replay.datasets.world import World

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from numpy.typing import NDArray

    Array = NDArray[np.float32]

DIM = 64
N_FILTERS = 200
PATCH = 5
"""Second-layer filters see 5 x 5 cells of the 16 x 16 grid: 20 pixels."""
N_PATCHES = 4000
N_WHITENED = 200
SEED = 20240

# Shares of the embedding's variance: what the pictures show first, how they look after.
_WEIGHTS = {"category": 2.5, "colour": 1.0, "texture": 1.0, "ground": 0.7, "pose": 1.0, "thumbnail": 0.5}


@dataclass
class _Graph:
    """An ONNX graph under construction."""

    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: dict[str, onnx.TensorProto] = field(default_factory=dict)

    def constant(self, name: str, values: Any, dtype: type = np.float32) -> str:
        self.constants[name] = numpy_helper.from_array(np.asarray(values, dtype=dtype), name)
        return name

    def add(self, op: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(op, list(inputs), [output], name=output, **attributes))
        return output

    def model(self, output: str, shape: Sequence[int | str]) -> onnx.ModelProto:
        """Wrap up the graph so far, from ``images`` (n, 64, 64, 3) uint8 to ``output``."""
        graph = helper.make_graph(
            self.nodes,
            "builtin_encoder",
            [helper.make_tensor_value_info("images", TensorProto.UINT8, ["n", SIZE_PX, SIZE_PX, 3])],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, list(shape))],
            list(self.constants.values()),
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.checker.check_model(model, full_check=True)
        return model


def gabor_bank(
    size_px: int, sigma_px: float, wavelength_px: float, n_orientations: int
) -> NDArray[np.float64]:
    """Oriented filters without response to a constant: even ones, then odd ones, each of unit norm.

    Returns
    -------
    array of shape (2 * n_orientations, size_px, size_px)
    """
    offset = np.arange(size_px) - size_px // 2
    x, y = np.meshgrid(offset, offset)
    filters = []
    for phase in (0.0, np.pi / 2):
        for angle in np.pi * np.arange(n_orientations) / n_orientations:
            along = x * np.cos(angle) + y * np.sin(angle)
            across = y * np.cos(angle) - x * np.sin(angle)
            envelope = np.exp(-(along**2 + 0.5 * across**2) / (2 * sigma_px**2))
            wave = envelope * np.cos(2 * np.pi * along / wavelength_px + phase)
            wave -= envelope * wave.sum() / envelope.sum()
            filters.append(wave / np.linalg.norm(wave))
    return np.array(filters)


def _first_layer(graph: _Graph) -> str:
    """Add colour opponency and oriented energies; returns the name of maps (n, 30, 16, 16)."""
    graph.add("Cast", ["images"], "float", to=TensorProto.FLOAT)
    graph.add("Mul", ["float", graph.constant("unit", 1 / 255)], "srgb")
    graph.add("Transpose", ["srgb"], "planes", perm=[0, 3, 1, 2])
    opponent = [[1 / 3, 1 / 3, 1 / 3], [1.0, -1.0, 0.0], [0.375, 0.375, -0.75]]
    graph.constant("opponent", np.reshape(opponent, (3, 3, 1, 1)))
    graph.add("Conv", ["planes", "opponent", graph.constant("mid_grey", [-0.5, 0, 0])], "colours")
    planes = ["luminance", "red_green", "blue_yellow"]
    graph.nodes.append(helper.make_node("Split", ["colours"], planes, name="split", axis=1))
    maps = []
    for name, plane, size, sigma, wavelength, n in (
        ("fine", "luminance", 7, 1.3, 3.2, 8),
        ("coarse", "luminance", 11, 2.4, 6.5, 8),
        ("warm", "red_green", 9, 1.8, 4.5, 4),
        ("cool", "blue_yellow", 9, 1.8, 4.5, 4),
    ):
        bank = gabor_bank(size, sigma, wavelength, n)[:, None]
        margin = size // 2
        graph.constant(f"{name}_margin", [0, 0, margin, margin, 0, 0, margin, margin], np.int64)
        graph.add("Pad", [plane, f"{name}_margin"], f"{name}_padded", mode="edge")
        graph.add(
            "Conv", [f"{name}_padded", graph.constant(f"{name}_bank", bank)], f"{name}_waves", strides=[2, 2]
        )
        graph.add("Mul", [f"{name}_waves", f"{name}_waves"], f"{name}_squares")
        pairs = np.tile(np.eye(n), (1, 2)).reshape(n, 2 * n, 1, 1)
        maps.append(
            graph.add("Conv", [f"{name}_squares", graph.constant(f"{name}_pairs", pairs)], f"{name}_power")
        )
    signs = np.concatenate([np.eye(3), -np.eye(3)]).reshape(6, 3, 1, 1)
    graph.add("AveragePool", ["colours"], "colours_halved", kernel_shape=[2, 2], strides=[2, 2])
    graph.add("Conv", ["colours_halved", graph.constant("signs", signs)], "signed")
    graph.add("Relu", ["signed"], "rectified")
    graph.add("Concat", maps, "power", axis=1)
    # Energy is the root of power; one more root evens out strong and weak edges.
    graph.add("Add", ["power", graph.constant("floor", 1e-4)], "power_floored")
    graph.add("Sqrt", ["power_floored"], "energy")
    graph.add("Concat", ["energy", "rectified"], "local", axis=1)
    graph.add("AveragePool", ["local"], "pooled", kernel_shape=[2, 2], strides=[2, 2])
    return graph.add("Sqrt", ["pooled"], "maps")


def learn_filters(maps: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    """Second-layer filters: random patches, whitened and of unit norm.

    Parameters
    ----------
    maps : array of shape (n, n_maps, rows, columns)

    Returns
    -------
    filters : array of shape (N_FILTERS, n_maps, PATCH, PATCH)
    bias : array of shape (N_FILTERS,)
        Makes the mean response 0.
    """
    image = rng.integers(len(maps), size=N_PATCHES)
    row, column = rng.integers(maps.shape[2] - PATCH + 1, size=(2, N_PATCHES))
    patches = np.stack(
        [maps[i, :, r : r + PATCH, c : c + PATCH] for i, r, c in zip(image, row, column, strict=True)]
    ).astype(np.float64)
    spread = patches.std(axis=(0, 2, 3), keepdims=True)
    flat = (patches / spread).reshape(N_PATCHES, -1)
    mean = flat.mean(axis=0)
    variance, directions = np.linalg.eigh(np.cov(flat.T))
    variance, directions = variance[-N_WHITENED:], directions[:, -N_WHITENED:]
    whiten = directions / np.sqrt(variance + 0.1 * variance.mean())
    examples = (flat - mean)[rng.choice(N_PATCHES, N_FILTERS, replace=False)] @ whiten
    examples /= np.linalg.norm(examples, axis=1, keepdims=True)
    filters = examples @ whiten.T
    bias = -filters @ mean
    filters = filters.reshape(N_FILTERS, *patches.shape[1:]) / spread
    return filters.astype(np.float32), bias.astype(np.float32)


def _second_layer(graph: _Graph, filters: Array, bias: Array) -> str:
    """Add the learned filters, rectification and pooling; returns the name of features."""
    graph.constant("patch_filters", filters)
    graph.constant("patch_bias", bias)
    graph.add("Conv", ["maps", "patch_filters", "patch_bias"], "matches", pads=[PATCH // 2] * 4)
    graph.add("Relu", ["matches"], "matched")
    graph.add("AveragePool", ["matched"], "quarters", kernel_shape=[4, 4], strides=[4, 4])
    graph.add("Flatten", ["quarters"], "quarters_flat")
    graph.add("ReduceMean", ["matched"], "mean", axes=[2, 3], keepdims=0)
    graph.add("ReduceMax", ["matched"], "peak", axes=[2, 3], keepdims=0)
    graph.add("Concat", ["quarters_flat", "mean"], "averages", axis=1)
    graph.add("Sqrt", ["averages"], "averages_root")
    return graph.add("Concat", ["averages_root", "peak"], "features", axis=1)


def what_is_shown(table: pd.DataFrame, images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Targets of the readout: category, factors and thumbnail, standardised and weighted.

    Parameters
    ----------
    table
        Rows of :attr:`World.table`.
    images : array of shape (n, size, size, 3), uint8

    Returns
    -------
    array of shape (n, n_targets)
    """

    def one_hot(column: str, names: Sequence[str]) -> NDArray[np.float64]:
        hot: NDArray[np.float64] = (table[column].to_numpy()[:, None] == np.array(names)).astype(np.float64)
        return hot

    def oklab(colours: NDArray[np.float64]) -> NDArray[np.float64]:
        hue = np.deg2rad(colours[:, 2])
        return np.column_stack([colours[:, 0], colours[:, 1] * np.cos(hue), colours[:, 1] * np.sin(hue)])

    shifts = np.column_stack([table["lightness_shift"], np.zeros(len(table)), table["hue_shift_deg"]])
    colour = oklab(np.array([COLOURS[name] for name in table["colour"]]) + shifts)
    light, deep = (oklab(np.array([BACKGROUNDS[name][k] for name in table["background"]])) for k in (0, 1))
    pattern, ground = np.deg2rad(2 * table["texture_deg"]), np.deg2rad(table["ground_deg"])
    patterned = (table["texture"] != "plain").to_numpy()
    size = images.shape[1] // 4
    thumbnails = images.reshape(len(images), 4, size, 4, size, 3).mean(axis=(2, 4)).reshape(len(images), -1)
    groups = {
        "category": one_hot("category", CATEGORIES),
        "colour": np.column_stack([one_hot("colour", tuple(COLOURS)), colour]),
        "texture": np.column_stack(
            [one_hot("texture", TEXTURES), np.cos(pattern) * patterned, np.sin(pattern) * patterned]
        ),
        "ground": np.column_stack(
            [
                one_hot("background", tuple(BACKGROUNDS)),
                one_hot("layout", LAYOUTS),
                light,
                deep,
                np.cos(ground),
                np.sin(ground),
            ]
        ),
        "pose": table[["size", "x", "y", "tilt_deg"]].to_numpy(),
        "thumbnail": thumbnails,
    }
    weighted = []
    for name, values in groups.items():
        centred = values - values.mean(axis=0)
        weighted.append(_WEIGHTS[name] * centred / centred.std(axis=0))
    targets: NDArray[np.float64] = np.column_stack(weighted)
    return targets


def fit_readout(features: Array, targets: NDArray[np.float64], penalty: float = 0.3) -> tuple[Array, Array]:
    """Ridge regression from features to targets, followed by a rotation into DIM dimensions.

    Features are standardised, and ``penalty`` is relative to the mean eigenvalue of their Gram matrix. The
    predictions are reduced to their DIM leading principal components, which are partly evened out (divided by
    the fourth root of their variance), scaled together to a mean variance of 1, and rotated at random.

    Parameters
    ----------
    features : array of shape (n, n_features)
    targets : array of shape (n, n_targets)

    Returns
    -------
    weights : array of shape (n_features, DIM)
    bias : array of shape (DIM,)
    """
    mean, spread = features.mean(axis=0, dtype=np.float64), features.std(axis=0, dtype=np.float64) + 1e-6
    standard = (features - mean) / spread
    gram = standard @ standard.T
    gram[np.diag_indices_from(gram)] += penalty * np.trace(gram) / len(gram)
    coefficients = standard.T @ np.linalg.solve(gram, targets)
    variance, directions = np.linalg.eigh(np.cov((standard @ coefficients).T))
    variance, directions = variance[::-1][:DIM], directions[:, ::-1][:, :DIM]
    directions *= np.sign(directions[np.abs(directions).argmax(axis=0), np.arange(DIM)])
    evened = directions / variance**0.25 / np.sqrt(np.sqrt(variance).mean())
    rotation, triangle = np.linalg.qr(np.random.default_rng(SEED).normal(size=(DIM, DIM)))
    weights = coefficients @ evened @ (rotation * np.sign(np.diag(triangle))) / spread[:, None]
    return weights.astype(np.float32), (-mean @ weights).astype(np.float32)


def run(model: onnx.ModelProto, images: NDArray[np.uint8], batch: int = 64) -> Array:
    """Output of a model for all images."""
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    parts = [session.run(None, {"images": images[i : i + batch]})[0] for i in range(0, len(images), batch)]
    return np.concatenate(parts)


def build(world: World) -> onnx.ModelProto:
    """Learn the encoder from a world's training pictures."""
    table = world.table[world.table["split"] == "train"]
    images = np.stack(list(world.images(table["index"])))
    graph = _Graph()
    maps = _first_layer(graph)
    few = images[:: max(1, len(images) // 500)]
    filters, bias = learn_filters(run(graph.model(maps, ["n", 30, 16, 16]), few), np.random.default_rng(SEED))
    features = _second_layer(graph, filters, bias)
    n_features = 18 * N_FILTERS
    weights, bias = fit_readout(
        run(graph.model(features, ["n", n_features]), images), what_is_shown(table, images)
    )
    graph.constant("readout_weights", weights)
    graph.constant("readout_bias", bias)
    model = graph.model(
        graph.add("Gemm", [features, "readout_weights", "readout_bias"], "embedding"), ["n", DIM]
    )
    model.producer_name = "rtdecode"
    helper.set_model_props(
        model,
        {
            "name": "rtdecode-builtin-1",
            "layer": "readout",
            "pooling": "4x4 grid, mean and peak of 200 patch filters",
            "made_by": "python -m training.builtin_encoder",
            "world": world.settings.model_dump_json(),
        },
    )
    return model


@click.command()
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), default=WEIGHTS_FILE, help="ONNX file to write."
)
def main(out: Path) -> None:
    """Make the built-in encoder from the built-in world's training pictures."""
    console = Console(stderr=True)
    with console.status("rendering and learning"):
        content = build(World()).SerializeToString(deterministic=True)
    digest = hashlib.sha256(content).hexdigest()
    for path, written in ((out, content), (out.with_suffix(".sha256"), f"{digest}  {out.name}\n".encode())):
        making = path.with_name(f".{path.name}.part")
        making.write_bytes(written)
        making.replace(path)
    console.print(f"{out}: {len(content) / 1e6:.2f} MB, sha256 {digest}")


if __name__ == "__main__":
    main()
