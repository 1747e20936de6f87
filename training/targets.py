"""Stimuli to target embeddings: the image, or images, that the table of stimuli names, through an encoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from rtdecode.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from rtdecode.contracts import EmbeddingSpace
    from rtdecode.stimuli import StimulusTable

_BATCH = 64


class Encoder(Protocol):
    """Embeds images into one space, as :class:`replay.datasets.encoder.BuiltinEncoder` does."""

    space: EmbeddingSpace

    def encode(self, images: Iterable[Path]) -> np.ndarray:
        """Embed pictures, ``(n, dim)``, raw projections."""


@dataclass(frozen=True)
class Targets:
    """The true embedding of each stimulus.

    Parameters
    ----------
    stimulus_ids
        Each once.
    embeddings : array of shape (n_stimuli, dim)
        Raw projections, in the same order.
    space
        The space they live in.

    Raises
    ------
    ValueError
        If these do not fit each other, or an embedding is not finite.
    """

    stimulus_ids: tuple[str, ...]
    embeddings: np.ndarray
    space: EmbeddingSpace

    def __post_init__(self) -> None:
        if self.embeddings.shape != (len(self.stimulus_ids), self.space.dim):
            raise ValueError(
                f"{len(self.stimulus_ids)} stimuli in a space of {self.space.dim} dimensions, "
                f"embeddings {self.embeddings.shape}"
            )
        if len(set(self.stimulus_ids)) != len(self.stimulus_ids):
            raise ValueError("a stimulus appears twice")
        if not np.isfinite(self.embeddings).all():
            raise ValueError("an embedding holds NaN or infinity")

    def of(self, stimulus_ids: Iterable[str]) -> np.ndarray:
        """Embeddings ``(n, dim)`` of stimuli, one row each.

        Raises
        ------
        KeyError
            If a stimulus has no target.
        """
        row = {name: index for index, name in enumerate(self.stimulus_ids)}
        return self.embeddings[[row[name] for name in stimulus_ids]]


def embed_stimuli(
    stimuli: StimulusTable, encoder: Encoder, progress: Callable[[int, int], None] | None = None
) -> Targets:
    """Embed the images of all stimuli of a table.

    Parameters
    ----------
    stimuli
        Its column ``image`` names a picture, or with a pattern several: they stand for the stimulus together,
        and its target is the mean of their embeddings. A stimulus without an entry gets no target.
    encoder
        Embeds the images.
    progress
        Called with the images done and the images there are.

    Raises
    ------
    UserError
        If the table names no images, an image is missing or damaged, a pattern matches nothing, or one
        stimulus has two different entries.
    """
    rows = stimuli.rows
    if "image" not in rows or (rows["image"] == "").all():
        raise UserError(f"{stimuli.path} names no images: give it a column 'image'")
    entry: dict[str, str] = {}
    images: list[Path] = []
    owner: list[int] = []
    for row, (stimulus, pattern) in enumerate(zip(rows["stimulus_id"], rows["image"], strict=True)):
        if not pattern or entry.get(stimulus) == pattern:
            continue
        if stimulus in entry:
            raise UserError(
                f"{stimuli.path} names two images for {stimulus}: {entry[stimulus]} and {pattern}"
            )
        found = stimuli.images(row)
        if not found:
            raise UserError(f"{stimuli.path}: no file matches {pattern}, the image of {stimulus}")
        owner += [len(entry)] * len(found)
        images += found
        entry[stimulus] = pattern
    sums = np.zeros((len(entry), encoder.space.dim))
    for start in range(0, len(images), _BATCH):
        batch = slice(start, start + _BATCH)
        np.add.at(sums, owner[batch], encoder.encode(images[batch]))
        if progress is not None:
            progress(min(start + _BATCH, len(images)), len(images))
    embeddings = sums / np.bincount(owner)[:, None]
    return Targets(tuple(entry), embeddings.astype(np.float32), encoder.space)
