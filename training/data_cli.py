"""``rtdecode data prepare``: a public dataset becomes a study that can be fitted."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from replay.data_cli import data
from replay.datasets.catalogue import find_dataset
from replay.datasets.dataset import Selection
from rtdecode.errors import UserError
from rtdecode.output import check_writable, write_file
from training.config import TrainConfig
from training.presets import baseline_preset, signal_preset
from training.study import prepare_study, remark

if TYPE_CHECKING:
    import pandas as pd

    from replay.datasets.dataset import Dataset

__all__ = ["data"]

_TABLE = "stimuli.csv"


@data.command("prepare")
@click.argument("name")
@click.argument("root", type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="New folder for the study: its TOML file, table of stimuli and trials.",
)
@click.option(
    "--subject", "subjects", multiple=True, help="Only this subject, e.g. 10; may be given more than once."
)
@click.option("--variant", help="In which form, where the folder holds several.")
@click.option(
    "--mask",
    type=click.Path(path_type=Path),
    help="fMRI: image whose voxels above zero are the channels; {subject} stands for the label.",
)
@click.option(
    "--images", type=click.Path(path_type=Path), help="Folder of the images that were shown: data show NAME."
)
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write what came of it here too.")
def prepare_command(
    name: str,
    root: Path,
    out: Path,
    subjects: tuple[str, ...],
    variant: str | None,
    mask: Path | None,
    images: Path | None,
    json_path: Path | None,
) -> None:
    """Cut the copy of the dataset NAME in the folder ROOT into windows, ready to be fitted.

    Writes a TOML file that says how: as in the study of Banville et al. 2025, as far as a live stream can be
    treated so. For other filters, windows or splits change it and run "rtdecode train prepare" on it. Go on
    with "rtdecode train fit" and "evaluate". The copy is not changed.
    """
    dataset = find_dataset(name)
    if out.exists():
        raise UserError(
            f"{out} exists already: run 'rtdecode train prepare' on its TOML file, or name another folder"
        )
    check_writable(out)
    chosen = dataset.select(subjects)
    content = dataset.open(root, Selection(subjects=chosen, variant=variant, mask=mask))
    stimuli = _placed(content.stimuli, images, out)
    config = out / f"{_study_name(dataset, chosen)}.toml"
    signal = signal_preset(content.variant, content.recordings[0])
    text = _toml(
        {
            "": {
                "name": config.stem,
                "origin": f"{dataset.about.title}, {content.variant.name}",
                "output": ".",
            },
            "dataset": {
                "name": dataset.about.name,
                "root": _seen_from(root, out),
                "subjects": list(chosen),
                "variant": content.variant.name,
                "mask": None if mask is None else _seen_from(mask, out),
            },
            "markers": {"table": _TABLE},
            "signal": signal.model_dump(mode="json", exclude_defaults=True),
            "model": {"baseline_s": baseline_preset(signal)},
            "split": {"column": "split_original"},
        }
    )
    try:
        write_file(out / _TABLE, stimuli.to_csv(index=False))
        write_file(config, text)
        prepare_study(TrainConfig.load(config), json_path)
    except BaseException:
        shutil.rmtree(out, ignore_errors=True)
        raise
    remark(f"next: rtdecode train fit {config}")


def _study_name(dataset: Dataset, subjects: tuple[str, ...]) -> str:
    whose = "all" if subjects == dataset.about.subjects else "-".join(subjects)
    return f"{dataset.about.name}-{whose}"


def _placed(stimuli: pd.DataFrame, images: Path | None, out: Path) -> pd.DataFrame:
    """Images as seen from the folder of the table; none where it is not known where they are."""
    folder = "" if images is None else _seen_from(images, out)
    placed = [f"{folder}/{image}" if folder and image else "" for image in stimuli["image"]]
    return stimuli.assign(image=placed)


def _seen_from(path: Path, folder: Path) -> str:
    try:
        return Path(os.path.relpath(path, folder)).as_posix()
    except ValueError:  # on another drive
        return path.resolve().as_posix()


def _toml(sections: dict[str, dict[str, Any]]) -> str:
    """TOML of sections by name, ``""`` the top level; None is left out."""
    lines = ["# Change this and run: rtdecode train prepare, then fit and evaluate, with this file.", ""]
    for name, section in sections.items():
        kept = [f"{key} = {_toml_value(value)}" for key, value in section.items() if value is not None]
        if kept:
            lines += [*([f"[{name}]"] if name else []), *kept, ""]
    return "\n".join(lines)


def _toml_value(value: Any) -> str:
    """Give strings, numbers and truths as JSON, which TOML shares, and lists and tables of them."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml_value(inner)}" for key, inner in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml_value, value)) + "]"
    return json.dumps(value, ensure_ascii=False)
