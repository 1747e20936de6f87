"""``[targets]``: which encoder embeds the pictures, and how."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from rtdecode.config import FileSettings
from rtdecode.errors import UserError

if TYPE_CHECKING:
    from replay.datasets.encoder import Encoder

LOCAL_FOLDER = "local-dir:"

_NETWORK = ("weights", "batch", "precision", "cache")
_KEYS = {
    "builtin": (),
    "one_hot": (),
    "open_clip": _NETWORK,
    "timm": (*_NETWORK, "layer", "pooling", "size_px"),
}


class TargetSettings(BaseModel):
    """``[targets]``: what the decoder learns to predict.

    Parameters
    ----------
    encoder
        ``"builtin"``: embeddings of the stimuli's images. ``"one_hot"``: no images, one dimension a stimulus,
        in the order of their names; for few of them, such as categories. ``"open_clip:MODEL/TAG"``: the image
        projection of a CLIP model, raw; ``"open_clip:local-dir:FOLDER"``: of one that lies in a folder (its
        full path) as open_clip saves it. ``"timm:MODEL"`` or ``"timm:MODEL.TAG"``: a layer of a model that
        timm knows.
    weights
        File of the weights (safetensors, or a PyTorch state dictionary). None: those that open_clip or timm
        publish, from this machine's copy, or fetched.
    layer
        timm: the n-th block, or a fraction of their number.
    pooling
        timm: ``"mean"`` of all tokens, of the patches' only (``"mean_patches"``), or the class token
        (``"cls"``).
    size_px
        timm: width and height of the network's input; None: as published.
    batch
        Pictures embedded at once.
    precision
        Of the arithmetic; another than ``"float32"`` is another space.
    cache
        Folder that keeps embeddings; None: in the user's own folder for caches.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    encoder: str = "builtin"
    weights: Path | None = None
    layer: int | float = 0.67
    pooling: Literal["mean", "cls", "mean_patches"] = "mean"
    size_px: int | None = Field(default=None, gt=0)
    batch: int = Field(default=32, gt=0)
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    cache: Path | None = None

    @field_validator("layer")
    @classmethod
    def _block_or_fraction(cls, layer: int | float) -> int | float:
        if layer <= 0 or (isinstance(layer, float) and layer >= 1):
            raise ValueError("give the number of a block, from 1, or a fraction between 0 and 1")
        return layer

    @model_validator(mode="after")
    def _agree(self) -> Self:
        family, _, model = self.encoder.partition(":")
        if family not in _KEYS or bool(model) != bool(_KEYS[family]):
            raise ValueError(
                f'encoder {self.encoder!r} is none of "builtin", "one_hot", "open_clip:MODEL/TAG", '
                f'"open_clip:{LOCAL_FOLDER}FOLDER", "timm:MODEL"'
            )
        stated = self.model_fields_set - {"encoder"}
        if idle := sorted(stated.difference(_KEYS[family])):
            raise ValueError(f'encoder = "{self.encoder}" does not take {", ".join(idle)}: leave it out')
        if model.startswith(LOCAL_FOLDER):
            folder = Path(model.removeprefix(LOCAL_FOLDER)).expanduser()
            if not folder.is_absolute():
                raise ValueError(f"encoder {self.encoder!r}: give the folder's full path")
            if self.weights is not None:
                raise ValueError(f"encoder {self.encoder!r} brings its weights: leave weights out")
        return self

    def open(self) -> Encoder:
        """Open the encoder that embeds pictures.

        Raises
        ------
        UserError
            If there is none, it is not known, its weights are not to be had, or an extra is not installed.
        """
        family, _, model = self.encoder.partition(":")
        if family == "one_hot":
            raise UserError('encoder = "one_hot" embeds no pictures: name another under [targets]')
        if family == "builtin":
            from replay.datasets.encoder import BuiltinEncoder

            return BuiltinEncoder()
        try:
            import_module(family)
        except ImportError as error:
            raise UserError(
                f"{self.encoder} needs the extra train; install it: uv sync --extra train"
            ) from error
        from training.encoders.cache import EmbeddingCache, default_folder
        from training.encoders.network import NetworkEncoder

        if family == "open_clip":
            from training.encoders.clip import clip_tower

            tower = clip_tower(model, self.weights)
        else:
            from training.encoders.layers import layer_tower

            tower = layer_tower(
                model, layer=self.layer, pooling=self.pooling, size_px=self.size_px, weights=self.weights
            )
        tower = tower.in_precision(self.precision)
        cache = EmbeddingCache(self.cache or default_folder(), tower.space)
        return NetworkEncoder(tower, batch=self.batch, precision=self.precision, cache=cache)


class TargetsFile(FileSettings):
    """The table ``[targets]`` of a file of ``rtdecode train``, whatever else it holds."""

    model_config = SettingsConfigDict(env_prefix="RTDECODE_TRAIN_", extra="ignore")
    paths_in_file = ("targets.weights", "targets.cache")

    targets: TargetSettings
