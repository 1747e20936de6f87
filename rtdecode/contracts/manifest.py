"""What one decoder file promises: embedding spaces, heads, provenance, manifest."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from rtdecode.contracts.base import Contract
from rtdecode.contracts.signal import SignalContract


class EmbeddingSpace(Contract):
    """The space an embedding lives in; two embeddings may be compared only where these are equal.

    Parameters
    ----------
    encoder, weights_sha256, layer, pooling, preprocessing
        The image encoder: name, hash of its weights, layer read, pooling over tokens or pixels, and what is
        done to the image first.
    dim
        Number of dimensions.
    normalisation
        ``"none"``: raw projections. ``"l2"``: unit length.
    """

    encoder: str
    weights_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    layer: str
    pooling: str
    preprocessing: str
    dim: int = Field(gt=0)
    normalisation: Literal["none", "l2"] = "none"


class HeadRole(StrEnum):
    """What a head's output is for."""

    RETRIEVAL = "retrieval"
    RECONSTRUCTION = "reconstruction"


class Head(Contract):
    """One output of the decoder, in raw units of its space.

    ``target_mean`` and ``target_sd`` (``dim`` numbers each) are those of the training targets: retrieval
    centres and scales predictions and gallery with them, generation calibrates to them.
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    role: HeadRole
    space: EmbeddingSpace
    target_mean: tuple[float, ...]
    target_sd: tuple[Annotated[float, Field(ge=0)], ...]

    @model_validator(mode="after")
    def _dimensions(self) -> Self:
        for field in ("target_mean", "target_sd"):
            n = len(getattr(self, field))
            if n != self.space.dim:
                raise ValueError(f"{field} has {n} numbers, the space {self.space.dim}")
        return self


class Scaling(Contract):
    """What the graph does after the spatial matrix, for people to read; the numbers are in the graph.

    Parameters
    ----------
    baseline_s
        Window part whose mean is subtracted, seconds from onset, or None.
    method
        ``"robust"``: minus the median, divided by the scaled interquartile range, of the training trials.
    clamp
        Largest absolute value let through after scaling.
    """

    baseline_s: tuple[float, float] | None
    method: Literal["robust"] = "robust"
    clamp: float = Field(gt=0)


class Provenance(Contract):
    """Where a decoder comes from.

    Parameters
    ----------
    dataset, subjects
        What was recorded, and from whom.
    split_sha256
        Hash of which trials it was fitted on.
    n_trials, hours
        Their number, and the recording time that they span.
    model, fold_rule
        What was fitted, and how the trials were divided to choose its penalties.
    created, versions
        When, and with which versions of what.
    marker_delay_s
        Seconds from a marker to the picture on the screen that the training onsets were moved by, as
        ``[markers] delay_s`` moves the live ones.
    stream_delay_s
        Seconds by which the stamps of the training data were taken to lag, as ``[[streams]] delay_s``.
    """

    dataset: str
    subjects: tuple[str, ...]
    split_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    n_trials: int = Field(gt=0)
    hours: float = Field(ge=0)
    model: str
    fold_rule: str
    created: str
    versions: dict[str, str]
    marker_delay_s: float = 0.0
    stream_delay_s: float = 0.0


class Validation(Contract):
    """Scores on trials that the fit never saw; ``scores`` by metric name, e.g. ``pearson``, ``top1``."""

    split: str
    n_trials: int = Field(ge=0)
    scores: dict[str, float]


class DecoderManifest(Contract):
    """The whole contract of one decoder, carried inside its ONNX file.

    Parameters
    ----------
    name
        How results name this decoder.
    signal
        What the stream must be, and how the window is made.
    scaling
        Baseline, scaling and clamp, for people to read.
    on_missing, max_missing
        What happens to a channel that the stream lacks: refuse the stream, or rebuild up to ``max_missing``
        channels from their neighbours' positions by overriding the spatial matrix.
    heads
        The outputs, in the order of the graph's outputs.
    simulated
        True if any training trial was simulated.
    """

    schema_version: Literal[1] = 1
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    signal: SignalContract
    scaling: Scaling
    on_missing: Literal["refuse", "repair"] = "refuse"
    max_missing: int = Field(default=0, ge=0)
    heads: tuple[Head, ...] = Field(min_length=1)
    provenance: Provenance
    validation: Validation | None = None
    simulated: bool
