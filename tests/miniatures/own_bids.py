"""A lab's own dataset, written by mne-bids, its events by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import mne
import mne_bids
import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

HEADER = "onset\tduration\ttrial_type\tstim_file\tconcept\tis_test\n"
EVENTS = (
    HEADER
    + "12.0\t0.1\tshow\tanimals\\cat_01.jpg\tcat\t0\n"
    + "12.5034\t0.1\tshow\tanimals\\dog_01.jpg\tdog\t0\n"
    + "13.0\t0.1\tpress\tn/a\tn/a\tn/a\n"
    + "14.5\t0.1\tshow\tanimals\\cat_02.jpg\tcat\t1\n"
)


def write_own_bids(root: Path) -> Path:
    """Two subjects, two sessions, BrainVision; stimuli from 12 s on."""
    info = mne.create_info(["Cz", "Oz", "E1"], 250.0, ["eeg", "eeg", "eog"])
    for subject in ("01", "02"):
        for session in ("a", "b"):
            data = np.random.default_rng(int(subject)).normal(scale=1e-5, size=(3, 4000))
            raw = mne.io.RawArray(data, info, verbose="error")
            raw.set_montage("biosemi64")
            raw.info["line_freq"] = 50
            path = mne_bids.BIDSPath(subject=subject, session=session, task="show", root=root, datatype="eeg")
            mne_bids.write_raw_bids(
                raw, path, format="BrainVision", allow_preload=True, overwrite=True, verbose="error"
            )
            events(root, subject, session).write_text(EVENTS)
    return root


def events(root: Path, subject: str, session: str) -> Path:
    folder = root / f"sub-{subject}" / f"ses-{session}" / "eeg"
    return folder / f"sub-{subject}_ses-{session}_task-show_events.tsv"
