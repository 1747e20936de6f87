"""Fits a deep decoder with Lightning. Sees training trials only; stops by one fold of them held out."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from rtdecode.contracts import Head, HeadRole, Validation
from rtdecode.errors import UserError
from rtdecode.output import check_writable, write_file
from training.deep.decoder import DecodingNetwork, DeepDecoder, read_tensors, starting_with, write_tensors
from training.deep.settings import DECODER
from training.fit import (
    baseline_weights,
    robust_statistics,
    split_hash,
    standardise_targets,
    subtract_baseline,
    with_targets,
)
from training.folds import plan_folds
from training.losses import DecodingLoss
from training.metrics import pearson

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from replay.trials import TrialSet
    from rtdecode.contracts import SignalContract
    from training.deep.settings import FmriModel, MeegModel
    from training.targets import Targets

CURVE, LAST, BEST = "curve.csv", "last.safetensors", "best.safetensors"
"""Files of a fit: losses by epoch; where an interrupted fit goes on; its best weights so far."""

_READ_AT_ONCE = 256e6
"""Bytes of windows in memory while medians are taken."""


@dataclass(frozen=True)
class DeepFitted:
    """A fitted deep decoder, and how it came about.

    Parameters
    ----------
    decoder
        The result, of the best epoch.
    trials
        The trials it was fitted on, those of the validation fold included.
    fold_rule
        How the validation fold was made; see :mod:`training.folds`.
    validation
        Scores of the best epoch on it.
    curve
        Losses and scores by epoch.
    best_epoch
        From 1.
    resumed_after
        Epochs that an interrupted fit had done before; 0 if there was none.
    left_out
        Trials that were not fitted on, by reason.
    warnings
        What the user should know, a line each.
    """

    decoder: DeepDecoder
    trials: TrialSet
    fold_rule: str
    validation: Validation
    curve: tuple[Mapping[str, float], ...]
    best_epoch: int
    resumed_after: int
    left_out: Mapping[str, int]
    warnings: tuple[str, ...]


def fit_deep(
    trials: TrialSet,
    targets: Targets,
    model: MeegModel | FmriModel,
    folder: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> DeepFitted:
    """Fit a deep decoder.

    The same seed gives the same weights on a CPU of the same kind.

    Parameters
    ----------
    trials
        Training trials, and no others: nothing of a test trial may reach this function.
    targets
        Embeddings by stimulus. Trials of other stimuli, or of none, are left out.
    model
        Kind, sizes and how to fit.
    folder
        Where the fit is kept; one that was interrupted there, with the same trials and settings, goes on.
    progress
        Called with the steps done and the most there can be.

    Raises
    ------
    UserError
        If there are too few trials, sensors have no position, the baseline lies outside the window, the loss
        is not finite, or the decoder to start from does not fit the trials.
    """
    trials, left_out = with_targets(trials, targets)
    if len(trials) < 2:
        raise UserError(
            f"{len(trials)} training trials have a target: check that the marker table's stimuli have images"
        )
    if folder is not None:
        check_writable(folder / LAST)
    plan = plan_folds(trials.trials, trials.signal.window.n_samples, model.folds)
    train, validation = plan.folds[-1]
    decoder, standardised, flat = _unfitted(trials, targets, model)
    batches = _Batches(decoder, trials, standardised)
    state = _Progress(folder, _fingerprint(trials, targets, model), model.patience)
    devices = list(range(torch.cuda.device_count()))
    with torch.random.fork_rng(devices=devices), _quiet():
        fitting = _Fitting(decoder.network, model, state, batches.shuffled(train, state, model))
        trainer = Trainer(
            accelerator="gpu" if devices else "cpu",
            devices=1,
            # bfloat16 needs no scaling of gradients, which would be one more thing to go on from.
            precision="bf16-mixed" if devices and torch.cuda.is_bf16_supported() else "32-true",
            max_epochs=max(model.max_epochs - len(state.curve), 1),
            callbacks=[_Watch(state, fitting, progress)],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
        )
        if not state.over and len(state.curve) < model.max_epochs:
            trainer.fit(fitting, fitting.steps, batches.in_order(validation, model.batch))
    decoder.network.load_state_dict(state.best_weights)
    decoder.network.requires_grad_(True).cpu().eval()
    best = state.curve[state.best]
    if folder is not None:
        decoder.save(folder / DECODER)
        for name in (LAST, BEST):
            (folder / name).unlink(missing_ok=True)
    return DeepFitted(
        decoder=decoder,
        trials=trials,
        fold_rule=f"best epoch on the last fold, {plan.rule}",
        validation=Validation(
            split="validation fold of the training trials",
            n_trials=len(validation),
            scores={
                name: best[f"validation_{name}"]
                for name in ("loss", "pearson")
                if math.isfinite(best[f"validation_{name}"])
            },
        ),
        curve=tuple(state.curve),
        best_epoch=state.best + 1,
        resumed_after=state.resumed_after,
        left_out=left_out,
        warnings=flat,
    )


def _unfitted(
    trials: TrialSet, targets: Targets, model: MeegModel | FmriModel
) -> tuple[DeepDecoder, np.ndarray, tuple[str, ...]]:
    """Give a decoder with its first weights, standardised targets ``(n, dim)``, and warnings."""
    subjects = tuple(sorted(trials.trials["subject"].unique()))
    start = None if model.start_from is None else DeepDecoder.load(model.start_from)
    if start is not None:
        _check_start(start, trials.signal, subjects, targets, model)
    center, scale, flat = _scaling(trials, model.baseline_s, subjects)
    y = targets.of(trials.trials["stimulus_id"]).astype(np.float64)
    standardised, mean, sd = standardise_targets(y)
    if start is None:
        roles = {HeadRole.RETRIEVAL: model.loss.weight > 0, HeadRole.RECONSTRUCTION: model.loss.weight < 1}
        heads = tuple(
            Head(
                name=role.value,
                role=role,
                space=targets.space,
                target_mean=tuple(mean.tolist()),
                target_sd=tuple(sd.tolist()),
            )
            for role, wanted in roles.items()
            if wanted
        )
    else:
        heads, model = start.heads, model.model_copy(update={"network": start.model.network})
        mean, sd = np.array(heads[0].target_mean), np.array(heads[0].target_sd)
        standardised = (y - mean) / np.where(sd > 0, sd, 1.0)
    dims = {head.name: head.space.dim for head in heads}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(model.seed)
        network = DecodingNetwork(model, trials.signal, len(subjects), dims)
    if start is not None:
        network.for_someone_else(start.network)
        network.requires_grad_(False)
        for parameter in network.of_subjects:
            parameter.requires_grad_(True)
    decoder = DeepDecoder(
        model, trials.signal, subjects, center, scale, heads, network, split_hash(trials.trials)
    )
    return decoder, standardised.astype(np.float32), flat


def _check_start(
    start: DeepDecoder,
    signal: SignalContract,
    subjects: tuple[str, ...],
    targets: Targets,
    model: MeegModel | FmriModel,
) -> None:
    where = f"start_from {model.start_from}"
    if start.model.kind != model.kind:
        raise UserError(f'{where}: that decoder is of kind "{start.model.kind}", not "{model.kind}"')
    if known := sorted(set(start.subjects) & set(subjects)):
        raise UserError(f"{where}: that decoder was fitted on subject {', '.join(known)} already")
    if start.head.space != targets.space:
        raise UserError(f"{where}: that decoder predicts another space: use the encoder it was fitted with")
    if model.kind == "fmri" and len(start.signal.channels) != len(signal.channels):
        raise UserError(
            f"{where}: that decoder's people have {len(start.signal.channels)} voxels, "
            f"this one {len(signal.channels)}"
        )
    if start.signal.resampling.n_times != signal.resampling.n_times:
        raise UserError(
            f"{where}: that decoder's windows have {start.signal.resampling.n_times} points, "
            f"these {signal.resampling.n_times}: use the same [signal]"
        )


def _scaling(
    trials: TrialSet, baseline_s: tuple[float, float] | None, subjects: tuple[str, ...]
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Median and spread ``(n_subjects, n_channels)``; a few channels of all windows are read at a time."""
    names = [channel.name for channel in trials.signal.channels]
    weights = baseline_weights(trials.signal, baseline_s)
    center = np.empty((len(subjects), len(names)), np.float32)
    scale, told = np.empty_like(center), []
    for index, subject in enumerate(subjects):
        rows = np.flatnonzero(trials.trials["subject"] == subject)
        n_times = trials.signal.resampling.n_times
        width = max(1, int(_READ_AT_ONCE / (4 * n_times * len(rows))))
        for first in range(0, len(names), width):
            part = slice(first, first + width)
            x = np.empty((len(rows), n_times, len(names[part])), np.float32)
            for chunk in range(0, len(rows), 512):
                x[chunk : chunk + 512] = trials.windows(rows[chunk : chunk + 512])[:, :, part]
            subtract_baseline(x, weights)
            center[index, part], scale[index, part], found = robust_statistics(x, names[part])
            told += found
    return center, scale, tuple(dict.fromkeys(told))


def _fingerprint(trials: TrialSet, targets: Targets, model: MeegModel | FmriModel) -> str:
    """Hash of all that shapes a fit: only one that is the same may go on from where another ended."""
    facts = {
        "model": model.model_dump(mode="json"),
        "signal": trials.signal_sha256,
        "trials": split_hash(trials.trials),
        "space": targets.space.model_dump(mode="json"),
        "targets": hashlib.sha256(targets.embeddings.tobytes()).hexdigest(),
        "torch": torch.__version__,
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


class _Batches:
    """Reads windows from disk a batch at a time, and preprocesses them."""

    def __init__(self, decoder: DeepDecoder, trials: TrialSet, standardised: np.ndarray) -> None:
        self.decoder = decoder
        self.trials = trials
        self.targets = standardised
        self.stimuli = trials.trials["stimulus_id"].factorize()[0]
        self.subjects = decoder.subject_numbers(trials.trials["subject"].tolist())

    def read(self, rows: np.ndarray) -> tuple[torch.Tensor, ...]:
        """Windows, targets, numbers of the stimuli, numbers of the subjects."""
        windows = self.trials.windows(rows)
        self.decoder.preprocess(windows, self.subjects[rows])
        arrays = windows, self.targets[rows], self.stimuli[rows], self.subjects[rows]
        return tuple(torch.from_numpy(array) for array in arrays)

    def shuffled(self, rows: np.ndarray, state: _Progress, model: MeegModel | FmriModel) -> _Steps:
        """Batches in an order of its own each epoch."""
        seed = model.seed

        def order() -> np.ndarray:
            return np.random.default_rng((seed, len(state.curve))).permutation(rows)

        return _Steps(self, order, math.ceil(len(rows) / model.batch))

    def in_order(self, rows: np.ndarray, batch: int) -> _Steps:
        """Batches of neighbours."""
        return _Steps(self, lambda: rows, math.ceil(len(rows) / batch))


class _Steps:
    """An epoch's batches, of about the same size: the last one would be a poor contrast."""

    def __init__(self, batches: _Batches, order: Callable[[], np.ndarray], n: int) -> None:
        self._batches = batches
        self._order = order
        self._n = n

    def __len__(self) -> int:
        return self._n

    def __iter__(self) -> Iterator[tuple[torch.Tensor, ...]]:
        for rows in np.array_split(self._order(), self._n):
            yield self._batches.read(rows)


class _Progress:
    """How far a fit is: its curve, its best weights, and what it takes to go on after an interruption.

    The order of trials and what drops out follow from seed and epoch, the learning rate from the step: there
    is no state of these to keep.
    """

    def __init__(self, folder: Path | None, fingerprint: str, patience: int) -> None:
        self.folder = folder
        self.fingerprint = fingerprint
        self.patience = patience
        self.curve: list[dict[str, float]] = []
        self.best_weights: dict[str, torch.Tensor] = {}
        self.left: dict[str, torch.Tensor] = {}
        """Tensors of network, loss and optimiser, as an interrupted fit left them."""
        if folder is not None and (folder / LAST).is_file():
            self._resume(folder)
        self.resumed_after = len(self.curve)

    @property
    def best(self) -> int:
        """The best epoch, from 0."""
        return int(np.argmin([row["validation_loss"] for row in self.curve]))

    @property
    def over(self) -> bool:
        """Whether there was no better epoch for too long."""
        return bool(self.curve) and len(self.curve) - 1 - self.best >= self.patience

    def add(self, row: dict[str, float], fitting: _Fitting) -> None:
        """Take down an epoch."""
        self.curve.append(row)
        network = fitting.network.state_dict()
        improved = self.best == len(self.curve) - 1
        if improved:
            self.best_weights = {name: value.detach().cpu().clone() for name, value in network.items()}
        if self.folder is None:
            return
        if improved:
            write_tensors(self.folder / BEST, self.best_weights, {"fingerprint": self.fingerprint})
        parts = {"network": network, "loss": fitting.loss.state_dict()}
        for number, moments in fitting.adam.state_dict()["state"].items():
            parts[f"optimiser.{number}"] = moments
        tensors = {
            f"{part}.{name}": value for part, values in parts.items() for name, value in values.items()
        }
        write_tensors(self.folder / LAST, tensors, {"fingerprint": self.fingerprint, "curve": self.curve})
        lines = [",".join(row), *(",".join(f"{value:.9g}" for value in row.values()) for row in self.curve)]
        write_file(self.folder / CURVE, "\n".join(lines) + "\n")

    def _resume(self, folder: Path) -> None:
        try:
            tensors, facts = read_tensors(folder / LAST)
            best, _ = read_tensors(folder / BEST)
        except ValueError:
            return
        if facts.get("fingerprint") == self.fingerprint:
            self.curve, self.left, self.best_weights = facts["curve"], tensors, best


class _Fitting(LightningModule):
    """What Lightning runs."""

    def __init__(
        self, network: DecodingNetwork, model: MeegModel | FmriModel, state: _Progress, steps: _Steps
    ) -> None:
        super().__init__()
        self.network = network
        self.loss = DecodingLoss(model.loss)
        self.model = model
        self.progress = state
        self.steps = steps
        self.adam: torch.optim.Optimizer
        self.sums: dict[str, float] = {}
        self._seen = torch.zeros(2)
        self._answers: list[tuple[np.ndarray, np.ndarray]] = []
        if state.left:
            self.network.load_state_dict(starting_with("network.", state.left))
            self.loss.load_state_dict(starting_with("loss.", state.left))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        model = self.model
        kind = torch.optim.AdamW if model.optimiser == "adamw" else torch.optim.Adam
        parts = {
            part: [p for p in part.parameters() if p.requires_grad] for part in (self.network, self.loss)
        }
        # The temperature is no weight: decay would draw it towards 1.
        groups = [
            {"params": parts[self.network], "weight_decay": model.weight_decay},
            {"params": parts[self.loss], "weight_decay": 0.0},
        ]
        self.adam = kind(groups, lr=model.learning_rate)
        moments: dict[int, dict[str, torch.Tensor]] = {}
        for name, value in starting_with("optimiser.", self.progress.left).items():
            number, moment = name.split(".", 1)
            moments.setdefault(int(number), {})[moment] = value
        self.adam.load_state_dict({**self.adam.state_dict(), "state": moments})
        return self.adam

    def on_train_epoch_start(self) -> None:
        epoch = len(self.progress.curve)
        seed = np.random.SeedSequence((self.model.seed, epoch)).generate_state(1, np.uint64)[0]
        torch.manual_seed(int(seed >> 1))
        self._seen = torch.zeros(2, device=self.device)
        self.sums = {"n": 0}
        self._answers = []
        if self.model.start_from is not None:
            # The shared part is not fitted: its normalisation must not follow the new person either.
            self.network.eval()

    def training_step(self, batch: tuple[torch.Tensor, ...], index: int) -> torch.Tensor:
        rate = self._rate(len(self.progress.curve) * len(self.steps) + index)
        for group in self.adam.param_groups:
            group["lr"] = rate
        _, parts = self._parts(batch)
        # Stays on the device: asking for the number would make the processor wait for it in each step.
        self._seen += len(batch[0]) * torch.stack([parts["loss"].detach(), torch.ones_like(parts["loss"])])
        return parts["loss"]

    def validation_step(self, batch: tuple[torch.Tensor, ...], _index: int) -> None:
        predictions, parts = self._parts(batch)
        n = len(batch[0])
        self.sums["n"] += n
        for name, value in parts.items():
            self.sums[name] = self.sums.get(name, 0.0) + n * float(value)
        answer = predictions.get("reconstruction", next(iter(predictions.values())))
        self._answers.append((answer.cpu().numpy(), batch[1].cpu().numpy()))

    def row(self) -> dict[str, float]:
        """What is known of the epoch at its end."""
        total, n = self._seen.tolist()
        epoch = len(self.progress.curve) + 1
        found, truth = (np.concatenate(parts) for parts in zip(*self._answers, strict=True))
        return {
            "epoch": epoch,
            "step": epoch * len(self.steps),
            "learning_rate": float(self.adam.param_groups[0]["lr"]),
            "loss": total / n,
            **{
                f"validation_{name}": self.sums[name] / self.sums["n"] for name in ("loss", "contrast", "mse")
            },
            "validation_pearson": pearson(found, truth),
            "temperature": float((-self.loss.log_scale.detach()).exp()),
        }

    def _parts(
        self, batch: tuple[torch.Tensor, ...]
    ) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
        windows, targets, stimuli, subjects = batch
        outputs = self.network(windows, subjects)
        predictions = {name: output.float() for name, output in outputs.items()}
        with torch.autocast(windows.device.type, enabled=False):
            return predictions, self.loss(predictions, targets, stimuli)

    def _rate(self, step: int) -> float:
        model, epoch = self.model, step / len(self.steps)
        if epoch < model.warmup_epochs:
            return model.learning_rate * (step + 1) / (model.warmup_epochs * len(self.steps))
        if model.schedule == "constant":
            return model.learning_rate
        share = (epoch - model.warmup_epochs) / max(model.max_epochs - model.warmup_epochs, 1)
        return model.learning_rate * (1 + math.cos(math.pi * share)) / 2


class _Watch(Callback):
    """Takes down each epoch, tells how far it is, and ends a fit that gains nothing any more."""

    def __init__(
        self, state: _Progress, fitting: _Fitting, progress: Callable[[int, int], None] | None
    ) -> None:
        self._state = state
        self._fitting = fitting
        self._progress = progress

    def on_train_batch_end(self, *_: Any) -> None:
        if self._progress is not None:
            steps = len(self._fitting.steps)
            done = self._state.resumed_after * steps + self._fitting.global_step
            self._progress(done, self._fitting.model.max_epochs * steps)

    def on_train_epoch_end(self, trainer: Trainer, _: LightningModule) -> None:
        row = self._fitting.row()
        if not math.isfinite(row["loss"]) or not math.isfinite(row["validation_loss"]):
            raise UserError(
                f"the loss is not finite any more in epoch {row['epoch']:.0f}: "
                "lower [model] learning_rate, or give it warmup_epochs"
            )
        self._state.add(row, self._fitting)
        trainer.should_stop = self._state.over


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Lightning from telling the user of devices and from advice on what was done on purpose."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            # Of PyTorch, which deprecated what Lightning still calls.
            warnings.filterwarnings("ignore", ".*LeafSpec.* is deprecated", FutureWarning)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
