"""Real fMRI: faces against houses in single volumes, each of twelve runs decoded by a fit on the others."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from replay.recordings import read_recording
from replay.rehearsal import rehearse
from replay.virtual import run_virtual
from rtdecode.contracts import EmbeddingSpace, Fate, RunningZscore, Verdict
from rtdecode.decoder import Decoder
from rtdecode.gate import MarkerGate
from training.evaluate import score
from training.export import export
from training.fit import fit
from training.prepare import SignalSettings, prepare
from training.targets import Targets

pytest.importorskip("nibabel", reason="needs the extra 'data'")

if TYPE_CHECKING:
    from pathlib import Path

    from replay.recordings.recording import Recording
    from training.fit import LinearDecoder

OTHERS = ("bottle", "cat", "chair", "scissors", "scrambledpix", "shoe")
CATEGORIES = Targets(
    ("face", "house"),
    np.eye(2, dtype=np.float32),
    EmbeddingSpace(
        encoder="category", weights_sha256="0" * 64, layer="none", pooling="none", preprocessing="none", dim=2
    ),
)
# A run lasts 300 s: hardly anything of it is forgotten. Nothing was shown in its first 15 s.
SIGNAL = SignalSettings(
    running=(RunningZscore(time_constant_s=300.0, warmup_s=15.0),), tmin_s=0.0, tmax_s=0.0
)


@dataclass(frozen=True)
class HeldOut:
    """One run, a decoder fitted on the others, and what offline work says of the run."""

    recording: Recording
    decoder: LinearDecoder
    path: Path
    onsets: list[int]
    names: list[str]
    predictions: np.ndarray

    def accuracy(self, embeddings: np.ndarray) -> float:
        return score(embeddings, self.names, CATEGORIES, self.decoder).top1

    def compare(self, live: dict[int, np.ndarray]) -> None:
        """Check live embeddings, by onset sample, against offline ones."""
        embeddings = np.array([live[onset] for onset in self.onsets])
        assert np.max(np.abs(embeddings - self.predictions) / self.predictions.std(axis=0)) <= 1e-4
        assert self.accuracy(embeddings) == self.accuracy(self.predictions)


@pytest.fixture(scope="module")
def held_out(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> list[HeldOut]:
    haxby, folder = data_dir / "fmri_haxby", tmp_path_factory.mktemp("haxby")
    recordings = []
    for run in sorted((haxby / "haxby2001" / "sub001" / "BOLD").iterdir()):
        recording = read_recording(
            run / "bold_1slice.nii.gz",
            mask=haxby / "singlefile" / "mask.nii.gz",
            events=run / "bold_events.tsv",
            marker_channel="trial_type",
            every_volume=True,
        )
        recordings.append(replace(recording, run=run.name))
    trials = prepare(recordings, SIGNAL, folder / "trials", ignore=OTHERS)
    found = []
    for recording in recordings:
        is_test = (trials.trials["run"] == recording.run).to_numpy()
        fitted, test = fit(trials.select(~is_test), CATEGORIES), trials.select(is_test)
        path = folder / f"without-{recording.run}.onnx"
        export(fitted, path, name=path.stem, dataset="Haxby 2001")
        found.append(
            HeldOut(
                recording=recording,
                decoder=fitted.decoder,
                path=path,
                onsets=test.trials["onset_sample"].tolist(),
                names=test.trials["stimulus_id"].tolist(),
                predictions=fitted.decoder.predict(test),
            )
        )
    return found


def test_faces_are_told_from_houses_in_single_volumes(held_out: list[HeldOut]) -> None:
    assert len(held_out) == 12
    for one in held_out:
        assert one.names.count("face") == one.names.count("house") == 9
    assert np.mean([one.accuracy(one.predictions) for one in held_out]) >= 0.88


def test_on_a_virtual_clock_every_run_is_decoded_as_offline(held_out: list[HeldOut]) -> None:
    for one in held_out:
        run = run_virtual(one.recording, [Decoder(one.path)], gate=MarkerGate(OTHERS))
        assert run.accounts is not None
        assert run.accounts.markers[Fate.ACCEPTED] == run.accounts.requests[Verdict.EMITTED] == 18
        (embeddings,) = run.embeddings.values()
        onsets = [message.onset_sample for message in run.decoded]
        assert onsets == one.onsets
        one.compare(dict(zip(onsets, embeddings, strict=True)))


def test_over_lsl_a_run_is_decoded_as_offline(held_out: list[HeldOut], tmp_path: Path) -> None:
    one = held_out[2]
    answers = rehearse(one.recording, one.path, tmp_path, speed=30.0)
    one.compare({message.onset_sample: embedding for message, embedding in answers.embeddings.values()})
    # the service is not told which categories matter: it answers each marker
    assert answers.accounts.requests[Verdict.EMITTED] == len(one.recording.markers) == 72
    assert answers.accounts.n_open == 0
    assert answers.lost == 0
