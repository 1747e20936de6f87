"""Pictures through a network of PyTorch, a batch at a time, with what was embedded before taken from disk."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from replay.datasets.encoder import as_picture, open_picture
from rtdecode.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from numpy.typing import NDArray
    from PIL.Image import Image
    from torch import nn

    from replay.datasets.encoder import AnyImage
    from rtdecode.contracts import EmbeddingSpace
    from training.encoders.cache import EmbeddingCache


@dataclass(frozen=True, eq=False)
class Tower:
    """A network that embeds pictures.

    Parameters
    ----------
    module
        The network, its weights loaded.
    prepare
        A picture in RGB to the network's input ``(3, height, width)``.
    embed
        Inputs ``(n, 3, height, width)`` to embeddings ``(n, dim)``, raw.
    space
        Of the embeddings.
    """

    module: nn.Module
    prepare: Callable[[Image], torch.Tensor]
    embed: Callable[[torch.Tensor], torch.Tensor]
    space: EmbeddingSpace

    def in_precision(self, precision: str) -> Tower:
        """Give the same network the space of embeddings computed in that precision."""
        if precision == "float32":
            return self
        layer = f"{self.space.layer}, computed in {precision}"
        return replace(self, space=self.space.model_copy(update={"layer": layer}))


class NetworkEncoder:
    """Embeds pictures with a tower, on the GPU if there is one.

    Parameters
    ----------
    tower
        The network.
    batch
        Pictures embedded at once.
    precision
        ``"float32"``, without shortcuts of the hardware; or a type of torch for mixed precision.
    cache
        Keeps embeddings of files; each batch is on disk before the next one begins.

    Attributes
    ----------
    space : EmbeddingSpace
        The space of its embeddings.
    """

    def __init__(self, tower: Tower, *, batch: int, precision: str, cache: EmbeddingCache) -> None:
        self.space = tower.space
        self.batch = batch
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._precision: torch.dtype = getattr(torch, precision)
        self._tower = tower
        self._cache = cache
        tower.module.eval().requires_grad_(requires_grad=False).to(self._device)

    def encode(self, images: Iterable[AnyImage]) -> NDArray[np.float32]:
        """Embed pictures: arrays, Pillow images or paths; only paths are looked up and kept in the cache.

        Returns
        -------
        array of shape (n, dim), float32

        Raises
        ------
        UserError
            If a file is missing or not a picture, an embedding is not finite, the GPU's memory does not
            suffice, or the cache cannot be written.
        """
        remaining = iter(images)
        batches = []
        with ThreadPoolExecutor() as pool:
            while batch := list(islice(remaining, self.batch)):
                batches.append(self._embed(batch, pool))
        return np.concatenate(batches) if batches else np.empty((0, self.space.dim), dtype=np.float32)

    def _embed(self, images: Sequence[AnyImage], pool: ThreadPoolExecutor) -> NDArray[np.float32]:
        embeddings = np.empty((len(images), self.space.dim), dtype=np.float32)
        hashes: list[bytes | None] = []
        inputs: list[torch.Tensor] = []
        missing: list[int] = []
        for index, (image_hash, tensor) in enumerate(pool.map(self._prepare, images)):
            if tensor is not None:
                missing.append(index)
                hashes.append(image_hash)
                inputs.append(tensor)
            elif image_hash is not None and (known := self._cache.find(image_hash)) is not None:
                embeddings[index] = known
        if missing:
            made = self._run(torch.stack(inputs))
            for index, embedding in zip(missing, made, strict=True):
                if not np.isfinite(embedding).all():
                    raise UserError(
                        f"the embedding of {_name(images[index])} holds NaN or infinity: set precision = "
                        '"float32", or check the weights'
                    )
            embeddings[missing] = made
            kept = [row for row, image_hash in enumerate(hashes) if image_hash is not None]
            if kept:
                self._cache.add([image_hash for image_hash in hashes if image_hash is not None], made[kept])
        return embeddings

    def _prepare(self, image: AnyImage) -> tuple[bytes | None, torch.Tensor | None]:
        """Hash of a file, and the network's input unless its embedding is known."""
        if not isinstance(image, str | Path):
            return None, self._tower.prepare(as_picture(image))
        try:
            content = Path(image).read_bytes()
        except FileNotFoundError:
            raise UserError(f"{image}: no such picture") from None
        except OSError as error:
            raise UserError(f"{image}: cannot be read ({error.strerror})") from error
        image_hash = hashlib.sha256(content).digest()
        if self._cache.find(image_hash) is not None:
            return image_hash, None
        return image_hash, self._tower.prepare(open_picture(image, content))

    def _run(self, inputs: torch.Tensor) -> NDArray[np.float32]:
        mixed = self._precision != torch.float32
        try:
            with (
                torch.inference_mode(),
                _exact(),
                torch.autocast(self._device.type, self._precision if mixed else None, enabled=mixed),
            ):
                embeddings = self._tower.embed(inputs.to(self._device))
                made: NDArray[np.float32] = embeddings.float().cpu().numpy()
        except torch.OutOfMemoryError as error:
            raise UserError(
                f"the GPU's memory does not suffice for {len(inputs)} pictures at once: set a smaller batch "
                "under [targets]"
            ) from error
        return made


def weights_sha256(module: nn.Module) -> str:
    """Hash of a network's tensors by name, type, shape and value, whatever file they came from."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        values = np.ascontiguousarray(tensor.detach().cpu().numpy())
        digest.update(f"{name} {values.dtype.str} {values.shape}\n".encode())
        digest.update(values.data)
    return digest.hexdigest()


def describe_preparation(
    resized: str, height: int, width: int, mean: Sequence[float], sd: Sequence[float]
) -> str:
    """What is done to a picture before the network, for the embedding space."""
    means, sds = (", ".join(f"{value:.6g}" for value in values) for values in (mean, sd))
    return (
        f"sRGB, upright, transparency on white; {resized}, centre crop {height} x {width} px; "
        f"mean ({means}), SD ({sds})"
    )


@contextmanager
def _exact() -> Iterator[None]:
    """Float32 as such on GPUs that would round it to TF32."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            yield
    finally:
        torch.set_float32_matmul_precision(before)


def _name(image: AnyImage) -> str:
    return str(image) if isinstance(image, str | Path) else "a picture"
