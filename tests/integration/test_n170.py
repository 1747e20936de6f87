"""Real EEG, live: three runs are fitted on, the fourth is decoded as it comes in."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pytest

from replay.datasets.encoder import BuiltinEncoder
from replay.rehearsal import rehearse
from replay.virtual import run_virtual
from rtdecode.contracts import Fate
from rtdecode.decoder import Decoder
from training.config import TrainConfig
from training.evaluate import Scores, score
from training.export import export
from training.fit import fit
from training.prepare import prepare
from training.targets import Targets, embed_stimuli

if TYPE_CHECKING:
    from pathlib import Path

    from replay.recordings.recording import Recording
    from training.fit import LinearDecoder


@dataclass(frozen=True)
class HeldOut:
    """One run, a decoder fitted on the others, and what offline work says of the run."""

    recording: Recording
    decoder: LinearDecoder
    path: Path
    onsets: np.ndarray
    predictions: np.ndarray
    targets: Targets
    offline: Scores

    def compare(self, live: dict[int, np.ndarray]) -> float:
        """Check live embeddings, by onset sample, against offline ones; return their AUC."""
        assert sorted(live) == self.onsets.tolist()
        embeddings = np.array([live[onset] for onset in self.onsets.tolist()])
        sd = self.predictions.std(axis=0)
        assert np.max(np.abs(embeddings - self.predictions) / sd) <= 1e-4
        code = dict(zip(self.recording.markers.sample.tolist(), self.recording.markers.label, strict=True))
        names = [{"1": "house", "2": "face"}[code[onset]] for onset in self.onsets.tolist()]
        scores = score(embeddings, names, self.targets, self.decoder)
        assert scores.auc == pytest.approx(self.offline.auc, abs=1e-6)
        assert scores.auc is not None
        return scores.auc


@pytest.fixture(scope="module")
def held_out(n170_config: Path) -> list[HeldOut]:
    config = TrainConfig.load(n170_config)
    recordings = [entry.open() for entry in config.recordings]
    stimuli = config.stimuli()
    targets = embed_stimuli(stimuli, BuiltinEncoder())
    trials = prepare(recordings, config.signal, config.trials_path, stimuli=stimuli)
    found = []
    for recording in recordings:
        is_test = (trials.trials["run"] == recording.run).to_numpy()
        fitted = fit(trials.select(~is_test), targets, config.model)
        path = config.output / f"without-{recording.run}.onnx"
        export(fitted, path, name=f"without-{recording.run}", dataset="N170")
        test = trials.select(is_test)
        predictions = fitted.decoder.predict(test)
        found.append(
            HeldOut(
                recording=recording,
                decoder=fitted.decoder,
                path=path,
                onsets=test.trials["onset_sample"].to_numpy(),
                predictions=predictions,
                targets=targets,
                offline=score(predictions, test.trials["stimulus_id"].tolist(), targets, fitted.decoder),
            )
        )
    return found


def test_on_a_virtual_clock_every_run_scores_as_offline(held_out: list[HeldOut]) -> None:
    aucs = []
    for one in held_out:
        run = run_virtual(one.recording, [Decoder(one.path)])
        assert run.accounts is not None
        assert run.accounts.markers[Fate.ACCEPTED] == len(one.recording.markers)
        assert sum(run.accounts.requests.values()) == len(one.recording.markers)
        onsets = [message.onset_sample for message in run.decoded]
        (embeddings,) = run.embeddings.values()
        aucs.append(one.compare(dict(zip(onsets, embeddings, strict=True))))
    assert np.mean(aucs) >= 0.63


def test_over_lsl_a_run_scores_as_offline(held_out: list[HeldOut], tmp_path: Path) -> None:
    one = held_out[1]
    answers = rehearse(one.recording, one.path, tmp_path, speed=6.0)
    live = {message.onset_sample: embedding for message, embedding in answers.embeddings.values()}
    assert one.compare(live) >= 0.6
    verdicts = Counter(verdict.verdict for verdict in answers.verdicts.values())
    assert sum(verdicts.values()) == len(one.recording.markers) == len(answers.markers)
    assert {kind: n for kind, n in answers.accounts.requests.items() if n} == verdicts
    assert answers.accounts.n_open == 0
    assert answers.lost == 0
