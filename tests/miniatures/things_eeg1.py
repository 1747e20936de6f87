"""THINGS-EEG1: one BrainVision recording and one event table a subject."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from miniatures import Miniature, write_pictures
from replay.datasets.things_eeg1 import ABOUT, ThingsEeg1

if TYPE_CHECKING:
    from pathlib import Path


N_CONCEPTS, N_BLOCKS, N_TEST_IMAGES, N_REPETITIONS = 5, 4, 3, 2
N_TRAIN, N_STOPPED = N_CONCEPTS * N_BLOCKS, N_CONCEPTS * 2
N_ROWS = N_TRAIN + N_TEST_IMAGES * N_REPETITIONS
N_CHANNELS, FIRST_MS, PAUSE_MS = 63, 9000, 2000  # later than the front end's warm-up; between the blocks
N_SAMPLES = FIRST_MS + 100 * N_ROWS + PAUSE_MS + 900
_COLUMNS = """onset duration eventnumber blocksequencenumber isteststim object objectnumber
presentationnumber sequencenumber stim stimnumber teststimnumber withinsequencenumber istarget stimname
response rt correct time_stimon time_stimoff stimdur"""
NOTES = {
    "01": "No data for final test-images part",
    "06": "Did not complete exp",
    "18": '"Subject had braided hair, poor signal at TP4, but did complete the experiment"',
    "23": "Monitor issues during the experiment",
}


@dataclass(frozen=True, kw_only=True)
class ThingsEeg1Copy(Miniature):
    """With the paths of its files."""

    def file(self, subject: str, ending: str) -> Path:
        return self.root / f"sub-{subject}" / "eeg" / f"sub-{subject}_task-rsvp_{ending}"


def write_things_eeg1(folder: Path) -> ThingsEeg1Copy:
    """Write subjects 01, 06, 10 and 49, and the images."""
    small = ABOUT.model_copy(
        update={
            "n_train": N_TRAIN,
            "n_concepts": N_CONCEPTS,
            "n_test_images": N_TEST_IMAGES,
            "n_repetitions": N_REPETITIONS,
        }
    )
    root = folder / "copy"
    root.mkdir(parents=True)
    made = ThingsEeg1Copy(
        root=root,
        dataset=ThingsEeg1(small, N_STOPPED),
        images=folder / "images",
        subject="10",
        speed=8.0,
    )
    write_pictures(made.images, (_image(number) for number in range(N_ROWS)))
    description = {"Name": "THINGS-EEG", "DatasetDOI": "10.18112/openneuro.ds003825.v1.1.0"}
    (root / "dataset_description.json").write_text(json.dumps(description))
    (root / "task-rsvp_eeg.json").write_text(json.dumps(_sidecar()))
    lines = ["participant_id\tage\tgender\texclude\tnote_IZ"]
    lines += [
        f"sub-{label}\t20\tF\t{int(label in NOTES)}\t{NOTES.get(label, 'n/a')}" for label in small.subjects
    ]
    (root / "participants.tsv").write_bytes("\r\n".join(lines).encode())
    for subject in ("01", "06", "10", "49"):
        _write_subject(made, subject)
    return made


def _sidecar() -> dict[str, object]:
    return {
        "TaskName": "rsvp",
        "PowerLineFrequency": 50,
        "SamplingFrequency": 1000,
        "EEGChannelCount": 63,
        "EEGReference": "Cz",
    }


def _write_subject(copy: ThingsEeg1Copy, subject: str) -> None:
    copy.file(subject, "eeg.json").parent.mkdir(parents=True)
    copy.file(subject, "eeg.json").write_text(json.dumps(_sidecar()))
    _write_events(copy, subject)
    n_channels = 127 if subject == "49" else N_CHANNELS
    stem = f"sub-{subject}_task-rsvp_eeg"
    header = [
        "Brain Vision Data Exchange Header File Version 1.0",
        "; made by a test",
        "",
        "[Common Infos]",
        "Codepage=UTF-8",
        f"DataFile={stem}.eeg",
        f"MarkerFile={stem}.vmrk",
        "DataFormat=BINARY",
        "DataOrientation=MULTIPLEXED",
        f"NumberOfChannels={n_channels}",
        "SamplingInterval=1000",
        "",
        "[Binary Infos]",
        "BinaryFormat=IEEE_FLOAT_32",
        "",
        "[Channel Infos]",
        *(f"Ch{number}=E{number},Cz,1,µV" for number in range(1, n_channels + 1)),
        "",
        "[Comment]",
        "[ no = ini",
    ]
    copy.file(subject, "eeg.vhdr").write_text("\r\n".join(header), encoding="utf-8", newline="")
    copy.file(subject, "eeg.vmrk").write_text(
        "Brain Vision Data Exchange Marker File, Version 1.0\n\n[Marker Infos]\nMk1=New Segment,,1,1,0\n"
    )
    rng = np.random.default_rng(int(subject))
    copy.file(subject, "eeg.eeg").write_bytes(
        rng.normal(scale=10.0, size=(N_SAMPLES, n_channels)).astype("<f4").tobytes()
    )


def _write_events(copy: ThingsEeg1Copy, subject: str) -> None:
    """The event table, with the columns that the subject's has."""
    columns = [name for name in _COLUMNS.split() if subject not in ("01", "06") or "teststim" not in name]
    n_rows = {"01": N_TRAIN, "06": N_STOPPED}.get(subject, N_ROWS)
    lines = ["\t".join(columns)]
    for number in range(n_rows):
        is_test = number >= N_TRAIN
        image = _image(number)
        cells = dict.fromkeys(columns, "0") | {
            "onset": str(FIRST_MS + 100 * number + PAUSE_MS * is_test),
            "duration": "50",
            "eventnumber": str(number),
            "isteststim": str(int(is_test)),
            "objectnumber": "-1" if is_test else str(number % N_CONCEPTS),
            "sequencenumber": str(number // N_CONCEPTS),
            "stim": f"stimuli\\{image.replace('/', chr(92))}",
            "stimname": image.rpartition("/")[2],
            "teststimnumber": str((number - N_TRAIN) % N_TEST_IMAGES) if is_test else "-1",
        }
        lines.append("\t".join(cells[column] for column in columns))
    copy.file(subject, "events.tsv").write_text("\n".join(lines) + "\n", newline="\n")


def _image(number: int) -> str:
    """Image of an event: each concept once a block, and the test images, of the same concepts, at the end."""
    if number >= N_TRAIN:
        concept, name = (number - N_TRAIN) % N_TEST_IMAGES, "13s"
    else:
        block, concept = divmod(number, N_CONCEPTS)
        name = f"{block + 1:02d}s"
    return f"concept{concept}/concept{concept}_{name}.jpg"
