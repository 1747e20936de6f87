"""``rtdecode data prepare``, ``bids`` and ``simulate``: a dataset becomes a study that can be fitted."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from replay.data_cli import data
from replay.datasets.bids import EventColumns, open_bids
from replay.datasets.catalogue import find_dataset
from replay.datasets.dataset import Selection
from replay.datasets.pictures import write_pictures
from replay.datasets.simulated.showing import simulated_content, world_pictures
from rtdecode.errors import UserError
from rtdecode.output import check_writable, write_file
from training.config import TrainConfig
from training.presets import baseline_preset, shared_channels, signal_preset
from training.study import prepare_study, remark, shown_progress

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    import pandas as pd

    from replay.datasets.dataset import Content, ReadPicture

__all__ = ["data"]

_TABLE = "stimuli.csv"
_PICTURES = "images"


_out = click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="New folder for the study: its TOML file, table of stimuli and trials.",
)
_subjects = click.option(
    "--subject", "subjects", multiple=True, help="Only this subject, e.g. 10; may be given more than once."
)
_images = click.option(
    "--images",
    type=click.Path(path_type=Path),
    help="Folder of the images that were shown, or the one file that holds them: data show NAME.",
)
_json = click.option(
    "--json", "json_path", type=click.Path(path_type=Path), help="Write what came of it here too."
)


@data.command("prepare")
@click.argument("name")
@click.argument("root", type=click.Path(path_type=Path))
@_out
@_subjects
@click.option("--variant", help="In which form, where the folder holds several.")
@click.option(
    "--mask",
    type=click.Path(path_type=Path),
    help="fMRI: image whose voxels above zero are the channels; {subject} stands for the label.",
)
@_images
@_json
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
    _check_new(out, images)
    chosen = dataset.select(subjects)
    content = dataset.open(root, Selection(subjects=chosen, variant=variant, mask=mask))
    whose = "all" if chosen == dataset.about.subjects else "-".join(chosen)
    source = {
        "name": dataset.about.name,
        "root": _seen_from(root, out),
        "subjects": list(chosen),
        "variant": content.variant.name,
        "mask": None if mask is None else _seen_from(mask, out),
    }
    origin = f"{dataset.about.title}, {content.variant.name}"
    pictures = dataset.pictures(images) if images is not None and images.is_file() else None
    name = f"{dataset.about.name}-{whose}"
    _write_study(out, name, origin, content, {"dataset": source}, images, json_path, pictures)


@data.command("bids")
@click.argument("root", type=click.Path(path_type=Path))
@_out
@click.option("--stimulus", required=True, help="Column of events.tsv that says what was shown.")
@click.option("--image", help="Column of its picture's file.  [default: --stimulus, where that is a picture]")
@click.option("--concept", help="Column that says what it shows.")
@click.option("--split", help="Column that says train or test, or whether it is for the test (0 or 1).")
@click.option("--task", help="Only recordings of this task; needed where there are several.")
@click.option("--datatype", type=click.Choice(["eeg", "meg"]), help="Only these.")
@click.option("--units", help="Unit of channels whose file does not say, e.g. uV.")
@_subjects
@_images
@_json
def bids_command(
    root: Path,
    out: Path,
    stimulus: str,
    image: str | None,
    concept: str | None,
    split: str | None,
    task: str | None,
    datatype: str | None,
    units: str | None,
    subjects: tuple[str, ...],
    images: Path | None,
    json_path: Path | None,
) -> None:
    """Cut your own EEG or MEG dataset in BIDS, in the folder ROOT, into windows, ready to be fitted.

    As "prepare" does with public ones. Its events.tsv say what was shown: name the columns. Without a --split
    the last session, or the last runs of an only one, are the test.
    """
    _check_new(out, images)
    columns = EventColumns(stimulus=stimulus, image=image, concept=concept, split=split)
    content = open_bids(root, columns, subjects=subjects, task=task, datatype=datatype, units=units)
    source = {
        "root": _seen_from(root, out),
        "subjects": list(subjects) or None,
        "task": task,
        "datatype": datatype,
        "units": units,
        **columns.model_dump(),
    }
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", root.resolve().name).strip("-._") or "bids"
    _write_study(out, name, root.resolve().name, content, {"bids": source}, images, json_path)


@data.command("simulate")
@click.argument("name")
@_out
@click.option(
    "--subject",
    "subjects",
    multiple=True,
    type=click.IntRange(min=1),
    default=(1,),
    show_default=True,
    help="Number of a subject; may be given more than once.",
)
@click.option(
    "--sessions", default=2, show_default=True, type=click.IntRange(min=1), help="Sessions of each subject."
)
@click.option("--seed", default=0, show_default=True, help="Another world and other people.")
@_json
def simulate_command(
    name: str, out: Path, subjects: tuple[int, ...], sessions: int, seed: int, json_path: Path | None
) -> None:
    """Let SIMULATED subjects in the device NAME look at the built-in world, and cut that into windows.

    As "prepare" does with public datasets: --out is then ready to be fitted. Each session shows 360 training
    images, others each time, and then the 120 test images. Nothing of it says how well brains are decoded.
    """
    _check_new(out)
    content = simulated_content(name, subjects, sessions, seed)
    source = {"name": name.casefold(), "subjects": list(subjects), "sessions": sessions, "seed": seed}
    origin = f"{name.casefold()}: SIMULATED, of the built-in world"
    pictures = world_pictures(seed)
    _write_study(out, name.casefold(), origin, content, {"simulated": source}, None, json_path, pictures)


def _check_new(out: Path, images: Path | None = None) -> None:
    if images is not None and not images.exists():
        raise UserError(f"{images}: no such folder of images; check --images, or leave it out")
    if out.exists():
        raise UserError(
            f"{out} exists already: run 'rtdecode train prepare' on its TOML file, or name another folder"
        )
    check_writable(out)


def _write_study(
    out: Path,
    name: str,
    origin: str,
    content: Content,
    source: dict[str, dict[str, Any]],
    images: Path | None,
    json_path: Path | None,
    pictures: AbstractContextManager[ReadPicture] | None = None,
) -> None:
    """Write the table and the TOML file of a study, and prepare it; a failure leaves nothing.

    Pictures are taken out of ``pictures``, where that is given, into the study's own folder.
    """
    signal = signal_preset(content.variant, content.recordings[0])
    if (shared := shared_channels(content.recordings)) is not None:
        remark(f"the recordings have different channels: the {len(shared)} that all have are taken")
        signal = signal.model_copy(update={"channels": shared})
    has_split = {"train", "test"} <= set(content.stimuli["split"])
    config = out / f"{name}.toml"
    text = _toml(
        {
            "": {"name": name, "origin": origin, "output": "."},
            **source,
            "markers": {"table": _TABLE},
            "signal": signal.model_dump(mode="json", exclude_defaults=True),
            "model": {"baseline_s": baseline_preset(signal)},
            "split": {"column": "split_original" if has_split else "split_future_session"},
        }
    )
    try:
        if pictures is not None:
            images = out / _PICTURES
            with pictures as read, shown_progress("Taking pictures") as progress:
                write_pictures(read, content.stimuli, images, progress)
        write_file(out / _TABLE, _placed(content.stimuli, images, out).to_csv(index=False))
        write_file(config, text)
        prepare_study(TrainConfig.load(config), json_path)
    except BaseException:
        shutil.rmtree(out, ignore_errors=True)
        raise
    remark(f"next: rtdecode train fit {config}")


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
