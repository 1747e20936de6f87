"""Each public dataset, as a tiny copy on disk: checked, prepared, fitted, replayed, decoded live."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from click.testing import CliRunner
from live import serve
from miniatures.alljoined1 import write_alljoined1
from miniatures.bold5000 import write_bold5000, write_bold5000_betas, write_bold5000_fmriprep
from miniatures.kamitani import write_deeprecon, write_deeprecon_blocks, write_god, write_god_blocks
from miniatures.nsd import write_nsd_betas, write_nsd_timeseries
from miniatures.things_eeg1 import write_things_eeg1
from miniatures.things_eeg2 import (
    write_things_eeg2_preprocessed_17,
    write_things_eeg2_preprocessed_63,
    write_things_eeg2_raw,
)
from miniatures.things_fmri import write_things_fmri_betas, write_things_fmri_raw
from miniatures.things_meg import write_things_meg_epochs, write_things_meg_raw

from replay.cli import replay
from replay.datasets.catalogue import DATASETS
from replay.datasets.dataset import Selection
from replay.trials import TrialSet
from rtdecode.contracts import Verdict
from training.cli import train
from training.data_cli import data
from training.export import read_decoder

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import click
    from miniatures import Miniature

WRITERS: tuple[Callable[[Path], Miniature], ...] = (
    write_things_eeg1,
    write_things_eeg2_raw,
    write_things_eeg2_preprocessed_17,
    write_things_eeg2_preprocessed_63,
    write_alljoined1,
    write_things_fmri_raw,
    write_things_fmri_betas,
    write_things_meg_raw,
    write_things_meg_epochs,
    write_nsd_timeseries,
    write_nsd_betas,
    write_deeprecon,
    write_deeprecon_blocks,
    write_god,
    write_god_blocks,
    write_bold5000,
    write_bold5000_fmriprep,
    write_bold5000_betas,
)


WAITED_S = 0.05
"""How long a window waits for stamps that may step back."""


def run(command: click.Command, *arguments: object) -> str:
    done = CliRunner().invoke(command, [str(argument) for argument in arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


@pytest.mark.parametrize("write", WRITERS, ids=lambda write: write.__name__.removeprefix("write_"))
def test_a_copy_goes_all_the_way_to_live_answers(
    write: Callable[[Path], Miniature], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = write(tmp_path / "data")
    about = made.dataset.about
    # too few trials to choose a penalty by cross-validation
    monkeypatch.setenv("RTDECODE_TRAIN_MODEL__PENALTIES", "[1e4]")
    monkeypatch.setitem(DATASETS, about.name, made.dataset)

    options: list[object] = ["--subject", made.subject]
    options += [] if made.variant is None else ["--variant", made.variant]
    assert "complete, as published" in run(data, "validate", about.name, made.root, *options)
    options += [] if made.mask is None else ["--mask", made.mask]
    study = tmp_path / "study"
    run(data, "prepare", about.name, made.root, "--out", study, "--images", made.images, *options)
    (config,) = study.glob("*.toml")
    run(train, "fit", config)
    run(train, "evaluate", config, "--json", tmp_path / "scores.json")
    assert json.loads((tmp_path / "scores.json").read_text())["n_test"] > 0

    decoder, manifest = read_decoder(config.with_suffix(".onnx"))
    assert manifest.provenance.dataset.startswith(about.title)
    assert manifest.provenance.subjects == (made.subject,)
    assert not manifest.simulated
    chosen = Selection(subjects=(made.subject,), variant=made.variant, mask=made.mask)
    recording = made.dataset.open(made.root, chosen).recording(made.session, made.run)
    answers = serve(recording, config.with_suffix(".onnx"), speed=made.speed, unit=made.unit)
    trials = TrialSet.open(study / "trials")
    mine = (trials.trials["session"] == recording.session) & (
        trials.trials["run"] == (recording.run or recording.name)
    )
    # Live a window waits for what comes after it: it may be the last one before a jump. At the end none does.
    n_waited = 1 + math.ceil(WAITED_S * recording.rate_hz * made.speed)
    mine &= trials.trials["onset_sample"] + trials.signal.window.last_sample < recording.n_samples - n_waited
    offline = trials.select(mine.to_numpy(bool))
    live = {
        recording.segment_starts[message.segment] + message.onset_sample: embedding
        for message, embedding in answers.embeddings.values()
    }
    assert set(offline.trials["onset_sample"]) <= set(live)
    predicted = decoder.predict(offline)
    found = np.array([live[onset] for onset in offline.trials["onset_sample"]])
    assert np.max(np.abs(found - predicted) / decoder.predict(trials).std(axis=0)) <= 1e-4
    assert answers.accounts.n_open == 0
    assert answers.accounts.requests[Verdict.EMITTED] == len(live)

    for name in ("session", "run"):
        options += [f"--{name}", value] if (value := getattr(made, name)) else []
    options += ["--through", config.with_suffix(".onnx"), "--out", tmp_path / "virtual"]
    run(replay, made.root, "--dataset", about.name, *options, "--table", study / "stimuli.csv")
    (path,) = (tmp_path / "virtual").glob("*.npy")
    virtual, said = np.load(path), [embedding for _, embedding in answers.embeddings.values()]
    # only what the end cut off may be missing in either
    n = min(len(virtual), len(said))
    assert max(len(virtual), len(said)) - n <= n_waited
    np.testing.assert_array_equal(virtual[:n], said[:n])
