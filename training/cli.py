"""``rtdecode train``: prepare recordings, fit a decoder, score it."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
from rich.table import Table

from replay.trials import TrialSet
from rtdecode.errors import UserError
from training.compare import compare
from training.config import TrainConfig
from training.deep.settings import DECODER
from training.evaluate import Scores, evaluate, held_out_parts, leave_one_out, mean_scores
from training.export import check_antialias, check_repair, export, read_decoder, versions
from training.fit import Fitted, LinearSettings, split_hash, with_targets
from training.model import check_installed, fit_model
from training.study import prepare_study, print_table, progress_console, remark, shown_progress, write_json
from training.targets import Targets, embed_stimuli, one_hot

if TYPE_CHECKING:
    from rtdecode.contracts import DecoderManifest
    from training.deep.fit import DeepFitted
    from training.model import FittedDecoder

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
    """Fit a decoder on the training trials and export it to one ONNX file, or one for each person."""
    settings = TrainConfig.load(config)
    trials = _open_trials(settings)
    check_antialias(trials.signal)
    check_repair(trials.signal, settings.missing.max)
    train_part, test = settings.split.parts(trials.trials)
    if not isinstance(settings.model, LinearSettings):
        check_installed()
    targets = _targets(settings)
    if isinstance(settings.model, LinearSettings):
        with progress_console.status("Fitting"):
            fitted = fit_model(trials.select(train_part), targets, settings.model)
    else:
        with shown_progress("Fitting") as progress:
            fitted = fit_model(
                trials.select(train_part), targets, settings.model, settings.fit_folder, progress
            )
    left_out = dict(fitted.left_out)
    if n_neither := int(np.count_nonzero(~train_part & ~test)):
        left_out["neither train nor test in the split"] = n_neither
    manifests = _export(settings, fitted)
    manifest = next(iter(manifests.values()))
    validation = manifest.validation
    details, shown = _course(fitted)
    table = Table("", "", title=f"{settings.name}: fit", show_header=False)
    table.add_row("training trials", f"{len(fitted.trials)} in {fitted.trials.hours:.2f} h")
    table.add_row("folds", fitted.fold_rule)
    for what, text in shown.items():
        table.add_row(what, text)
    for name, value in (validation.scores if validation else {}).items():
        table.add_row(name, f"{value:.3g}")
    for path in manifests:
        table.add_row("decoder", str(path))
    print_table(table)
    for reason, n in left_out.items():
        remark(f"{n} trials left out: {reason}")
    for warning in fitted.warnings:
        remark(f"warning: {warning}")
    write_json(
        json_path,
        {
            "decoder": str(next(iter(manifests))),
            "decoders": [str(path) for path in manifests],
            "n_trials": len(fitted.trials),
            "left_out": left_out,
            "hours": fitted.trials.hours,
            "fold_rule": fitted.fold_rule,
            **details,
            "scores": validation.scores if validation else {},
            "warnings": list(fitted.warnings),
            "split_sha256": manifest.provenance.split_sha256,
            "simulated": manifest.simulated,
        },
    )


@train.command("compare")
@_config
@_json
def compare_command(config: Path, json_path: Path | None) -> None:
    """Fit the deep decoder and a linear one on the same trials; score both on the same test trials.

    The linear one has the deep one's baseline and clamp. Scores have 95 % bootstrap intervals, and so have
    the differences, image by image. What comes of it lies in the folder NAME.compare.
    """
    settings = TrainConfig.load(config)
    if isinstance(settings.model, LinearSettings):
        raise UserError(f'{config}: compare needs a deep decoder: [model] kind = "meeg" or "fmri"')
    check_installed()
    trials = _open_trials(settings)
    if settings.split.leave_one_out is not None:
        held_out = held_out_parts(trials, settings.split.leave_one_out)
        parts = [(name, ~mask, mask) for name, mask in held_out]
    else:
        parts = [("test", *settings.split.parts(trials.trials))]
    models = {
        "linear": LinearSettings(baseline_s=settings.model.baseline_s, clamp=settings.model.clamp),
        settings.model.kind: settings.model,
    }
    folder = settings.output / f"{settings.name}.compare"
    targets = _targets(settings)
    with shown_progress("Fitting") as progress:
        comparison = compare(trials, targets, parts, models, folder, progress)
    content = {
        "name": settings.name,
        "simulated": trials.simulated,
        "configuration": settings.model_dump(mode="json"),
        "versions": versions("scipy", "torch", "lightning"),
        **comparison.summary(),
    }
    write_json(folder / "comparison.json", content)
    write_json(json_path, content)
    scores = list(dict.fromkeys(name for found in comparison.scores.values() for name in found))
    table = Table("decoder", *scores, title=f"{settings.name}: {comparison.n_test} test trials")
    for decoder, found in comparison.scores.items():
        table.add_row(decoder, *(str(found[score]) for score in scores))
    table.add_section()
    for decoder, found in comparison.gains.items():
        table.add_row(f"{decoder} − linear", *(str(found[score]) for score in scores))
    print_table(table)
    remark(f"95 % intervals over {comparison.drawn}; results in {folder}")


def _export(settings: TrainConfig, fitted: Fitted | DeepFitted) -> dict[Path, DecoderManifest]:
    """Write the decoder, one file for each person that it knows apart."""
    dataset = settings.origin or settings.name
    if isinstance(fitted, Fitted):
        manifest = export(
            fitted,
            settings.decoder_path,
            name=settings.name,
            dataset=dataset,
            max_missing=settings.missing.max,
        )
        return {settings.decoder_path: manifest}
    from training.deep.export import export_deep

    written = {}
    for subject in fitted.decoder.subjects:
        path = settings.decoder_path_of(subject, fitted.decoder.subjects)
        written[path] = export_deep(
            fitted, path, name=path.stem, dataset=dataset, subject=subject, max_missing=settings.missing.max
        )
    return written


def _course(fitted: Fitted | DeepFitted) -> tuple[dict[str, Any], dict[str, str]]:
    """How the fit went, for machines and for people."""
    if isinstance(fitted, Fitted):
        chosen = sorted(Counter(fitted.penalties.tolist()).items())
        return {"penalties": {f"{penalty:g}": n for penalty, n in chosen}}, {
            "penalties": ", ".join(f"{penalty:g} ({n})" for penalty, n in chosen)
        }
    n, best = len(fitted.curve), fitted.best_epoch
    shown = {"epochs": f"{n}, the best one {best}"}
    if fitted.resumed_after:
        shown["gone on"] = f"after epoch {fitted.resumed_after} of an interrupted fit"
    return {"epochs": n, "best_epoch": best, "resumed_after": fitted.resumed_after}, shown


@train.command("evaluate")
@_config
@_json
def evaluate_command(config: Path, json_path: Path | None) -> None:
    """Score the decoder on the test trials; with leave_one_out, fit and score each part in turn."""
    settings = TrainConfig.load(config)
    trials = _open_trials(settings)
    targets = _targets(settings)
    by_head: dict[str, Scores] = {}
    if settings.split.leave_one_out is not None:
        with progress_console.status("Fitting on all but one"):
            folds = list(leave_one_out(trials, targets, settings.model, settings.split.leave_one_out))
    else:
        by_head = _score_test(settings, trials, targets)
        folds = [("test", next(iter(by_head.values())))]
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
    for head, scores in list(by_head.items())[1:]:
        remark(
            f"head {head}: " + ", ".join(f"{name} {value:.3f}" for name, value in scores.numbers().items())
        )
    if (known := _known_images(settings, trials)) > 0:
        remark(f"{known:.0%} of the test trials show what training trials showed, too: not new images")
    if contrast := folds[0][1].contrast:
        remark(f"auc: {contrast[0]} (positive) against {contrast[1]}")
    write_json(
        json_path,
        {
            "simulated": trials.simulated,
            "n_test": sum(scores.n_test for _, scores in folds),
            **mean,
            "folds": [{"held_out": name, **asdict(scores)} for name, scores in folds],
            "heads": {head: scores.numbers() for head, scores in by_head.items()},
        },
    )


def _known_images(settings: TrainConfig, trials: TrialSet) -> float:
    """Share of the test trials whose stimulus some training trial shows; the mean over parts held out."""
    stimuli = trials.trials["stimulus_id"]
    if settings.split.leave_one_out is not None:
        parts = [(~test, test) for _, test in held_out_parts(trials, settings.split.leave_one_out)]
    else:
        parts = [settings.split.parts(trials.trials)]
    shares = [stimuli[test].isin(stimuli[train].dropna()).mean() for train, test in parts]
    return float(np.mean(shares))


def _score_test(settings: TrainConfig, trials: TrialSet, targets: Targets) -> dict[str, Scores]:
    """Scores by head."""
    if isinstance(settings.model, LinearSettings):
        path = settings.decoder_path
        if not path.is_file():
            raise UserError(f"no decoder at {path}: run 'rtdecode train fit' first")
        decoder, manifest = read_decoder(path)
        fitted_on = manifest.provenance.split_sha256
        decoders: dict[str, FittedDecoder] = {decoder.head.name: decoder}
    else:
        check_installed()
        from training.deep.decoder import DeepDecoder

        path = settings.fit_folder / DECODER
        deep = DeepDecoder.load(path)
        # A decoder that started from another one has its sizes, whatever is said here.
        aside = {"network"} if settings.model.start_from else None
        if deep.model.model_dump(exclude=aside) != settings.model.model_dump(exclude=aside):
            raise UserError(f"{path} was fitted with another [model]: run 'rtdecode train fit' again")
        fitted_on = deep.split_sha256
        decoders = {head.name: deep.with_head_first(head.name) for head in deep.heads}
    train_part, test = settings.split.parts(trials.trials)
    train_trials, _ = with_targets(trials.select(train_part), targets)
    if fitted_on != split_hash(train_trials.trials):
        raise UserError(
            f"{path} was fitted on other trials than the training trials of this split: "
            "run 'rtdecode train fit' again"
        )
    return {head: evaluate(decoder, trials.select(test), targets) for head, decoder in decoders.items()}


def _open_trials(settings: TrainConfig) -> TrialSet:
    trials = TrialSet.open(settings.trials_path)
    if trials.extras.get("preparation_sha256") != settings.preparation_sha256():
        raise UserError(
            f"{settings.trials_path} was prepared with other settings: run 'rtdecode train prepare' again"
        )
    return trials


def _targets(settings: TrainConfig) -> Targets:
    stimuli = settings.stimuli()
    if settings.targets.encoder == "one_hot":
        return one_hot(stimuli.rows["stimulus_id"])
    stimuli.pictures()  # what is wrong with them is told before an encoder is loaded
    with progress_console.status("Opening the encoder"):
        encoder = settings.targets.open()
    with shown_progress("Embedding images") as progress:
        return embed_stimuli(stimuli, encoder, progress)
