"""THINGS-EEG2: pickled dictionaries, raw and in both pre-processed forms."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from miniatures import Miniature, write_pictures
from replay.datasets.things_eeg2 import ABOUT, ThingsEeg2

if TYPE_CHECKING:
    from pathlib import Path

N_CONCEPTS, N_PER_CONCEPT, N_TEST_IMAGES, N_SESSIONS = 4, 2, 3, 2
N_IMAGES = N_CONCEPTS * N_PER_CONCEPT
N_TRAIN, N_TEST_REPETITIONS = 4 * N_IMAGES, 4
TARGET = 99999
FIRST, STEP, LAST = 9000, 200, 900  # later than the front end's warm-up; milliseconds
CHANNELS = """
Fp1 F3 F7 FT9 FC5 FC1 C3 T7 TP9 CP5 CP1 Pz P3 P7 O1 Oz O2 P4 P8 TP10 CP6 CP2 Cz C4 T8 FT10 FC6 FC2
F4 F8 Fp2 AF7 AF3 AFz F1 F5 FT7 FC3 FCz C1 C5 TP7 CP3 P1 P5 PO7 PO3 POz PO4 PO8 P6 P2 CPz CP4 TP8 C6
C2 FC4 FT8 F6 F2 AF4 AF8
""".split()  # noqa: SIM905
POSTERIOR = """
Pz P3 P7 O1 Oz O2 P4 P8 P1 P5 PO7 PO3 POz PO4 PO8 P6 P2
""".split()  # noqa: SIM905


@dataclass(frozen=True, kw_only=True)
class ThingsEeg2Copy(Miniature):
    """With the paths of its files."""

    def raw(self, session: str, part: str) -> Path:
        return self.root / f"sub-{self.subject}" / f"ses-{session}" / f"raw_eeg_{part}.npy"

    def epochs(self, part: str) -> Path:
        return self.root / f"sub-{self.subject}" / f"preprocessed_eeg_{part}.npy"


def write_things_eeg2_raw(folder: Path) -> ThingsEeg2Copy:
    """Raw sessions of subject 01."""
    made = _write_images(folder, session="01", run="training", speed=8.0)
    for number in range(N_SESSIONS):
        session = f"{number + 1:02d}"
        # each session shows half of the training images twice, or in so few sessions all of them
        training = np.tile(np.arange(1, N_IMAGES + 1), 2)
        for part, codes in (("training", training), ("test", np.tile(np.arange(1, N_TEST_IMAGES + 1), 2))):
            path = made.raw(session, part)
            path.parent.mkdir(parents=True, exist_ok=True)
            save_as_before_numpy_2(path, raw_content(codes, seed=number))
    return made


def raw_content(codes: np.ndarray, seed: int = 0) -> dict[str, Any]:
    """A raw file's dictionary; a target is in the midst of it."""
    rng = np.random.default_rng(seed)
    shown = np.insert(rng.permutation(codes), len(codes) // 2, TARGET)
    signal = rng.normal(scale=1e-5, size=(len(CHANNELS) + 1, FIRST + STEP * len(shown) + LAST))
    signal[-1] = 0
    signal[-1, FIRST : FIRST + STEP * len(shown) : STEP] = shown
    return {
        "raw_eeg_data": signal,
        "ch_names": [*CHANNELS, "stim"],
        "ch_types": ["eeg"] * len(CHANNELS) + ["stim"],
        "sfreq": 1000,
        "highpass": 0.01,
        "lowpass": 100,
    }


def write_things_eeg2_preprocessed_17(folder: Path) -> ThingsEeg2Copy:
    """What OSF gives: ``numpy.save`` of a dictionary."""
    made = _write_images(folder, run="test", variant="preprocessed-17", unit="1", speed=6.0)
    for part in ("training", "test"):
        save_as_before_numpy_2(
            made.epochs(part), epochs_content(part, POSTERIOR, 100, np.arange(100) / 100 - 0.2)
        )
    return made


def write_things_eeg2_preprocessed_63(folder: Path) -> ThingsEeg2Copy:
    """What others made of it at 250 Hz: a pickle under a name that ends as NumPy's do."""
    made = _write_images(folder, run="test", variant="preprocessed-63", unit="1", speed=6.0)
    for part in ("training", "test"):
        content = epochs_content(part, CHANNELS, 250, np.arange(300) / 250 - 0.2)
        made.epochs(part).write_bytes(pickle.dumps(content, protocol=4))
    return made


def epochs_content(part: str, channels: list[str], n_times: int, times_s: np.ndarray) -> dict[str, Any]:
    """A pre-processed file's dictionary."""
    n = (N_IMAGES, 4) if part == "training" else (N_TEST_IMAGES, N_TEST_REPETITIONS)
    return {
        "preprocessed_eeg_data": np.random.default_rng(n[0]).normal(size=(*n, len(channels), n_times)),
        "ch_names": channels,
        "times": times_s,
    }


def save_as_before_numpy_2(path: Path, content: Any) -> None:
    """``numpy.save`` of an object, byte by byte as in 2021."""
    array = np.empty((), dtype=object)
    array[()] = content
    with path.open("wb") as file:
        header = {"descr": "|O", "fortran_order": False, "shape": ()}
        np.lib.format.write_array_header_1_0(file, header)
        file.write(pickle.dumps(array, protocol=3).replace(b"cnumpy._core.", b"cnumpy.core."))


def _write_images(folder: Path, **options: Any) -> ThingsEeg2Copy:
    small = ABOUT.model_copy(
        update={
            "n_sessions": (N_SESSIONS,) * 10,
            "n_train": N_TRAIN,
            "n_concepts": N_CONCEPTS,
            "n_test_images": N_TEST_IMAGES,
            "n_repetitions": N_TEST_REPETITIONS,
        }
    )
    root = folder / "copy"
    (root / "sub-01").mkdir(parents=True)
    made = ThingsEeg2Copy(
        root=root, dataset=ThingsEeg2(small), images=folder / "images", subject="01", **options
    )
    metadata: dict[str, list[str]] = {}
    for part, kind, n, n_each in (
        ("training", "train", N_CONCEPTS, N_PER_CONCEPT),
        ("test", "test", N_TEST_IMAGES, 1),
    ):
        concepts = [f"{number + 1:05d}_{kind}concept{number}" for number in range(n) for _ in range(n_each)]
        files = [f"{name[6:]}_{number % n_each + 1:02d}b.jpg" for number, name in enumerate(concepts)]
        metadata |= {f"{kind}_img_concepts": concepts, f"{kind}_img_files": files}
        write_pictures(
            made.images / f"{part}_images",
            (f"{concept}/{file}" for concept, file in zip(concepts, files, strict=True)),
        )
    save_as_before_numpy_2(root / "image_metadata.npy", metadata)
    return made
