"""Real fMRI: volumes and blocks of pictures, each of twelve runs decoded by a fit on the others."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from live import serve

from replay.rehearsal import rehearse
from replay.virtual import run_virtual
from rtdecode.contracts import Fate, Verdict
from rtdecode.decoder import Decoder
from rtdecode.gate import MarkerGate
from training.config import TrainConfig
from training.evaluate import score
from training.export import export
from training.fit import fit
from training.prepare import prepare
from training.targets import one_hot

pytest.importorskip("nibabel", reason="needs the extra 'data'")

if TYPE_CHECKING:
    from pathlib import Path

    from replay.recordings.recording import Recording
    from training.fit import LinearDecoder
    from training.targets import Targets

OTHERS = ("bottle", "cat", "chair", "scissors", "scrambledpix", "shoe")


@dataclass(frozen=True)
class HeldOut:
    """One run, a decoder fitted on the others, and what offline work says of the run."""

    recording: Recording
    decoder: LinearDecoder
    path: Path
    targets: Targets
    onsets: list[int]
    names: list[str]
    predictions: np.ndarray

    def accuracy(self, embeddings: np.ndarray) -> float:
        return score(embeddings, self.names, self.targets, self.decoder).top1

    def compare(self, live: dict[int, np.ndarray]) -> None:
        """Check live embeddings, by onset sample, against offline ones."""
        embeddings = np.array([live[onset] for onset in self.onsets])
        assert np.max(np.abs(embeddings - self.predictions) / self.predictions.std(axis=0)) <= 1e-4
        assert self.accuracy(embeddings) == self.accuracy(self.predictions)


def leave_one_run_out(config: TrainConfig) -> list[HeldOut]:
    recordings = config.source().recordings
    trials = prepare(
        recordings,
        config.signal,
        config.trials_path,
        stimuli=config.stimuli(),
        ignore=config.markers.ignore,
    )
    targets = one_hot(trials.trials["stimulus_id"])
    found = []
    for recording in recordings:
        is_test = (trials.trials["run"] == recording.run).to_numpy()
        fitted, test = fit(trials.select(~is_test), targets, config.model), trials.select(is_test)
        path = config.output / f"without-{recording.run}.onnx"
        export(fitted, path, name=path.stem, dataset="Haxby 2001")
        found.append(
            HeldOut(
                recording=recording,
                decoder=fitted.decoder,
                path=path,
                targets=targets,
                onsets=test.trials["onset_sample"].tolist(),
                names=test.trials["stimulus_id"].tolist(),
                predictions=fitted.decoder.predict(test),
            )
        )
    return found


@pytest.fixture(scope="module")
def blocks(haxby_config: Path) -> list[HeldOut]:
    """Eight categories, one answer a block of nine volumes: the example as it stands."""
    return leave_one_run_out(TrainConfig.load(haxby_config))


@pytest.fixture(scope="module")
def volumes(haxby_config: Path) -> list[HeldOut]:
    """Faces and houses, one answer a volume."""
    config = TrainConfig.load(haxby_config)
    every = tuple(entry.model_copy(update={"every_volume": True}) for entry in config.recordings)
    changed = {
        "output": config.output.with_name("volumes"),
        "recordings": every,
        "markers": config.markers.model_copy(update={"ignore": OTHERS}),
        "signal": config.signal.model_copy(update={"tmax_s": 0.0}),
        "model": config.model.model_copy(update={"average_times": False}),
    }
    return leave_one_run_out(config.model_copy(update=changed))


def test_faces_are_told_from_houses_in_single_volumes(volumes: list[HeldOut]) -> None:
    assert len(volumes) == 12
    for one in volumes:
        assert one.names.count("face") == one.names.count("house") == 9
    assert np.mean([one.accuracy(one.predictions) for one in volumes]) >= 0.88


def test_the_category_of_a_block_is_told_of_eight(blocks: list[HeldOut]) -> None:
    assert len(blocks) == 12
    for one in blocks:
        assert sorted(one.names) == sorted({"face", "house", *OTHERS})
    assert np.mean([one.accuracy(one.predictions) for one in blocks]) >= 0.65


@pytest.mark.parametrize("study", ["volumes", "blocks"])
def test_on_a_virtual_clock_every_run_is_decoded_as_offline(
    study: str, request: pytest.FixtureRequest
) -> None:
    held_out: list[HeldOut] = request.getfixturevalue(study)
    for one in held_out:
        ignored = [name for name in OTHERS if name not in one.names]
        run = run_virtual(one.recording, [Decoder(one.path)], gate=MarkerGate(ignored))
        assert run.accounts is not None
        emitted = run.accounts.requests[Verdict.EMITTED]
        assert run.accounts.markers[Fate.ACCEPTED] == emitted == len(one.onsets)
        (embeddings,) = run.embeddings.values()
        onsets = [message.onset_sample for message in run.decoded]
        assert onsets == one.onsets
        one.compare(dict(zip(onsets, embeddings, strict=True)))


def test_over_lsl_a_run_is_decoded_as_offline(
    volumes: list[HeldOut], blocks: list[HeldOut], tmp_path: Path
) -> None:
    # beside each other, for most of the time goes by in waiting
    with ThreadPoolExecutor(1) as thread:
        processes = thread.submit(rehearse, volumes[2].recording, volumes[2].path, tmp_path, speed=30.0)
        here = serve(replace(blocks[2].recording, name="blocks"), blocks[2].path, speed=30.0)
        both = [processes.result(), here]
    for one, answers in zip([volumes[2], blocks[2]], both, strict=True):
        one.compare({message.onset_sample: embedding for message, embedding in answers.embeddings.values()})
        # the service is not told which categories matter: it answers each marker
        assert answers.accounts.requests[Verdict.EMITTED] == len(one.recording.markers)
        assert answers.accounts.n_open == 0
        assert answers.lost == 0
    assert [len(answers.embeddings) for answers in both] == [72, 8]
