"""``rtdecode train``: prepare recordings, fit a linear decoder, score it."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from pathlib import Path

import click
import numpy as np
from rich.table import Table

from replay.trials import TrialSet
from rtdecode.errors import UserError
from training.config import TrainConfig
from training.evaluate import Scores, evaluate, leave_one_out, mean_scores
from training.export import check_antialias, check_repair, export, read_decoder
from training.fit import fit, split_hash, with_targets
from training.study import prepare_study, print_table, progress_console, remark, shown_progress, write_json
from training.targets import Targets, embed_stimuli, one_hot

_config = click.argument("config", type=click.Path(path_type=Path))
_json = click.option(
    "--json",
    "json_path",
    type=click.Path(path_type=Path),
    help="Write the results here too, for machines.",
)


@click.group()
def train() -> None:
    """Fit decoders offline.

    One TOML file says everything. Run prepare first; then fit for a decoder and evaluate for its scores. Test
    trials are only ever looked at by evaluate.
    """


@train.command("prepare")
@_config
@_json
def prepare_command(config: Path, json_path: Path | None) -> None:
    """Cut recordings into windows, through the filter that runs live."""
    prepare_study(TrainConfig.load(config), json_path)


@train.command("fit")
@_config
@_json
def fit_command(config: Path, json_path: Path | None) -> None:
    """Fit a linear decoder on the training trials and export it to one ONNX file."""
    settings = TrainConfig.load(config)
    trials = _open_trials(settings)
    check_antialias(trials.signal)
    check_repair(trials.signal, settings.missing.max)
    train_part, test = settings.split.parts(trials.trials)
    targets = _targets(settings)
    with progress_console.status("Fitting"):
        fitted = fit(trials.select(train_part), targets, settings.model)
    left_out = dict(fitted.left_out)
    if n_neither := int(np.count_nonzero(~train_part & ~test)):
        left_out["neither train nor test in the split"] = n_neither
    manifest = export(
        fitted,
        settings.decoder_path,
        name=settings.name,
        dataset=settings.origin or settings.name,
        max_missing=settings.missing.max,
    )
    validation = manifest.validation
    chosen = Counter(fitted.penalties.tolist())
    table = Table("", "", title=f"{settings.name}: fit", show_header=False)
    table.add_row("training trials", f"{len(fitted.trials)} in {fitted.trials.hours:.2f} h")
    table.add_row("folds", fitted.fold_rule)
    table.add_row("penalties", ", ".join(f"{p:g} ({n})" for p, n in sorted(chosen.items())))
    for name, value in (validation.scores if validation else {}).items():
        table.add_row(name, f"{value:.3g}")
    table.add_row("decoder", str(settings.decoder_path))
    print_table(table)
    for reason, n in left_out.items():
        remark(f"{n} trials left out: {reason}")
    for warning in fitted.warnings:
        remark(f"warning: {warning}")
    write_json(
        json_path,
        {
            "decoder": str(settings.decoder_path),
            "n_trials": len(fitted.trials),
            "left_out": left_out,
            "hours": fitted.trials.hours,
            "fold_rule": fitted.fold_rule,
            "penalties": {f"{penalty:g}": n for penalty, n in sorted(chosen.items())},
            "scores": validation.scores if validation else {},
            "warnings": list(fitted.warnings),
            "split_sha256": manifest.provenance.split_sha256,
            "simulated": manifest.simulated,
        },
    )


@train.command("evaluate")
@_config
@_json
def evaluate_command(config: Path, json_path: Path | None) -> None:
    """Score the decoder on the test trials; with leave_one_out, fit and score each part in turn."""
    settings = TrainConfig.load(config)
    trials = _open_trials(settings)
    targets = _targets(settings)
    folds: list[tuple[str, Scores]] = []
    if settings.split.leave_one_out is not None:
        with progress_console.status("Fitting on all but one"):
            folds = list(leave_one_out(trials, targets, settings.model, settings.split.leave_one_out))
    else:
        folds = [("test", _score_test(settings, trials, targets))]
    mean = mean_scores([scores for _, scores in folds])
    table = Table("held out", "trials", "gallery", *mean, title=f"{settings.name}: test trials")
    for name, scores in folds:
        numbers = scores.numbers()
        row = [f"{numbers[score]:.3f}" for score in mean]
        table.add_row(name, str(scores.n_test), str(scores.n_gallery), *row)
    if len(folds) > 1:
        table.add_section()
        table.add_row("mean", "", "", *(f"{value:.3f}" for value in mean.values()))
    print_table(table)
    if contrast := folds[0][1].contrast:
        remark(f"auc: {contrast[0]} (positive) against {contrast[1]}")
    write_json(
        json_path,
        {
            "simulated": trials.simulated,
            "n_test": sum(scores.n_test for _, scores in folds),
            **mean,
            "folds": [{"held_out": name, **asdict(scores)} for name, scores in folds],
        },
    )


def _score_test(settings: TrainConfig, trials: TrialSet, targets: Targets) -> Scores:
    if not settings.decoder_path.is_file():
        raise UserError(f"no decoder at {settings.decoder_path}: run 'rtdecode train fit' first")
    decoder, manifest = read_decoder(settings.decoder_path)
    train_part, test = settings.split.parts(trials.trials)
    train_trials, _ = with_targets(trials.select(train_part), targets)
    if manifest.provenance.split_sha256 != split_hash(train_trials.trials):
        raise UserError(
            f"{settings.decoder_path} was fitted on other trials than the training trials of this split: "
            "run 'rtdecode train fit' again"
        )
    return evaluate(decoder, trials.select(test), targets)


def _open_trials(settings: TrainConfig) -> TrialSet:
    trials = TrialSet.open(settings.trials_path)
    if trials.extras.get("preparation_sha256") != settings.preparation_sha256():
        raise UserError(
            f"{settings.trials_path} was prepared with other settings: run 'rtdecode train prepare' again"
        )
    return trials


def _targets(settings: TrainConfig) -> Targets:
    from replay.datasets.encoder import BuiltinEncoder

    if settings.targets.encoder == "one_hot":
        return one_hot(settings.stimuli().rows["stimulus_id"])
    with shown_progress("Embedding images") as progress:
        return embed_stimuli(settings.stimuli(), BuiltinEncoder(), progress)
