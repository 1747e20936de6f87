"""Stimuli to target embeddings: their images through an encoder, or one dimension a stimulus."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from replay.datasets.encoder import mean_embeddings
from rtdecode.contracts import EmbeddingSpace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from replay.datasets.encoder import Encoder
    from rtdecode.stimuli import StimulusTable


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
    pictures = stimuli.pictures()
    n_images = sum(map(len, pictures.values()))
    embeddings = mean_embeddings(
        encoder, list(pictures.values()), None if progress is None else lambda done: progress(done, n_images)
    )
    return Targets(tuple(pictures), embeddings, encoder.space)


def one_hot(stimulus_ids: Iterable[str]) -> Targets:
    """Give each stimulus a dimension of its own, which is 1 for it and 0 for all others; no image is needed.

    Parameters
    ----------
    stimulus_ids
        Those of a table, in any order; one that appears again counts once. Two spaces are equal where their
        stimuli are the same.
    """
    names = sorted(set(stimulus_ids))
    space = EmbeddingSpace(
        encoder="one-hot",
        weights_sha256=hashlib.sha256("\n".join(names).encode()).hexdigest(),
        layer="none",
        pooling="none",
        preprocessing="none",
        dim=len(names),
    )
    return Targets(tuple(names), np.eye(len(names), dtype=np.float32), space)
