"""THINGS-EEG1 as it lies on disk, with few trials: names, columns, line ends and sizes are the real ones'."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from replay.datasets import things_eeg1
from replay.datasets.report import Kind
from replay.datasets.things_eeg1 import ThingsEeg1

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from replay.datasets.report import Report

N_CONCEPTS, N_BLOCKS, N_TEST_IMAGES, N_REPETITIONS = 5, 4, 3, 2
N_TRAIN, N_STOPPED = N_CONCEPTS * N_BLOCKS, N_CONCEPTS * 2
N_ROWS = N_TRAIN + N_TEST_IMAGES * N_REPETITIONS
N_CHANNELS, FIRST_MS = 63, 500
_COLUMNS = """onset duration eventnumber blocksequencenumber isteststim object objectnumber
presentationnumber sequencenumber stim stimnumber teststimnumber withinsequencenumber istarget stimname
response rt correct time_stimon time_stimoff stimdur"""
NOTES = {
    "01": "No data for final test-images part",
    "06": "Did not complete exp",
    "18": '"Subject had braided hair, poor signal at TP4, but did complete the experiment"',
    "23": "Monitor issues during the experiment",
}


@dataclass(frozen=True)
class Tree:
    """A copy on disk, and what it is of: THINGS-EEG1 with fewer trials."""

    root: Path
    dataset: ThingsEeg1

    def file(self, subject: str, ending: str) -> Path:
        return self.root / f"sub-{subject}" / "eeg" / f"sub-{subject}_task-rsvp_{ending}"

    def validate(self, *subjects: str) -> Report:
        return self.dataset.validate(self.root, subjects or ("10",), lambda: None)

    def problems(self, *subjects: str) -> list[tuple[str, Kind, str]]:
        found = self.validate(*subjects).findings
        return [(item.path, item.kind, item.text) for item in found if item.kind is not Kind.KNOWN]


def make_tree(root: Path, monkeypatch: pytest.MonkeyPatch) -> Tree:
    """Write subjects 01, 06, 10 and 49, and have the dataset expect as few trials."""
    small = things_eeg1._ABOUT.model_copy(
        update={
            "n_train": N_TRAIN,
            "n_concepts": N_CONCEPTS,
            "n_test_images": N_TEST_IMAGES,
            "n_repetitions": N_REPETITIONS,
        }
    )
    monkeypatch.setattr(things_eeg1, "_ABOUT", small)
    monkeypatch.setattr(things_eeg1, "_N_TRAIN_STOPPED", N_STOPPED)
    root.mkdir(exist_ok=True)
    made = Tree(root, ThingsEeg1())
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


def _write_subject(tree: Tree, subject: str) -> None:
    tree.file(subject, "eeg.json").parent.mkdir(parents=True)
    tree.file(subject, "eeg.json").write_text(json.dumps(_sidecar()))
    _write_events(tree, subject)
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
    tree.file(subject, "eeg.vhdr").write_text("\r\n".join(header), encoding="utf-8", newline="")
    tree.file(subject, "eeg.vmrk").write_text(
        "Brain Vision Data Exchange Marker File, Version 1.0\n\n[Marker Infos]\nMk1=New Segment,,1,1,0\n"
    )
    n_samples = FIRST_MS + 100 * N_ROWS + 900
    tree.file(subject, "eeg.eeg").write_bytes(bytes(4 * n_channels * n_samples))


def _write_events(tree: Tree, subject: str) -> None:
    """The event table, with the columns that the subject's has."""
    columns = [name for name in _COLUMNS.split() if subject not in ("01", "06") or "teststim" not in name]
    n_rows = {"01": N_TRAIN, "06": N_STOPPED}.get(subject, N_ROWS)
    lines = ["\t".join(columns)]
    for number in range(n_rows):
        is_test = number >= N_TRAIN
        block, concept = divmod(number, N_CONCEPTS)
        image = (number - N_TRAIN) % N_TEST_IMAGES
        name = f"concept{image}_13s.jpg" if is_test else f"concept{concept}_{block + 1:02d}s.jpg"
        cells = dict.fromkeys(columns, "0") | {
            "onset": str(FIRST_MS + 100 * number),
            "duration": "50",
            "eventnumber": str(number),
            "isteststim": str(int(is_test)),
            "objectnumber": "-1" if is_test else str(concept),
            "stim": f"stimuli\\concept{image if is_test else concept}\\{name}",
            "stimname": name,
            "teststimnumber": str(image) if is_test else "-1",
        }
        lines.append("\t".join(cells[column] for column in columns))
    tree.file(subject, "events.tsv").write_text("\n".join(lines) + "\n", newline="\n")
