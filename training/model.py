"""``[model]``: which kind of decoder is fitted, and the fit of any of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Protocol

from pydantic import BeforeValidator

from rtdecode.errors import UserError
from training.deep.settings import FmriModel, MeegModel
from training.fit import LinearSettings, fit

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy as np

    from replay.trials import TrialSet
    from rtdecode.contracts import Head
    from training.deep.fit import DeepFitted
    from training.fit import Fitted
    from training.targets import Targets

_KINDS: dict[str, type[LinearSettings | MeegModel | FmriModel]] = {
    "linear": LinearSettings,
    "meeg": MeegModel,
    "fmri": FmriModel,
}


def _of_its_kind(given: Any) -> Any:
    """Settings of the kind that is named, so that faults are told as that kind's alone."""
    if not isinstance(given, dict):
        return given
    kind = given.get("kind", "linear")
    if kind not in _KINDS:
        raise ValueError(f"kind must be one of {', '.join(_KINDS)}, not {kind!r}")
    return _KINDS[kind].model_validate(given)


ModelSettings = Annotated[LinearSettings | MeegModel | FmriModel, BeforeValidator(_of_its_kind)]
"""``[model]``; linear where it does not say ``kind``."""


class FittedDecoder(Protocol):
    """A decoder of either kind: predicts the embedding of one head from the windows of a TrialSet."""

    @property
    def head(self) -> Head:
        """What it predicts."""

    def predict(self, trials: TrialSet) -> np.ndarray:
        """Embeddings ``(n, dim)`` float32, in raw units."""


def fit_model(
    trials: TrialSet,
    targets: Targets,
    settings: LinearSettings | MeegModel | FmriModel | None = None,
    folder: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Fitted | DeepFitted:
    """Fit what the settings say; see :func:`training.fit.fit` and :func:`training.deep.fit.fit_deep`.

    Raises
    ------
    UserError
        See there; or if the extra is not installed that a deep decoder needs.
    """
    if settings is None or isinstance(settings, LinearSettings):
        return fit(trials, targets, settings)
    check_installed()
    from training.deep.fit import fit_deep

    return fit_deep(trials, targets, settings, folder, progress)


def check_installed() -> None:
    """Refuse to go on without what deep decoders need.

    Raises
    ------
    UserError
        If it is not installed.
    """
    try:
        import lightning  # noqa: F401
        import safetensors  # noqa: F401
        import torch  # noqa: F401
    except ImportError as error:
        raise UserError("a deep decoder needs the extra train; install it: uv sync --extra train") from error
