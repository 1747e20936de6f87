"""Fits a linear decoder: robust scaling, clamp, ridge. Sees training trials only."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from replay.trials import signal_hash
from rtdecode.contracts import Head, HeadRole, Scaling, SignalContract
from rtdecode.errors import MismatchError, UserError
from training.folds import plan_folds
from training.ridge import Fold, Ridge

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

    from replay.trials import TrialSet
    from training.targets import Targets

IQR_PER_SD = 1.349
"""Interquartile range of a normal distribution, in standard deviations."""

_BATCH = 512


class LinearSettings(BaseModel):
    """``[model]``: how a linear decoder is fitted.

    Parameters
    ----------
    kind
        Tells it from the deep decoders, see :mod:`training.deep.settings`.
    penalties
        Grid of ridge penalties, for inputs scaled to about unit spread and targets to unit variance.
    per_target
        Choose one penalty a dimension of the embedding; else one for all.
    baseline_s
        Part of the window whose mean is subtracted from it, seconds from onset.
    clamp
        Largest absolute value let through after scaling.
    folds
        Cross-validation folds, at most.
    average_times
        The decoder answers for the mean of the window's points, all with the same weights. It is fitted on
        each point as a trial of its own, which tells it the noise within windows, and its penalties are
        chosen for the means. For few windows of many channels that say the same throughout, such as blocks of
        volumes.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    kind: Literal["linear"] = "linear"
    penalties: tuple[Annotated[float, Field(gt=0)], ...] = Field(
        default=tuple(float(f"{penalty:.3g}") for penalty in np.logspace(1, 8, 15)), min_length=1
    )
    per_target: bool = True
    baseline_s: tuple[float, float] | None = None
    clamp: float = Field(default=20.0, gt=0)
    folds: int = Field(default=5, ge=2)
    average_times: bool = False


@dataclass(frozen=True)
class LinearDecoder:
    """Windows to embeddings, as the exported graph does it after resampling.

    Parameters
    ----------
    signal
        What the windows went through.
    scaling
        Baseline and clamp.
    center, scale : arrays of shape (n_channels,), float32
        Median and scaled interquartile range of the training trials.
    weights : array of shape (n_times * n_channels, dim), float32
        To standardised targets; what follows is their SD and mean, so that small differences on a large mean
        are rounded once only.
    bias : array of shape (dim,), float32
    head
        The embedding it predicts, in raw units.
    """

    signal: SignalContract
    scaling: Scaling
    center: np.ndarray
    scale: np.ndarray
    weights: np.ndarray
    bias: np.ndarray
    head: Head

    def predict(self, trials: TrialSet) -> np.ndarray:
        """Embeddings of all trials of a TrialSet, ``(n, dim)`` float32, in raw units.

        Raises
        ------
        MismatchError
            If the trials went through another front end, window or resampling than the training trials.
        """
        if trials.signal_sha256 != signal_hash(self.signal):
            raise MismatchError(
                f"the trials of {trials.path} went through another front end than those that the decoder was "
                "fitted on: prepare both with the same settings"
            )
        starts = range(0, len(trials), _BATCH)
        batches = [trials.windows(range(i, min(i + _BATCH, len(trials)))) for i in starts]
        return np.concatenate(
            [self(windows) for windows in batches] or [np.empty((0, len(self.bias)), np.float32)]
        )

    def __call__(self, windows: np.ndarray) -> np.ndarray:
        """Embeddings ``(n, dim)`` of windows ``(n, n_times, n_channels)`` float32."""
        inputs = np.array(windows, dtype=np.float32)
        subtract_baseline(inputs, baseline_weights(self.signal, self.scaling.baseline_s))
        scale_and_clamp(inputs, self.center, self.scale, self.scaling.clamp)
        standardised = inputs.reshape(len(inputs), -1) @ self.weights + self.bias
        sd, mean = np.array(self.head.target_sd), np.array(self.head.target_mean)
        embeddings: np.ndarray = standardised * sd.astype(np.float32) + mean.astype(np.float32)
        return embeddings


@dataclass(frozen=True)
class Fitted:
    """A fitted decoder, and how it came about.

    Parameters
    ----------
    decoder
        The result.
    trials
        The trials it was fitted on.
    fold_rule
        How the penalties were chosen; see :mod:`training.folds`.
    penalties : array of shape (dim,)
        The chosen ones.
    r2
        Cross-validated R^2 at the chosen penalties, mean over dimensions; None where there was no choice.
    left_out
        Trials that were not fitted on, by reason.
    warnings
        What the user should know, a line each.
    """

    decoder: LinearDecoder
    trials: TrialSet
    fold_rule: str
    penalties: np.ndarray
    r2: float | None
    left_out: Mapping[str, int]
    warnings: tuple[str, ...]


def fit(trials: TrialSet, targets: Targets, settings: LinearSettings | None = None) -> Fitted:
    """Fit a linear decoder.

    Parameters
    ----------
    trials
        Training trials, and no others: nothing of a test trial may reach this function.
    targets
        Embeddings by stimulus. Trials of other stimuli, or of none, are left out.
    settings
        The defaults where None.

    Raises
    ------
    UserError
        If there are too few trials, or the baseline lies outside the window.
    """
    settings = settings or LinearSettings()
    trials, left_out = with_targets(trials, targets)
    if len(trials) < 2:
        raise UserError(
            f"{len(trials)} training trials have a target: check that the marker table's stimuli have images"
        )
    y = targets.of(trials.trials["stimulus_id"]).astype(np.float64)
    standardised, target_mean, target_sd = standardise_targets(y)

    x = trials.windows()
    subtract_baseline(x, baseline_weights(trials.signal, settings.baseline_s))
    center, scale, warnings = robust_statistics(x, [channel.name for channel in trials.signal.channels])
    scale_and_clamp(x, center, scale, settings.clamp)

    ridge = Ridge(settings.penalties, per_target=settings.per_target)
    rule, folds = "none: one penalty given", tuple[Fold, ...]()
    if len(ridge.penalties) > 1:
        plan = plan_folds(trials.trials, trials.signal.window.n_samples, settings.folds)
        rule, folds = plan.rule, plan.folds
    if settings.average_times:
        weights = _fit_points(ridge, x, standardised, folds)
    else:
        weights = ridge.fit(x.reshape(len(x), -1), standardised, folds).weights
    if edge := ridge.edge_warning():
        warnings.append(edge)

    decoder = LinearDecoder(
        signal=trials.signal,
        scaling=Scaling(baseline_s=settings.baseline_s, clamp=settings.clamp),
        center=center,
        scale=scale,
        weights=weights.astype(np.float32),
        bias=ridge.intercept.astype(np.float32),
        head=Head(
            name="image",
            role=HeadRole.RETRIEVAL,
            space=targets.space,
            target_mean=tuple(target_mean.tolist()),
            target_sd=tuple(target_sd.tolist()),
        ),
    )
    return Fitted(
        decoder=decoder,
        trials=trials,
        fold_rule=rule,
        penalties=ridge.chosen,
        r2=_mean_r2(ridge),
        left_out=left_out,
        warnings=tuple(warnings),
    )


def _fit_points(ridge: Ridge, x: np.ndarray, y: np.ndarray, folds: Sequence[Fold]) -> np.ndarray:
    """Fit on the points of windows ``(n, n_times, n_channels)``, to predict from the windows' means.

    Returns
    -------
    array of shape (n_times * n_channels, dim)
        Weights of a whole window: the same for each point, and together those of the mean.
    """
    n_times, n_channels = x.shape[1:]

    def points(windows: np.ndarray) -> np.ndarray:
        rows: np.ndarray = (windows[:, None] * n_times + np.arange(n_times)).ravel()
        return rows

    ridge.fit(
        x.reshape(-1, n_channels),
        np.repeat(y, n_times, axis=0),
        [(points(train), points(validation)) for train, validation in folds],
        together=n_times,
    )
    weights: np.ndarray = np.tile(ridge.weights / n_times, (n_times, 1))
    return weights


def with_targets(trials: TrialSet, targets: Targets) -> tuple[TrialSet, dict[str, int]]:
    """Keep the trials whose stimulus has a target; count the others by reason."""
    stimulus = trials.trials["stimulus_id"]
    known = stimulus.isin(list(targets.stimulus_ids)).to_numpy(dtype=bool)
    reasons = {
        "stimulus unknown": int(stimulus.isna().sum()),
        "stimulus without target": int((~known & stimulus.notna().to_numpy()).sum()),
    }
    return trials.select(known), {reason: n for reason, n in reasons.items() if n}


def standardise_targets(y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Targets ``(n, dim)`` with mean 0 and SD 1, their mean and their SD; the SD of a constant one is 0."""
    mean, sd = y.mean(axis=0), np.where(np.ptp(y, axis=0) > 0, y.std(axis=0), 0.0)
    return (y - mean) / np.where(sd > 0, sd, 1.0), mean, sd


def split_hash(trials: pd.DataFrame) -> str:
    """Hash of which trials these are, whatever their order."""
    keys = trials[["subject", "session", "run", "onset_sample", "stimulus_id"]].astype("string").fillna("")
    rows = sorted("\t".join(row) for row in keys.itertuples(index=False))
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()


def baseline_weights(signal: SignalContract, baseline_s: tuple[float, float] | None) -> np.ndarray | None:
    """Weights ``(n_times,)`` float32 whose product with a window is its baseline; None for no baseline.

    Raises
    ------
    UserError
        If no point of the window lies in the baseline.
    """
    if baseline_s is None:
        return None
    times = signal.first_point_s + np.arange(signal.resampling.n_times) / signal.resampling.rate_hz
    half_step = 0.5 / signal.resampling.rate_hz
    start, stop = baseline_s
    inside = (times > start - half_step) & (times < stop + half_step)
    if start < times[0] - half_step or stop > times[-1] + half_step or not inside.any():
        raise UserError(
            f"baseline_s from {start:g} to {stop:g} s does not lie in the window, "
            f"{times[0]:g} to {times[-1]:g} s"
        )
    weights: np.ndarray = inside.astype(np.float32) / np.float32(inside.sum())
    return weights


def subtract_baseline(windows: np.ndarray, weights: np.ndarray | None) -> None:
    """Subtract its baseline from each window ``(n, n_times, n_channels)``, in place."""
    if weights is not None:
        windows -= np.matmul(weights[None], windows)


def scale_and_clamp(windows: np.ndarray, center: np.ndarray, scale: np.ndarray, clamp: float) -> None:
    """Scale windows ``(n, n_times, n_channels)`` by channel and clamp them, in place."""
    windows -= center
    windows /= scale
    np.clip(windows, -clamp, clamp, out=windows)


def robust_statistics(
    windows: np.ndarray, channel_names: Sequence[str]
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Median and scaled interquartile range of each channel over all trials and times.

    Parameters
    ----------
    windows : array of shape (n, n_times, n_channels)
    channel_names
        For the warnings.

    Returns
    -------
    center, scale : arrays of shape (n_channels,), float32
        The scale of a channel that hardly ever varies is 1.
    warnings
        Names such channels.
    """
    n_channels = windows.shape[2]
    quartiles = np.empty((3, n_channels))
    for channel in range(n_channels):
        quartiles[:, channel] = np.percentile(windows[:, :, channel], (25, 50, 75))
    spread = ((quartiles[2] - quartiles[0]) / IQR_PER_SD).astype(np.float32)
    flat = [name for name, width in zip(channel_names, spread, strict=True) if not width > 0]
    warnings = [f"channels are flat and tell nothing: {', '.join(flat)}"] if flat else []
    return quartiles[1].astype(np.float32), np.where(spread > 0, spread, np.float32(1)), warnings


def _mean_r2(ridge: Ridge) -> float | None:
    if ridge.r2 is None:
        return None
    best = np.searchsorted(ridge.penalties, ridge.chosen)
    r2 = ridge.r2[best, np.arange(len(best))]
    return float(np.nanmean(r2)) if np.isfinite(r2).any() else None
