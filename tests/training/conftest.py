from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from replay.recordings import Markers, Recording, array_reader
from replay.trials import TrialSet, TrialSetWriter
from rtdecode.contracts import (
    Channel,
    ChannelType,
    EmbeddingSpace,
    SignalContract,
    Unit,
    Window,
)
from rtdecode.signal.design import design_iir
from rtdecode.signal.resampling import resampling_for, resampling_matrix
from training.targets import Targets

if TYPE_CHECKING:
    from pathlib import Path

MakeTrials = Callable[..., TrialSet]
MakeTargets = Callable[..., Targets]
MakeRecording = Callable[..., Recording]


def _channels(n: int) -> tuple[Channel, ...]:
    return tuple(Channel(name=f"C{i}", type=ChannelType.EEG, unit=Unit.VOLT) for i in range(n))


@pytest.fixture
def make_targets() -> MakeTargets:
    """Random embeddings of stimuli ``i0``, ``i1``, … in a made-up space."""

    def make(n: int, dim: int = 6, seed: int = 0, encoder: str = "made-up") -> Targets:
        rng = np.random.default_rng(seed)
        space = EmbeddingSpace(
            encoder=encoder,
            weights_sha256="0" * 64,
            layer="last",
            pooling="none",
            preprocessing="none",
            dim=dim,
        )
        embeddings = rng.normal(size=(n, dim)) * rng.uniform(0.2, 3, dim) + rng.normal(size=dim)
        return Targets(tuple(f"i{k}" for k in range(n)), embeddings.astype(np.float32), space)

    return make


@pytest.fixture
def make_trials(tmp_path: Path) -> MakeTrials:
    """A TrialSet in which windows are a noisy linear image of the targets, in volts, at 200 Hz.

    ``windows`` may be given; ``resample_hz`` and a low-pass make export's resampling real.
    """
    made = iter(range(100))

    def make(
        targets: Targets,
        stimuli: list[str],
        *,
        windows: np.ndarray | None = None,
        runs: list[str] | None = None,
        subjects: list[str] | None = None,
        n_channels: int = 4,
        resample_hz: float = 50.0,
        lowpass_hz: float | None = 10.0,
        soa: int = 100,
        noise: float = 1.0,
        keep_native: bool = True,
        **contract: Any,
    ) -> TrialSet:
        window = Window(first_sample=-20, last_sample=59)
        front_end = (design_iir(200.0, lowpass_hz=lowpass_hz, order=8),) if lowpass_hz else ()
        signal = SignalContract(
            **{
                "channels": _channels(n_channels),
                "rate_hz": 200.0,
                "front_end": front_end,
                "window": window,
                "resampling": resampling_for(window, 200.0, resample_hz),
                **contract,
            }
        )
        rng = np.random.default_rng(1)
        if windows is None:
            mixing = rng.normal(size=(targets.space.dim, window.n_samples, n_channels))
            known = dict(zip(targets.stimulus_ids, targets.embeddings, strict=True))
            clean = np.array([known.get(name, np.zeros(targets.space.dim)) for name in stimuli])
            windows = np.tensordot(clean, mixing, 1) + noise * rng.normal(size=(len(stimuli), 80, n_channels))
            windows = 1e-5 * windows + 3e-5 * rng.normal(size=n_channels)
        matrix = resampling_matrix(window, 200.0, signal.resampling)
        path = tmp_path / f"trials{next(made)}"
        with TrialSetWriter(path, signal) as writer:
            for index, (stimulus, native) in enumerate(zip(stimuli, windows, strict=True)):
                run = runs[index] if runs else "1"
                trial = {
                    "subject": subjects[index] if subjects else "s",
                    "session": "",
                    "run": run,
                    "onset_sample": soa * index,
                    "onset_s": soa * index / 200,
                    "recorded_s": soa * index / 200,
                    "stimulus_id": stimulus or None,
                    "simulated": True,
                }
                keep = native if keep_native and index % 7 == 0 else None
                writer.add(matrix @ native.astype(np.float32), trial, native=keep)
        return TrialSet.open(path)

    return make


@pytest.fixture
def make_recording() -> MakeRecording:
    """Random samples in volts at 100 Hz, markers at given samples; the first channel is the sample index."""

    def make(
        onsets: list[int], labels: list[str], n_samples: int = 1000, n_channels: int = 3, **facts: Any
    ) -> Recording:
        samples = np.random.default_rng(len(onsets)).normal(size=(n_samples, n_channels))
        samples[:, 0] = np.arange(n_samples)
        values = {
            "name": "rec",
            "rate_hz": 100.0,
            "channels": _channels(n_channels),
            "n_samples": n_samples,
            "markers": Markers(np.array(onsets, dtype=np.int64), labels),
            "reader": array_reader(samples),
            "simulated": True,
        }
        return Recording(**{**values, **facts})

    return make
