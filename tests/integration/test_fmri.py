"""Slow signals: pictures between two volumes are decoded live as offline, shifted to their own time."""

from __future__ import annotations

import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import pylsl
import pytest
from index_decoder import index_manifest, write_index_decoder
from live import serve
from scans import mosaic, write_mask

from replay.recordings.nifti import read_mask
from replay.recordings.recording import Markers, Recording, array_reader
from replay.rehearsal import Answers
from replay.virtual import run_virtual
from replay.volumes.stream import VolumeStream
from rtdecode.bus.subscriber import Subscriber
from rtdecode.config import ServeConfig
from rtdecode.contracts import Channel, EmbeddingSpace, RunningZscore, Verdict
from rtdecode.decoder import Decoder
from rtdecode.service import Service
from training.export import export, read_decoder
from training.fit import LinearSettings, fit
from training.prepare import SignalSettings, prepare
from training.targets import Targets

if TYPE_CHECKING:
    from pathlib import Path

REPETITION_S = 2.5
N_VOXELS = 40
DIM = 4
STIMULI = tuple(f"s{i}" for i in range(30))
SPACE = EmbeddingSpace(
    encoder="test", weights_sha256="0" * 64, layer="none", pooling="none", preprocessing="none", dim=DIM
)
rng = np.random.default_rng(3)
TARGETS = Targets(STIMULI, rng.normal(size=(len(STIMULI), DIM)), SPACE)
MAP = rng.normal(size=(DIM, N_VOXELS))
SIGNAL = SignalSettings(
    running=(RunningZscore(time_constant_s=200.0, warmup_s=20.0),),
    tmin_s=2.5,
    tmax_s=7.5,
    shift_residual=True,
)


def response(seconds: np.ndarray) -> np.ndarray:
    """Rises to 1 at 5 s, falls below zero at about 15 s."""
    seconds = np.maximum(seconds, 0.0)
    return 5.7 * (seconds**5 * np.exp(-seconds) / 120 - seconds**15 * np.exp(-seconds) / 7.8e12)


def scan(n_pictures: int, seed: int, *, noise: float = 0.3) -> Recording:
    """A run whose pictures come at any time, in volumes that count from 1000."""
    random = np.random.default_rng(seed)
    onsets_s = 25.0 + np.cumsum(random.uniform(4.0, 9.0, n_pictures))
    n_volumes = int((onsets_s[-1] + 20) / REPETITION_S)
    stimuli = random.integers(len(STIMULI), size=n_pictures)
    lags_s = REPETITION_S * np.arange(n_volumes)[:, None] - onsets_s
    samples = 1000 + response(lags_s) @ (TARGETS.embeddings[stimuli] @ MAP)
    samples += random.normal(scale=noise, size=samples.shape)
    volumes = np.round(onsets_s / REPETITION_S).astype(np.int64)
    return Recording(
        name=f"scan-{uuid.uuid4().hex}",
        rate_hz=1 / REPETITION_S,
        channels=tuple(Channel(name=f"{i}-0-0", type="voxel", unit="1") for i in range(N_VOXELS)),
        n_samples=n_volumes,
        markers=Markers(volumes, [STIMULI[i] for i in stimuli], 1e6 * (onsets_s - volumes * REPETITION_S)),
        reader=array_reader(samples),
        simulated=True,
        run=str(seed),
    )


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fmri")
    trials = prepare([scan(150, seed) for seed in (1, 2)], SIGNAL, folder / "trials")
    fitted = fit(trials, TARGETS, LinearSettings(penalties=(10.0,)))
    export(fitted, folder / "decoder.onnx", name="fmri", dataset="made up")
    return folder / "decoder.onnx"


def offline(recording: Recording, decoder: Path, folder: Path) -> dict[int, np.ndarray]:
    """What training says of a run, without the graph, by onset sample."""
    trials = prepare([recording], SIGNAL, folder / "test")
    embeddings = read_decoder(decoder)[0].predict(trials)
    return dict(zip(trials.trials["onset_sample"].tolist(), embeddings, strict=True))


def test_shifting_to_the_time_of_the_picture_predicts_better(tmp_path: Path) -> None:
    unexplained = []
    for shifts in (False, True):
        wanted = SIGNAL.model_copy(update={"shift_residual": shifts})
        trials = prepare([scan(150, seed) for seed in (1, 2)], wanted, tmp_path / f"trials-{shifts}")
        test = prepare([scan(60, 3)], wanted, tmp_path / f"test-{shifts}")
        predicted = fit(trials, TARGETS, LinearSettings(penalties=(10.0,))).decoder.predict(test)
        truth = TARGETS.of(test.trials["stimulus_id"])
        unexplained.append(1 - np.corrcoef(predicted.ravel(), truth.ravel())[0, 1] ** 2)
    assert unexplained[1] < 0.85 * unexplained[0]


@pytest.mark.parametrize("way", ["lsl", "virtual"])
def test_a_picture_between_two_volumes_is_decoded_live_as_offline(
    tmp_path: Path, decoder: Path, way: str
) -> None:
    recording = scan(24, seed=9)
    expected = offline(recording, decoder, tmp_path)
    if way == "lsl":
        answers = serve(recording, decoder, speed=30.0, chunk_size=1)
        said = list(answers.embeddings.values())
        speed = 30.0
    else:
        run = run_virtual(recording, [Decoder(decoder)], chunk=1)
        said = list(zip(run.decoded, run.embeddings["fmri", "image"], strict=True))
        speed = 1.0
    residual_s = [1e-6 * message.residual_us * speed for message, _ in said]
    assert np.ptp(residual_s) > 0.8 * REPETITION_S
    live = {message.onset_sample: embedding for message, embedding in said}
    assert expected.keys() == live.keys()
    differences = np.array([live[onset] - expected[onset] for onset in expected])
    sd = np.std(np.array(list(expected.values())), axis=0)
    assert np.max(np.abs(differences) / sd) <= 1e-4


SCAN_S = 0.6
LOST = 6


def test_volumes_dropped_into_a_folder_are_answered_and_one_that_never_came_is_bridged(
    tmp_path: Path,
) -> None:
    mask = read_mask(write_mask(tmp_path / "mask.nii"))
    manifest = index_manifest(channels=mask.channels, rate_hz=1 / SCAN_S, window=(0, 2), dim=3)
    write_index_decoder(tmp_path / "decoder.onnx", manifest)
    (tmp_path / "scan").mkdir()
    stream = VolumeStream(
        tmp_path / "scan",
        mask,
        tell=print,
        source_id=f"scan-{uuid.uuid4()}",
        repetition_s=SCAN_S,
        poll_s=0.01,
    )
    experiment = pylsl.StreamOutlet(
        pylsl.StreamInfo("experiment", "Markers", 1, 0, "string", f"{stream.source_id}-markers")
    )
    config = ServeConfig(
        streams=[{"id": "fmri", "lsl": {"source_id": stream.source_id}}],
        markers={"streams": [{"source_id": f"{stream.source_id}-markers"}]},
        decoders=[{"path": tmp_path / "decoder.onnx"}],
        bus={"publish_port": 0, "subscribe_port": 0, "control_port": 0},
        service={"gap_policy": "interpolate", "timeout_s": 20},
    )
    pace, answers = threading.Event(), Answers()
    with (
        Service(config) as service,
        Subscriber(service.endpoints.publish, ("embedding", "verdict", "marker")) as subscriber,
        ThreadPoolExecutor(1) as thread,
    ):
        assert subscriber.wait_joined(10)
        service.connect()
        listener = pylsl.StreamInlet(pylsl.resolve_byprop("source_id", stream.source_id, timeout=20)[0])
        listener.open_stream(10)
        running = thread.submit(stream.run)
        try:
            begin, first = pylsl.local_clock(), 0.0
            for number in range(1, 13):
                pace.wait(begin + number * SCAN_S - pylsl.local_clock())
                if number != LOST:
                    (tmp_path / "scan" / f"{number}.dcm").write_bytes(mosaic(number, repetition_s=SCAN_S))
                if number == 1:
                    _, first = listener.pull_sample(20)
                if number in (2, 5, 9):
                    experiment.push_sample([f"at {number}"], first + (number - 0.7) * SCAN_S)
            answers.collect(subscriber, 3, retrieval=False, is_over=lambda: False)
        finally:
            stream.stop()
            running.result(20)
    assert {verdict.verdict for verdict in answers.verdicts.values()} == {Verdict.EMITTED}
    place = np.flatnonzero(mask.inside)[0]
    for (message, embedding), number in zip(answers.embeddings.values(), (2, 5, 9), strict=True):
        assert message.onset_sample == number - 1
        assert message.residual_us == pytest.approx(0.3e6 * SCAN_S, abs=2e4)
        assert (embedding - place).tolist() == [200 * n for n in range(number, number + 3)]
        assert message.quality.bridged_samples == (number == 5)
