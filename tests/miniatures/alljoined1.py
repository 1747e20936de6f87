"""Alljoined1: a FIF file and a pandas table a session, the pictures of NSD, and the list of test images."""

from __future__ import annotations

import json
import pickle
from dataclasses import dataclass
from typing import TYPE_CHECKING

import h5py
import hdf5plugin
import numpy as np

from miniatures import Miniature
from replay.datasets.alljoined1 import ABOUT, Alljoined1

if TYPE_CHECKING:
    from pathlib import Path

RATE_HZ, FIRST, STEP, LAST = 512, 4608, 320, 700  # samples: later than the front end's warm-up
N_PICTURES = 40
TRAIN, TEST = (3, 17, 21, 38), (5, 30)
"""NSD's numbers; codes count through both from 1."""

IMAGES = (*TRAIN, *TEST)
N_TRIALS = 4 * len(IMAGES)
CHANNELS = """
Fp1 AF7 AF3 F1 F3 F5 F7 FT7 FC5 FC3 FC1 C1 C3 C5 T7 TP7 CP5 CP3 CP1 P1 P3 P5 P7 P9 PO7 PO3 O1 Iz Oz
POz Pz CPz Fpz Fp2 AF8 AF4 AFz Fz F2 F4 F6 F8 FT8 FC6 FC4 FC2 FCz Cz C2 C4 C6 T8 TP8 CP6 CP4 CP2 P2
P4 P6 P8 P10 PO8 PO4 O2
""".split()  # noqa: SIM905


@dataclass(frozen=True, kw_only=True)
class Alljoined1Copy(Miniature):
    """With the paths of its files."""

    def signal(self, session: str, subject: str = "01") -> Path:
        return self.root / "raw" / f"subj{subject}_session{session}_eeg.fif"

    def table(self, session: str, subject: str = "01") -> Path:
        return self.root / "05_125" / f"subj{subject}_session{session}.h5"

    @property
    def test_images(self) -> Path:
        return self.root / "test_indices.json"


def codes() -> np.ndarray:
    """Codes of a session's trials, in order."""
    return np.tile(np.arange(1, len(IMAGES) + 1), 4)


def samples() -> np.ndarray:
    """When each image came: after one another at no regular step."""
    return FIRST + STEP * np.arange(N_TRIALS) + np.random.default_rng(1).integers(0, 26, N_TRIALS)


def kept() -> np.ndarray:
    """Trials that the authors kept."""
    return np.flatnonzero(np.arange(N_TRIALS) % 7 != 3)


def write_alljoined1(folder: Path) -> Alljoined1Copy:
    """Both sessions of subject 01, and the one session of subject 03."""
    small = ABOUT.model_copy(update={"n_train": 8 * len(TRAIN), "n_test_images": len(TEST)})
    made = Alljoined1Copy(
        root=folder / "copy",
        dataset=Alljoined1(small, N_PICTURES),
        images=folder / "nsd_stimuli.hdf5",
        subject="01",
        session="2",
        speed=10.0,
    )
    for name in ("raw", "05_125"):
        (made.root / name).mkdir(parents=True)
    made.test_images.write_text(json.dumps(TEST))
    coarse = np.random.default_rng(0).integers(0, 256, (N_PICTURES, 4, 4, 3), dtype=np.uint8)
    with h5py.File(made.images, "w") as file:
        file["imgBrick"] = coarse.repeat(8, axis=1).repeat(8, axis=2)
    for subject, session in (("01", "1"), ("01", "2"), ("03", "2")):
        write_signal(made.signal(session, subject), codes())
        write_table(made.table(session, subject), int(subject), int(session), kept())
    return made


def write_signal(path: Path, codes: np.ndarray) -> None:
    """The signal; a code of zero leaves its trigger out."""
    import mne

    n_samples = FIRST + STEP * N_TRIALS + LAST
    signal = np.random.default_rng(0).normal(scale=1e-5, size=(len(CHANNELS) + 1, n_samples))
    signal[-1] = 0
    signal[-1, samples()] = codes
    info = mne.create_info([*CHANNELS, "Status"], float(RATE_HZ), ["eeg"] * len(CHANNELS) + ["stim"])
    mne.io.RawArray(signal, info, verbose="error").save(path, overwrite=True, verbose="error")


def write_table(path: Path, subject: int, session: int, rows: np.ndarray) -> None:
    """What ``DataFrame.to_hdf(key="df", complib="blosc", complevel=9)`` writes: a block a type, of which that
    of the epochs is pickled."""
    images = np.array(IMAGES)[codes() - 1]
    whole = {
        "subject_id": np.full(N_TRIALS, subject),
        "session": np.full(N_TRIALS, session),
        "block": np.arange(N_TRIALS) // len(IMAGES) + 1,
        "trial": np.arange(N_TRIALS) + 1,
        "73k_id": images,
        "coco_id": 532_481 + images,
    }
    blocks = {
        "block0": ([*whole], np.column_stack(list(whole.values())).astype(np.int64)[rows]),
        "block1": (["curr_time"], (samples() / RATE_HZ)[rows, None]),
    }
    packed = hdf5plugin.Blosc(cname="blosclz", clevel=9)
    with h5py.File(path, "w") as file:
        frame = file.create_group("df")
        frame.attrs["pandas_type"] = np.bytes_(b"frame")
        frame["axis0"] = np.array([*whole, "eeg", "curr_time"], "S10")
        frame["axis1"] = np.arange(len(rows))
        for name, (items, values) in blocks.items():
            frame[f"{name}_items"] = np.array(items, "S10")
            frame.create_dataset(f"{name}_values", data=values, chunks=values.shape, compression=packed)
        frame["block2_items"] = np.array(["eeg"], "S3")
        pickled = frame.create_dataset("block2_values", (1,), h5py.vlen_dtype(np.uint8))
        pickled[0] = np.frombuffer(pickle.dumps(np.zeros((len(rows), 64, 3)), protocol=4), np.uint8)
