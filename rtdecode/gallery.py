"""Images to retrieve from: the gallery folder, exact search in it, and means over repetitions."""

from __future__ import annotations

import json
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Literal

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field, ValidationError

from rtdecode.contracts import Contract, EmbeddingSpace, Hit, Ranking
from rtdecode.errors import MismatchError, UserError, validation_line
from rtdecode.output import replaced_folder
from rtdecode.similarity import ranks, standardise, unit_length, varies

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Sequence

    from PIL.Image import Image

    from rtdecode.contracts import Head

_DESCRIPTION = "gallery.json"
_EMBEDDINGS = "embeddings.npy"
_INDEX = "index.parquet"
_THUMBNAILS = "thumbnails"


class GalleryDescription(Contract):
    """``gallery.json``: what the folder holds, and the space its embeddings live in."""

    schema_version: Literal[1] = 1
    name: str = Field(min_length=1)
    space: EmbeddingSpace
    simulated: bool


@dataclass(frozen=True, eq=False)
class Gallery:
    """Images by stimulus, with their embeddings.

    Parameters
    ----------
    folder
        Where it is.
    description
        Name, space, and whether it is simulated.
    embeddings
        ``(n, dim)`` float32, raw units of the space.
    stimulus_ids
        ``n`` unique names.
    images
        ``n`` paths of thumbnails relative to the folder, written with ``/``; the files may be missing.
    categories
        ``n`` names of categories, or None.

    Raises
    ------
    UserError
        If these contradict each other, an embedding is not finite, or a path leaves the folder.
    """

    folder: Path
    description: GalleryDescription
    embeddings: np.ndarray
    stimulus_ids: tuple[str, ...]
    images: tuple[str, ...]
    categories: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if fault := self._fault():
            raise UserError(f"gallery {self.folder}: {fault}")

    def __len__(self) -> int:
        return len(self.stimulus_ids)

    @classmethod
    def open(cls, folder: Path) -> Gallery:
        """Read a gallery and check all of it.

        Raises
        ------
        UserError
            If a file is missing or damaged, or they do not fit together.
        """
        if not (folder / _DESCRIPTION).is_file():
            raise UserError(
                f"{folder} is not a gallery (it holds no {_DESCRIPTION}): "
                "make one with `rtdecode gallery make`"
            )
        name = _DESCRIPTION
        try:
            description = GalleryDescription.model_validate_json((folder / name).read_bytes(), strict=True)
            name = _EMBEDDINGS
            with (folder / name).open("rb") as file:
                embeddings = np.lib.format.read_array(file, allow_pickle=False)
            name = _INDEX
            with pq.ParquetFile(folder / name) as parquet:  # one file: a dataset would read its path too
                table = parquet.read()
        except ValidationError as error:
            raise UserError(f"{folder / name}: {validation_line(error)}") from error
        except (OSError, ValueError, MemoryError, pa.ArrowException) as error:
            reason = str(error).partition("\n")[0]
            raise UserError(f"cannot read {folder / name}: {reason}; make the gallery again") from error
        try:
            return cls(
                folder=folder,
                description=description,
                embeddings=embeddings,
                stimulus_ids=_column(table, "stimulus_id"),
                images=_column(table, "image"),
                categories=_column(table, "category") if "category" in table.column_names else None,
            )
        except ValueError as error:
            raise UserError(f"{folder / _INDEX}: {error}; make the gallery again") from error

    def image_path(self, index: int) -> Path:
        """Thumbnail of one image; the file may be missing.

        Raises
        ------
        UserError
            If a link leads out of the folder.
        """
        path = (self.folder / self.images[index]).resolve()
        if not path.is_relative_to(self.folder.resolve()):
            raise UserError(f"gallery {self.folder}: image {self.images[index]!r} leads out of the folder")
        return path

    def _fault(self) -> str:
        """First thing that is wrong, or nothing."""
        dim = self.description.space.dim
        if self.embeddings.ndim != 2 or self.embeddings.dtype != np.float32:
            shape = f"{self.embeddings.dtype} {self.embeddings.shape}"
            return f"embeddings are {shape}, not a two-dimensional float32 array"
        n, width = self.embeddings.shape
        if width != dim:
            return f"embeddings have {width} dimensions, the space {dim}"
        if not n:
            return "it holds no images"
        for what, column in (
            ("stimulus_id", self.stimulus_ids),
            ("image", self.images),
            ("category", self.categories),
        ):
            if column is not None and len(column) != n:
                return f"{len(column)} rows of {what} for {n} embeddings"
        finite = np.isfinite(self.embeddings).all(axis=1)
        if not finite.all():
            return f"the embedding of {self.stimulus_ids[int(np.argmin(finite))]!r} is not finite"
        seen: set[str] = set()
        for stimulus_id in self.stimulus_ids:
            if not stimulus_id or stimulus_id in seen:
                return (
                    f"stimulus_id {stimulus_id!r} is there twice" if stimulus_id else "a stimulus_id is empty"
                )
            seen.add(stimulus_id)
        for image in self.images:
            if _leaves_folder(image):
                return f"image {image!r} is not a relative path inside the folder, written with /"
        return ""


def check_replaceable(folder: Path) -> None:
    """Check that a gallery may be written to a folder.

    Raises
    ------
    UserError
        If it holds something other than a gallery.
    """
    if folder.exists() and not (folder / _DESCRIPTION).is_file():
        raise UserError(f"{folder} exists and is not a gallery: remove it, or choose another folder")


def write_gallery(
    folder: Path,
    description: GalleryDescription,
    embeddings: np.ndarray,
    stimulus_ids: Sequence[str],
    *,
    thumbnails: Iterable[Image] | None = None,
    categories: Sequence[str] | None = None,
) -> Gallery:
    """Write a gallery, replacing one that is there only when the new one is complete.

    Parameters
    ----------
    folder
        Where; folders above it are made.
    description
        Name, space, and whether it is simulated.
    embeddings
        ``(n, dim)``, raw units of the space.
    stimulus_ids
        ``n`` unique names.
    thumbnails
        ``n`` pictures in the same order, small already, or None.
    categories
        ``n`` names of categories, or None.

    Raises
    ------
    UserError
        If these do not fit together, the folder holds something else, or it cannot be written.
    """
    gallery = Gallery(
        folder=folder,
        description=description,
        embeddings=np.ascontiguousarray(embeddings, dtype=np.float32),
        stimulus_ids=tuple(stimulus_ids),
        images=tuple(f"{_THUMBNAILS}/{index:06d}.png" for index in range(len(stimulus_ids))),
        categories=None if categories is None else tuple(categories),
    )
    check_replaceable(folder)
    columns = {"stimulus_id": gallery.stimulus_ids, "image": gallery.images}
    if gallery.categories is not None:
        columns["category"] = gallery.categories
    with replaced_folder(folder) as unfinished:
        (unfinished / _THUMBNAILS).mkdir()
        (unfinished / _DESCRIPTION).write_text(description.model_dump_json(indent=2) + "\n", encoding="utf-8")
        np.save(unfinished / _EMBEDDINGS, gallery.embeddings)
        pq.write_table(pa.table(columns), unfinished / _INDEX)
        if thumbnails is not None:
            for image, thumbnail in zip(gallery.images, thumbnails, strict=True):
                thumbnail.save(unfinished / image)
    return gallery


class Retriever:
    """Exact search in a gallery for the outputs of one head.

    Gallery and outputs are centred and scaled with the mean and SD of the head's training targets, never with
    the gallery's own: a shrunken prediction is still found, and the answer does not hang on what else is in
    the gallery. Dimensions in which the targets did not vary are left out. The score is the cosine.

    Parameters
    ----------
    gallery
        Where to search.
    head
        Whose outputs to search for.

    Raises
    ------
    MismatchError
        If gallery and head live in different spaces; each difference is named.
    """

    def __init__(self, gallery: Gallery, head: Head) -> None:
        if differences := _differences(gallery.description.space, head.space):
            raise MismatchError(
                f"gallery {gallery.description.name!r} and head {head.name!r} live in different spaces: "
                f"{differences}; use a gallery made with the decoder's encoder"
            )
        if not varies(head.target_sd).any():
            raise MismatchError(f"head {head.name!r} cannot retrieve: its training targets did not vary")
        self._mean, self._sd = np.asarray(head.target_mean), np.asarray(head.target_sd)
        self._ids = gallery.stimulus_ids
        self._position = {stimulus_id: index for index, stimulus_id in enumerate(self._ids)}
        self._index = faiss.IndexFlatIP(head.space.dim)
        self._index.add(self._standardise(gallery.embeddings))

    def rank(self, embedding: np.ndarray, k: int, truth: str | None = None, averaged: int = 1) -> Ranking:
        """Order the gallery by similarity to one embedding.

        Hits of equal score keep the gallery's order; the rank of the truth counts them against the decoder.

        Parameters
        ----------
        embedding
            ``(dim,)``, raw units.
        k
            How many of the best images to name.
        truth
            The stimulus that was shown, if known.
        averaged
            How many repetitions the embedding is the mean of.
        """
        n = len(self._ids)
        scores, found = self._index.search(self._standardise(embedding[None]), n)
        by_image = np.empty_like(scores)
        by_image[0, found[0]] = scores[0]
        order = np.lexsort((found[0], -scores[0]))
        indices = found[0][order]
        position = None if truth is None else self._position.get(truth)
        return Ranking(
            hits=tuple(
                Hit(stimulus_id=self._ids[index], score=float(np.clip(score, -1.0, 1.0)))
                for index, score in zip(indices[:k], scores[0][order[:k]], strict=True)
            ),
            truth_rank=None if position is None else int(ranks(by_image, [position])[0]),
            averaged=averaged,
        )

    def _standardise(self, embeddings: np.ndarray) -> np.ndarray:
        """``(n, dim)`` in raw units to the same in float32 of unit length; zero stays zero."""
        return unit_length(standardise(embeddings, self._mean, self._sd)).astype(np.float32)


class RepetitionMeans:
    """Mean embedding over the repetitions of each stimulus so far.

    Parameters
    ----------
    capacity
        Stimuli remembered; beyond, the one seen longest ago is forgotten and starts anew.
    """

    def __init__(self, capacity: int = 4096) -> None:
        self._capacity = capacity
        self._sums: OrderedDict[Hashable, tuple[np.ndarray, int]] = OrderedDict()

    def add(self, stimulus: Hashable, embedding: np.ndarray) -> tuple[np.ndarray, int]:
        """Add one repetition ``(dim,)``; return the mean ``(dim,)`` float64 and the number of repetitions."""
        total, n = self._sums.pop(stimulus, (0.0, 0))
        total, n = total + embedding.astype(np.float64), n + 1
        self._sums[stimulus] = (total, n)
        if len(self._sums) > self._capacity:
            self._sums.popitem(last=False)
        return total / n, n


def _column(table: pa.Table, name: str) -> tuple[str, ...]:
    if name not in table.column_names:
        raise ValueError(f"it has no column {name!r}")
    column = table.column(name)
    if column.null_count or not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        raise ValueError(f"column {name!r} must hold text in every row")
    return tuple(column.to_pylist())


def _leaves_folder(image: str) -> bool:
    """Whether a path is not plainly relative, on any operating system."""
    parts = PurePosixPath(image).parts
    return not parts or image.startswith("/") or ".." in parts or any(c in image for c in "\\:\0")


def _differences(gallery: EmbeddingSpace, head: EmbeddingSpace) -> str:
    """Every field in which two spaces differ, with both values."""
    return ", ".join(
        f"{field} is {json.dumps(getattr(gallery, field))} in the gallery, "
        f"{json.dumps(getattr(head, field))} in the decoder"
        for field in EmbeddingSpace.model_fields
        if getattr(gallery, field) != getattr(head, field)
    )
