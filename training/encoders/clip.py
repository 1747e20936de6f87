"""Image towers of CLIP models, through open_clip: the raw projection, before it is brought to unit length."""

from __future__ import annotations

import difflib
import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import open_clip
from open_clip.transform import PreprocessCfg, image_transform_v2

from rtdecode.contracts import EmbeddingSpace
from rtdecode.errors import UserError, shorten
from training.encoders.network import Tower, describe_preparation, weights_sha256
from training.encoders.settings import LOCAL_FOLDER

if TYPE_CHECKING:
    import torch
    from torch import nn

_CONFIGURATION = "open_clip_config.json"
_RESIZED = {
    "shortest": "short side to {} px {}",
    "longest": "long side to {} px {}, padded",
    "squash": "squashed to {} px {}",
}
_POOLING = {"tok": "cls", "avg": "mean_patches"}


def clip_tower(model: str, weights: Path | None = None) -> Tower:
    """Open the image tower of a CLIP model.

    Parameters
    ----------
    model
        ``MODEL/TAG``, as open_clip names its published weights: the tag also says how pictures are prepared;
        ``MODEL`` alone with ``weights``; or ``local-dir:FOLDER`` with what open_clip saves: its configuration
        and the weights.
    weights
        File of the weights in place of the published ones.

    Raises
    ------
    UserError
        If there is no such model, or its weights are not there, cannot be fetched, or do not fit.
    """
    if model.startswith(LOCAL_FOLDER):
        folder = Path(model.removeprefix(LOCAL_FOLDER)).expanduser()
        configuration = _read_configuration(folder)
        return _tower(configuration, _create(f"{folder}", f"{LOCAL_FOLDER}{folder}"))
    name, _, tag = model.partition("/")
    configuration = open_clip.get_model_config(name)
    if configuration is None:
        raise UserError(f"open_clip knows no model {name!r}{_closest(name, open_clip.list_models())}")
    published = open_clip.get_pretrained_cfg(name, tag) if tag else {}
    tags = open_clip.list_pretrained_tags_by_model(name)
    if tag and not published:
        raise UserError(f"open_clip:{name} has no weights {tag!r}; there are {shorten(tags) or 'none'}")
    if weights is None and not tag:
        known = f"name its weights, as in open_clip:{name}/{tags[-1]}, or " if tags else ""
        raise UserError(f"open_clip:{name}: {known}set weights under [targets]")
    if weights is not None and not weights.is_file():
        raise UserError(f"open_clip:{model}: there is no file of weights {weights}")
    # The tag says how its weights were trained; a name without "quickgelu" would run them with another one.
    quick = bool(published.get("quick_gelu", configuration.get("quick_gelu", False)))
    hub = published.get("hf_hub", "").strip("/")
    network = _create(
        str(weights) if weights else f"open_clip:{model}",
        name,
        pretrained=str(weights) if weights else tag,
        hub=None if weights else hub,
        force_quick_gelu=quick,
        force_preprocess_cfg={key: value for key, value in published.items() if key != "size"},
    )
    return _tower({**configuration, "quick_gelu": quick}, network)


def _tower(configuration: dict[str, Any], network: Any) -> Tower:
    visual = network.visual
    preparation = PreprocessCfg(**visual.preprocess_cfg)
    height, width = _pair(preparation.size)
    size = height if height == width else f"{height} x {width}"
    resized = _RESIZED[preparation.resize_mode].format(size, preparation.interpolation)
    space = EmbeddingSpace(
        encoder=f"open_clip:{_architecture(configuration)}",
        weights_sha256=weights_sha256(visual),
        layer="image projection",
        pooling=_pooling(visual),
        preprocessing=describe_preparation(resized, height, width, preparation.mean, preparation.std),
        dim=configuration["embed_dim"],
    )

    def embed(inputs: torch.Tensor) -> torch.Tensor:
        projections = visual(inputs)
        raw: torch.Tensor = (
            projections[0] if isinstance(projections, tuple) else projections
        )  # CoCa: and tokens
        return raw

    return Tower(visual, image_transform_v2(preparation, is_train=False), embed, space)


def _read_configuration(folder: Path) -> dict[str, Any]:
    path = folder / _CONFIGURATION
    try:
        configuration: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["model_cfg"]
    except OSError as error:
        raise UserError(
            f"cannot read {path}: {error.strerror}; name a folder that holds a model of open_clip, its "
            f"{_CONFIGURATION} and its weights"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is no configuration of open_clip: {type(error).__name__} {error}") from error
    if not {"embed_dim", "vision_cfg"} <= set(configuration):
        raise UserError(f"{path} is no configuration of open_clip: model_cfg lacks embed_dim or vision_cfg")
    return configuration


def _create(
    what: str, model: str, pretrained: str | None = None, hub: str | None = None, **options: Any
) -> Any:
    """Create a network with its weights; ``hub`` names their repository where they may have to be fetched."""
    try:
        return open_clip.create_model(model, pretrained, require_pretrained=True, **options)
    except Exception as error:  # whatever open_clip, PyTorch and the hub raise for what the user named
        reason = str(error).partition("\n")[0]
        if hub is None:
            raise UserError(f"{what}: cannot load the weights: {reason}") from error
        raise UserError(
            f"{what}: its weights are not on this machine and cannot be fetched ({reason}): run this "
            f"once where there is a network, or copy {hub} of the Hugging Face hub to this machine and set "
            "weights to its file under [targets]"
        ) from error


def _architecture(configuration: dict[str, Any]) -> str:
    """Name by which open_clip knows such an image tower, wherever the configuration came from."""
    ours = _image_part(configuration)
    # Models with another text tower have longer names than the tower's own, or such as do not tell it.
    plainest = sorted(open_clip.list_models(), key=lambda name: (not name.startswith("ViT"), len(name), name))
    for name in plainest:
        if _image_part(open_clip.get_model_config(name)) == ours:
            return str(name)
    return f"custom-{hashlib.sha256(json.dumps(ours, sort_keys=True).encode()).hexdigest()[:12]}"


def _image_part(configuration: dict[str, Any]) -> dict[str, Any]:
    vision = {
        key: value for key, value in configuration["vision_cfg"].items() if key != "timm_model_pretrained"
    }
    return {
        "embed_dim": configuration["embed_dim"],
        "quick_gelu": bool(configuration.get("quick_gelu", False)),
        "vision": vision,
    }


def _pooling(visual: nn.Module) -> str:
    if getattr(visual, "attn_pool", None) is not None or hasattr(visual, "attnpool"):
        return "attention"
    if hasattr(visual, "trunk"):
        return str(getattr(visual.trunk, "global_pool", "") or "as the model pools")
    return _POOLING.get(str(getattr(visual, "pool_type", "")), "as the model pools")


def _pair(size: int | tuple[int, int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def _closest(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
    return f"; did you mean {', '.join(close)}?" if close else ""
