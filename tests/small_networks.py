"""Small image networks with random weights, saved as the real ones are."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

CLIP = {
    "embed_dim": 12,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8},
    "text_cfg": {"context_length": 8, "vocab_size": 64, "width": 16, "heads": 2, "layers": 1},
}
PREPARATION = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.25, 0.3], "interpolation": "bicubic"}


def save_clip(folder: Path, seed: int = 0, **changes: Any) -> Path:
    """Save a CLIP model as open_clip does; ``changes`` are to how it prepares pictures."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    folder.mkdir(exist_ok=True)
    torch.manual_seed(seed)
    save_file(open_clip.model.CLIP(**CLIP).state_dict(), folder / "open_clip_model.safetensors")
    configuration = {"model_cfg": CLIP, "preprocess_cfg": {**PREPARATION, **changes}}
    (folder / "open_clip_config.json").write_text(json.dumps(configuration))
    return folder


def save_vit(path: Path, seed: int = 0, model: str = "test_vit") -> Path:
    """Save the weights of a network of timm."""
    import timm
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(seed)
    save_file(timm.create_model(model).state_dict(), path)
    return path
