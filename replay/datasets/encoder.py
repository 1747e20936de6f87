"""The built-in image encoder: a shipped ONNX file, run by onnxruntime on the CPU."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import onnxruntime as ort
from PIL import Image, ImageOps, UnidentifiedImageError

from rtdecode.contracts import EmbeddingSpace
from rtdecode.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import NDArray

    AnyImage = NDArray[np.uint8] | Image.Image | str | Path

WEIGHTS_FILE = Path(__file__).with_name("builtin_encoder.onnx")
"""Made by ``python -m training.builtin_encoder``; its checksum lies beside it."""

SIZE_PX = 64
"""Width and height of the encoder's input."""

_BATCH = 64


def read_checksum(path: Path) -> str:
    """Read the recorded sha256 of an encoder file from the ``.sha256`` file beside it."""
    return path.with_suffix(".sha256").read_text().split()[0]


def prepare_image(image: AnyImage) -> NDArray[np.uint8]:
    """Any picture as the encoder's input: sRGB, short side resized to 64 pixels, centre crop.

    Parameters
    ----------
    image
        Array of shape (height, width, 3) or (height, width), uint8; a Pillow image; or a path. Transparent
        parts are laid on white, and a photograph is turned upright by its EXIF orientation.

    Returns
    -------
    array of shape (64, 64, 3), uint8

    Raises
    ------
    UserError
        If a file is missing or not a picture.
    TypeError, ValueError
        If an array is not uint8, or not a picture.
    """
    picture = as_picture(image)
    if picture.size == (SIZE_PX, SIZE_PX):
        return np.asarray(picture)
    return np.asarray(ImageOps.fit(picture, (SIZE_PX, SIZE_PX), Image.Resampling.BICUBIC))


def as_picture(image: AnyImage) -> Image.Image:
    """Any picture as a Pillow image in RGB, upright, on white; raises as :func:`prepare_image` does."""
    if isinstance(image, str | Path):
        return open_picture(image)
    if isinstance(image, Image.Image):
        return _upright_on_white(image)
    if image.dtype != np.uint8:
        raise TypeError(f"image arrays are uint8, this one is {image.dtype}")
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] != 3) or 0 in image.shape:
        raise ValueError(f"image arrays are (height, width[, 3]), this one is {image.shape}")
    return Image.fromarray(image).convert("RGB")


def open_picture(path: str | Path, content: bytes | None = None) -> Image.Image:
    """Read a picture as RGB: upright by its EXIF orientation, transparent parts on white.

    Parameters
    ----------
    path
        The file.
    content
        Its bytes, where they were read already.

    Raises
    ------
    UserError
        If the file is missing or not a picture.
    """
    try:
        with Image.open(path if content is None else io.BytesIO(content)) as opened:
            opened.load()
            return _upright_on_white(opened)
    except FileNotFoundError:
        raise UserError(f"{path}: no such picture") from None
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise UserError(f"{path}: cannot be read as a picture ({error}); replace the file") from error


def _upright_on_white(picture: Image.Image) -> Image.Image:
    picture = ImageOps.exif_transpose(picture)
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    return picture.convert("RGB")


class BuiltinEncoder:
    """Embeds pictures into the built-in space of 64 dimensions.

    Parameters
    ----------
    path
        ONNX file; the shipped one by default.

    Attributes
    ----------
    space : EmbeddingSpace
        The space of its embeddings, with the file's sha256 as the weights hash.
    batch : int
        Pictures it takes at once.

    Raises
    ------
    UserError
        If the file is missing, or differs from its recorded checksum.
    """

    batch = _BATCH

    def __init__(self, path: Path = WEIGHTS_FILE) -> None:
        try:
            content, recorded = path.read_bytes(), read_checksum(path)
        except FileNotFoundError as error:
            raise UserError(
                f"{error.filename}: missing; install rtdecode again, or python -m training.builtin_encoder"
            ) from None
        digest = hashlib.sha256(content).hexdigest()
        if digest != recorded:
            raise UserError(
                f"{path}: damaged (sha256 {digest[:12]}…, recorded {recorded[:12]}…); install rtdecode again"
            )
        self._session = ort.InferenceSession(content, providers=["CPUExecutionProvider"])
        facts = self._session.get_modelmeta().custom_metadata_map
        self.space = EmbeddingSpace(
            encoder=facts["name"],
            weights_sha256=digest,
            layer=facts["layer"],
            pooling=facts["pooling"],
            preprocessing=f"sRGB, short side to {SIZE_PX} px bicubic, centre crop",
            dim=self._session.get_outputs()[0].shape[1],
            normalisation="none",
        )

    def encode(self, images: Iterable[AnyImage]) -> NDArray[np.float32]:
        """Embed pictures, a batch at a time.

        Parameters
        ----------
        images
            Arrays, Pillow images or paths, as :func:`prepare_image` takes them.

        Returns
        -------
        array of shape (n, 64), float32
        """
        batches, batch = [], []
        for image in images:
            batch.append(prepare_image(image))
            if len(batch) == _BATCH:
                batches.append(self._run(batch))
                batch = []
        if batch:
            batches.append(self._run(batch))
        return np.concatenate(batches) if batches else np.empty((0, self.space.dim), dtype=np.float32)

    def _run(self, batch: list[NDArray[np.uint8]]) -> NDArray[np.float32]:
        embeddings: NDArray[np.float32] = self._session.run(None, {"images": np.stack(batch)})[0]
        return embeddings


class Encoder(Protocol):
    """Anything that embeds pictures, ``batch`` of them at once."""

    space: EmbeddingSpace
    batch: int

    def encode(self, images: Iterable[AnyImage]) -> NDArray[np.float32]:
        """Embeddings ``(n, dim)`` of pictures."""
        ...


def mean_embeddings(
    encoder: Encoder,
    pictures: Sequence[Sequence[Path]],
    progress: Callable[[int], None] | None = None,
) -> NDArray[np.float32]:
    """Embed stimuli of one or several pictures each.

    Parameters
    ----------
    encoder
        Embeds the pictures.
    pictures
        Files of each stimulus, at least one.
    progress
        Called with the number of pictures done.

    Returns
    -------
    array of shape (n_stimuli, dim), float32
        Mean over the pictures of each stimulus.

    Raises
    ------
    UserError
        If a picture cannot be read.
    """
    paths = [path for of_stimulus in pictures for path in of_stimulus]
    owner = np.repeat(np.arange(len(pictures)), [len(of_stimulus) for of_stimulus in pictures])
    sums = np.zeros((len(pictures), encoder.space.dim))
    for start in range(0, len(paths), encoder.batch):
        batch = slice(start, start + encoder.batch)
        np.add.at(sums, owner[batch], encoder.encode(paths[batch]))
        if progress is not None:
            progress(min(start + encoder.batch, len(paths)))
    means: NDArray[np.float32] = (sums / np.bincount(owner)[:, None]).astype(np.float32)
    return means
