"""Layers of DINOv2 and other models, through timm: the tokens of one block, pooled."""

from __future__ import annotations

import difflib
import inspect
import math
from typing import TYPE_CHECKING, Any

import timm
import torch
from timm.data.config import resolve_data_config
from timm.data.transforms_factory import create_transform

from rtdecode.contracts import EmbeddingSpace
from rtdecode.errors import UserError
from training.encoders.network import Tower, describe_preparation, weights_sha256

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_RESIZED = {
    "center": "short side to {} px {}",
    "squash": "squashed to {} px {}",
    "border": "long side to {} px {}, padded",
}


def layer_tower(
    model: str,
    *,
    layer: int | float,
    pooling: str,
    size_px: int | None = None,
    weights: Path | None = None,
) -> Tower:
    """Open a model and read one of its layers.

    The last block is read after the model's final norm, the others as they are.

    Parameters
    ----------
    model
        As timm names it, with or without the tag of its weights, which also says how pictures are prepared.
    layer
        Block, from 1, or fraction of their number.
    pooling
        ``"mean"`` of all tokens, ``"mean_patches"``, or ``"cls"``.
    size_px
        Width and height of the input; None: as published.
    weights
        File of the weights in place of the published ones.

    Raises
    ------
    UserError
        If there is no such model, layer or token, or its weights are not there, cannot be fetched, or do not
        fit.
    """
    network = _create(model, size_px, weights)
    architecture = model.partition(".")[0]
    signature = inspect.signature(getattr(network, "forward_intermediates", lambda: None)).parameters
    if "indices" not in signature:
        raise UserError(f"timm:{model}: its layers cannot be read; name a vision transformer, such as DINOv2")
    has_class = getattr(network, "cls_token", None) is not None and "return_prefix_tokens" in signature
    if pooling == "cls" and not has_class:
        raise UserError(f'timm:{model} has no class token: set pooling = "mean" under [targets]')
    depth = len(network.feature_info)
    block = layer if isinstance(layer, int) else max(1, round(layer * depth))
    if block > depth:
        raise UserError(f"timm:{model} has {depth} blocks: there is no layer {layer}")
    last = block == depth
    config = resolve_data_config(
        {} if size_px is None else {"input_size": (3, size_px, size_px)}, model=network
    )
    _, height, width = config["input_size"]
    scaled = [math.floor(side / config["crop_pct"]) for side in (height, width)]
    size = scaled[0] if height == width else f"{scaled[0]} x {scaled[1]}"
    resized = _RESIZED[config["crop_mode"]].format(size, config["interpolation"])
    space = EmbeddingSpace(
        encoder=f"timm:{architecture}",
        weights_sha256=weights_sha256(network),
        layer=f"block {block} of {depth}" + (", after the final norm" if last else ""),
        pooling=pooling,
        preprocessing=describe_preparation(resized, height, width, config["mean"], config["std"]),
        dim=network.feature_info[block - 1]["num_chs"],
    )
    prepare = create_transform(
        input_size=config["input_size"],
        interpolation=config["interpolation"],
        mean=config["mean"],
        std=config["std"],
        crop_pct=config["crop_pct"],
        crop_mode=config["crop_mode"],
    )
    return Tower(
        network,
        prepare,
        _reader(network, block - 1, last, pooling, "return_prefix_tokens" in signature),
        space,
    )


def _create(model: str, size_px: int | None, weights: Path | None) -> Any:
    if not timm.is_model(model):
        close = difflib.get_close_matches(model, timm.list_models(), n=3, cutoff=0.4)
        also = f"; did you mean {', '.join(close)}?" if close else ""
        raise UserError(f"timm knows no model {model!r}{also}")
    if weights is not None and not weights.is_file():
        raise UserError(f"timm:{model}: there is no file of weights {weights}")
    overlay = None if weights is None else {"file": str(weights), "custom_load": False}
    try:
        network: Any = timm.create_model(
            model, pretrained=True, pretrained_cfg_overlay=overlay, img_size=size_px
        )
    except Exception as error:  # whatever timm, PyTorch and the hub raise for what the user named
        reason = str(error).partition("\n")[0]
        if weights is not None:
            raise UserError(f"{weights}: cannot be loaded into timm:{model}: {reason}") from error
        if not isinstance(error, OSError):  # nor a fault of the network
            raise UserError(f"timm:{model} cannot be opened: {reason}") from error
        hub = timm.get_pretrained_cfg_value(model, "hf_hub_id") or f"timm/{model}"
        raise UserError(
            f"timm:{model}: its weights are not on this machine and cannot be fetched ({reason}): run this "
            f"once where there is a network, or copy {hub} of the Hugging Face hub to this machine and set "
            "weights to its file under [targets]"
        ) from error
    if getattr(network, "num_classes", 0):
        network.reset_classifier(0)  # no part of any embedding, nor of the weights' hash
    return network


def _reader(
    network: Any, index: int, last: bool, pooling: str, has_prefix: bool
) -> Callable[[torch.Tensor], torch.Tensor]:
    """Inputs ``(n, 3, height, width)`` to the pooled tokens ``(n, dim)`` of a block, counted from 0."""

    def embed(inputs: torch.Tensor) -> torch.Tensor:
        options = {"indices": [index], "norm": last, "stop_early": True, "intermediates_only": True}
        if not has_prefix:
            (grid,) = network.forward_intermediates(inputs, **options)
            means: torch.Tensor = grid.flatten(2).mean(dim=2)
            return means
        (read,) = network.forward_intermediates(
            inputs, **options, output_fmt="NLC", return_prefix_tokens=True
        )
        patches: torch.Tensor
        prefix: torch.Tensor
        patches, prefix = read if isinstance(read, tuple) else (read, read[:, :0])
        if pooling == "cls":
            return prefix[:, 0]
        tokens = patches if pooling == "mean_patches" else torch.cat([prefix, patches], dim=1)
        return tokens.mean(dim=1)

    return embed
