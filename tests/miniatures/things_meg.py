"""THINGS-MEG: CTF runs with event tables and sidecars, and epochs in a FIF file of four parts."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from miniatures import Miniature, write_pictures
from miniatures.ctf import (
    ANALOG,
    CLOCK,
    REFERENCE_GRADIOMETER,
    REFERENCE_MAGNETOMETER,
    SENSOR,
    STIM,
    write_ctf,
)
from replay.datasets.things_meg import ABOUT, ThingsMeg

if TYPE_CHECKING:
    from pathlib import Path

RATE_HZ, FIRST, STEP, LAST = 1200.0, 10_800, 1440, 600  # samples: after the warm-up, no windows overlap
N_SESSIONS, N_RUNS, N_CONCEPTS, N_TEST_IMAGES = 2, 2, 4, 4
KINDS = ("exp", "test", "exp", "catch", "exp", "test", "exp")
"""Trials of a run; over both runs of a session each test image is shown once."""

N_TRIALS = len(KINDS) * N_SESSIONS * N_RUNS
SENSORS = ("MLC11-1609", "MLO11-1609", "MRC11-1609", "MRO11-1609", "MRT32-1609", "MZC01-1609")
REFERENCES = [
    *((f"BG{number}-1609", REFERENCE_MAGNETOMETER) for number in range(1, 10)),
    *((f"G{number}-1609", REFERENCE_GRADIOMETER) for number in range(11, 30)),
]
CHANNELS = [
    ("SCLK01-177", CLOCK),
    *REFERENCES,
    *((name, SENSOR) for name in SENSORS),
    ("UADC016-2104", ANALOG),
    ("UPPT001", STIM),
]
EARLY_S = 0.15
"""How much too early the second session's onsets are."""


@dataclass(frozen=True, kw_only=True)
class ThingsMegCopy(Miniature):
    """With the paths of its files."""

    def file(self, session: str, run: str, ending: str) -> Path:
        stem = f"sub-{self.subject}_ses-{session}_task-main_run-{run}"
        return self.root / f"sub-{self.subject}" / f"ses-{session}" / "meg" / f"{stem}_{ending}"

    @property
    def attributes(self) -> Path:
        return self.root / "sourcedata" / "sample_attributes_P1.csv"

    def epochs(self, part: int = 0) -> Path:
        name = f"preprocessed_P1-epo{f'-{part}' if part else ''}.fif"
        return self.root / "derivatives" / "preprocessed" / name


def trials() -> pd.DataFrame:
    """All trials of a subject, in order, as ``sample_attributes_P1.csv`` lists them."""
    rows: list[dict[str, Any]] = []
    n_exp = n_test = 0
    for session in range(1, N_SESSIONS + 1):
        for run in range(1, N_RUNS + 1):
            for kind in KINDS:
                if kind == "exp":
                    concept, number = n_exp % N_CONCEPTS, n_exp + 1
                    image = f"images_meg/concept{concept}/concept{concept}_{n_exp // N_CONCEPTS + 1:02d}b.jpg"
                    n_exp += 1
                elif kind == "test":
                    concept, number = n_test % N_TEST_IMAGES, 101 + n_test % N_TEST_IMAGES
                    image = f"images_test_meg/concept{concept}_13s.jpg"
                    n_test += 1
                else:
                    number, concept, image = None, None, "images_catch_meg/catch_017.jpg"
                rows.append(
                    {
                        "category_nr": concept,
                        "image_nr": len(rows) + 1,
                        "trial_type": kind,
                        "session_nr": session,
                        "run_nr": run,
                        "image_on": 1.5 * len(rows),
                        "image_off": 1.5 * len(rows) + 0.5,
                        "things_category_nr": concept,
                        "image_path": image,
                        "things_image_nr": number,
                    }
                )
    return pd.DataFrame(rows)


def write_things_meg_raw(folder: Path) -> ThingsMegCopy:
    """The runs of subject BIGMEG1, and a shadow of macOS's beside the first table."""
    made = _write_attributes(folder, session="02", run="02", variant="raw", speed=10.0)
    for number, ((session, run), rows) in enumerate(trials().groupby(["session_nr", "run_nr"])):
        _write_run(made, f"{session:02d}", f"{run:02d}", rows, np.random.default_rng(number))
    shadow = made.file("01", "01", "events.tsv")
    shadow.with_name(f"._{shadow.name}").write_bytes(b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X\xb0")
    return made


def _write_run(
    made: ThingsMegCopy, session: str, run: str, rows: pd.DataFrame, rng: np.random.Generator
) -> None:
    samples = FIRST + STEP * np.arange(len(rows))
    n_samples = FIRST + STEP * len(rows) + LAST
    numbers = rng.integers(-(2**20), 2**20, (len(CHANNELS), n_samples))
    numbers[0] = np.arange(1, n_samples + 1)
    numbers[-1] = 0
    for sample in samples:
        numbers[-1, sample - 20 : sample - 10] = 64  # the computer's trigger, before the picture is there
    write_ctf(made.file(session, run, "meg.ds"), CHANNELS, numbers, RATE_HZ, n_trials=1)
    lines = ["onset\tduration\ttrial_type\tthings_category_nr\tvalue\tsample"]
    for sample, row in zip(samples.tolist(), rows.itertuples(), strict=True):
        onset_s = sample / RATE_HZ - (EARLY_S if session == "02" else 0)
        concept, value = (
            ("N/A", "N/A")
            if row.trial_type == "catch"
            else (f"{row.things_category_nr:.1f}", f"{row.things_image_nr:.1f}")
        )
        lines.append(f"{onset_s}\t0.5\t{row.trial_type}\t{concept}\t{value}\t{sample}")
    made.file(session, run, "events.tsv").write_text("\n".join(lines) + "\n", newline="\n")
    kinds = {CLOCK: "MISC", ANALOG: "MISC", STIM: "MISC", SENSOR: "OTHER"}
    kinds |= {REFERENCE_MAGNETOMETER: "MEGREFMAG", REFERENCE_GRADIOMETER: "MEGREFGRADAXIAL"}
    table = ["name\ttype\tunits\tsampling_frequency\tstatus"]
    table += [f"{name}\t{kinds[kind]}\tT\t1200.0\tgood" for name, kind in CHANNELS]
    made.file(session, run, "channels.tsv").write_text("\n".join(table) + "\n", newline="\n")
    sidecar = {"TaskName": "main", "SamplingFrequency": RATE_HZ, "MEGChannelCount": len(SENSORS)}
    sidecar |= {"MEGREFChannelCount": len(REFERENCES), "RecordingDuration": (n_samples - 1) / RATE_HZ}
    made.file(session, run, "meg.json").write_text(json.dumps(sidecar))


def write_things_meg_epochs(folder: Path) -> ThingsMegCopy:
    """The epochs of subject BIGMEG1."""
    import mne

    made = _write_attributes(folder, session="02", run="01", variant="epochs", speed=8.0)
    names = [name for name in SENSORS if name != "MRO11-1609"]
    table = trials()
    values = table["things_image_nr"].fillna(999_999).to_numpy(int)
    events = np.column_stack([1000 * np.arange(len(table)), np.zeros(len(table), int), values])
    epochs = mne.EpochsArray(
        epochs_data(),
        mne.create_info(names, 200.0, "mag"),
        events,
        tmin=-0.1,
        baseline=None,
        metadata=table,
        verbose="error",
    )
    made.epochs().parent.mkdir(parents=True)
    epochs.save(made.epochs(), split_size=1_108_000, verbose="error")
    assert len(list(made.epochs().parent.iterdir())) == 4
    return made


def epochs_data() -> np.ndarray:
    """Shape (n_trials, n_channels, n_times), in units of the time before onset."""
    return np.random.default_rng(0).normal(size=(N_TRIALS, len(SENSORS) - 1, 281)).astype("f4").astype("f8")


def _write_attributes(folder: Path, **options: Any) -> ThingsMegCopy:
    small = ABOUT.model_copy(
        update={
            "n_sessions": (N_SESSIONS,) * 4,
            "n_channels": len(SENSORS),
            "n_train": KINDS.count("exp") * N_SESSIONS * N_RUNS,
            "n_concepts": N_CONCEPTS,
            "n_test_images": N_TEST_IMAGES,
            "n_repetitions": N_SESSIONS,
        }
    )
    root = folder / "copy"
    dataset = ThingsMeg(small, N_RUNS, 4, KINDS.count("catch") * N_SESSIONS * N_RUNS)
    made = ThingsMegCopy(root=root, dataset=dataset, images=folder / "images", subject="BIGMEG1", **options)
    made.attributes.parent.mkdir(parents=True)
    description = {"Name": "THINGS-MEG", "DatasetDOI": "doi:10.18112/openneuro.ds004212.v3.0.0"}
    (root / "dataset_description.json").write_text(json.dumps(description))
    table = trials()
    table.to_csv(made.attributes, index=False)
    names = (image.rpartition("/")[2] for image in table["image_path"] if "catch" not in image)
    write_pictures(made.images, (f"{name.rpartition('_')[0]}/{name}" for name in names))
    return made
