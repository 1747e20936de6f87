from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import training.prepare
from replay.recordings import Recording, array_reader
from replay.recordings.recording import Markers
from rtdecode.contracts import Channel, ChannelType, RunningDetrend, RunningZscore, Unit
from rtdecode.errors import MismatchError, UserError
from rtdecode.signal.front_end import FrontEnd
from rtdecode.signal.markers import Marker
from rtdecode.signal.resampling import resampling_matrix
from rtdecode.signal.track import Chunk, Closed, Cut, Track
from rtdecode.stimuli import StimulusTable
from training.prepare import SignalSettings, prepare

if TYPE_CHECKING:
    from pathlib import Path

    from rtdecode.contracts import SignalContract

MakeRecording = Callable[..., Recording]

UNFILTERED = SignalSettings(tmin_s=-0.1, tmax_s=0.2)
FILTERED = SignalSettings(highpass_hz=1.0, lowpass_hz=8.0, order=4, tmin_s=-0.1, tmax_s=0.2, resample_hz=40.0)


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_windows_are_cut_at_the_very_samples_of_the_markers(
    tmp_path: Path, make_recording: MakeRecording
) -> None:
    onsets = [50, 51, 300, 555, 979]
    trials = prepare([make_recording(onsets, list("abcab"))], UNFILTERED, tmp_path / "set")
    for onset, window in zip(onsets, trials.windows(), strict=True):
        np.testing.assert_array_equal(window[:, 0], np.arange(onset - 10, onset + 21))
    assert trials.trials["onset_sample"].tolist() == onsets
    assert trials.trials["onset_s"].tolist() == [onset / 100 for onset in onsets]
    assert trials.trials["stimulus_id"].tolist() == list("abcab")
    assert trials.trials["repetition"].tolist() == [1, 1, 1, 2, 2]
    assert trials.simulated


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(block_s=st.floats(0.01, 12.0), resample_hz=st.sampled_from([None, 40.0, 33.0]))
def test_the_block_length_leaves_no_trace(
    tmp_path: Path,
    make_recording: MakeRecording,
    monkeypatch: pytest.MonkeyPatch,
    block_s: float,
    resample_hz: float | None,
) -> None:
    recording = make_recording(list(range(150, 970, 17)), ["a"] * 49)
    wanted = FILTERED.model_copy(update={"resample_hz": resample_hz})
    usual = prepare([recording], wanted, tmp_path / "usual")
    with monkeypatch.context() as patch:
        patch.setattr(training.prepare, "_BLOCK_S", block_s)
        trials = prepare([recording], wanted, tmp_path / "set")
    np.testing.assert_array_equal(trials.windows(), usual.windows())
    signal = trials.signal
    filtered = FrontEnd(signal.front_end, 3, 100.0).process(recording.read(0, 1000))
    matrix = resampling_matrix(signal.window, 100.0, signal.resampling)
    native = np.stack([filtered[onset - 10 : onset + 21] for onset in trials.trials["onset_sample"]])
    np.testing.assert_allclose(trials.windows(), matrix @ native, rtol=1e-5, atol=1e-5)
    rows, kept = trials.native_windows()
    assert len(rows) == 16
    np.testing.assert_array_equal(kept, native[rows])


def test_no_more_than_a_block_is_read_at_a_time(tmp_path: Path, make_recording: MakeRecording) -> None:
    recording = make_recording([200, 400, 4500], ["a", "b", "c"], n_samples=5000)
    asked: list[tuple[int, int]] = []

    def reader(start: int, stop: int) -> np.ndarray:
        asked.append((start, stop))
        return recording.read(start, stop)

    prepare([replace(recording, reader=reader)], FILTERED, tmp_path / "set")
    assert max(stop - start for start, stop in asked) <= 400
    assert all(before[1] == after[0] for before, after in itertools.pairwise(asked))


def test_windows_that_cannot_be_trusted_are_left_out_and_counted(
    tmp_path: Path, make_recording: MakeRecording
) -> None:
    warmup = int(np.ceil(FILTERED.contract(make_recording([], []).channels, 100.0).warmup_s * 100))
    assert warmup < 300
    onsets = [5, warmup + 9, warmup + 10, 390, 405, 400 + warmup + 10, 979, 980]
    recording = make_recording(onsets, ["a"] * 8, segment_starts=(0, 400))
    trials = prepare([recording], FILTERED, tmp_path / "set")
    assert trials.trials["onset_sample"].tolist() == [warmup + 10, 400 + warmup + 10, 979]
    assert trials.left_out == {"warming_up": 2, "gap": 2, "end": 1}


def _live(recording: Recording, signal: SignalContract, marker_delay_s: float, stream_delay_s: float) -> Any:
    """What a track says of each marker; a break follows the recording's end, so that all is decided."""
    n = recording.n_samples
    segment = np.searchsorted(recording.segment_starts, np.arange(n), side="right") - 1
    stamps = 50.0 + np.arange(n + 50) / recording.rate_hz + 10.0 * np.append(segment, np.full(50, 100))
    samples = np.concatenate([recording.read(0, n), np.zeros((50, len(recording.channels)))])
    track = Track("s", signal, {"d": signal.window})
    chunk = Chunk(samples, stamps, stamps - stream_delay_s, 0.0)
    answers = []
    for start in range(0, n + 50, 50):
        track.feed(chunk.part(start, start + 50))
        for index in np.flatnonzero(recording.markers.sample // 50 == start // 50).tolist():
            stamp = float(stamps[recording.markers.sample[index]])
            track.mark(Marker("m", "a", stamp, stamp + marker_delay_s, 0.0), index)
        answers += track.take(0.0)
    return answers


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    onsets=st.lists(st.integers(0, 999), min_size=6, max_size=25, unique=True).map(sorted),
    marker_delay_s=st.sampled_from([0.0, 0.03, 0.034, -0.05, 1.5]),
    stream_delay_s=st.sampled_from([0.0, 0.012, -0.02]),
    limits_s=st.sampled_from([(-0.1, 0.2), (0.3, 0.5), (-0.5, -0.2), (-2.0, 0.0)]),
)
def test_the_live_track_gives_the_same_windows_and_reasons(
    tmp_path: Path,
    make_recording: MakeRecording,
    onsets: list[int],
    marker_delay_s: float,
    stream_delay_s: float,
    limits_s: tuple[float, float],
) -> None:
    wanted = FILTERED.model_copy(
        update={"highpass_hz": None, "tmin_s": limits_s[0], "tmax_s": limits_s[1], "resample_hz": None}
    )
    recording = make_recording(onsets, ["a"] * len(onsets), segment_starts=(0, 400, 700), run="tried")
    safe = make_recording([1000], ["a"], n_samples=2000, run="safe")  # so that there is always one trial
    trials = prepare(
        [safe, recording],
        wanted,
        tmp_path / "set",
        marker_delay_s=marker_delay_s,
        stream_delay_s=stream_delay_s,
    )
    rows = np.flatnonzero(trials.trials["run"] == "tried")
    answers = _live(recording, trials.signal, marker_delay_s, stream_delay_s)
    cuts = [answer for answer in answers if isinstance(answer, Cut)]
    cuts.sort(key=lambda cut: cut.request.index)
    starts = [recording.segment_starts[cut.segment] for cut in cuts]
    onset_samples = [start + cut.onset_sample for start, cut in zip(starts, cuts, strict=True)]
    assert trials.trials["onset_sample"].iloc[rows].tolist() == onset_samples
    for window, cut in zip(trials.windows(rows), cuts, strict=True):
        np.testing.assert_array_equal(window, cut.window)
    np.testing.assert_allclose(
        trials.trials["residual_us"].iloc[rows].astype(float),
        [cut.residual_us for cut in cuts],
        atol=1e-3,
    )
    closed = Counter(answer.verdict.value for answer in answers if isinstance(answer, Closed))
    left_out = Counter(trials.left_out)
    left_out["gap"] += left_out.pop("end", 0)
    assert +left_out == closed


def test_a_measured_delay_moves_the_onsets_and_what_is_left_is_told(
    tmp_path: Path, make_recording: MakeRecording
) -> None:
    recording = make_recording([100, 300], ["a", "b"])
    trials = prepare(
        [recording], UNFILTERED, tmp_path / "set", marker_delay_s=0.0334, stream_delay_s=0.02, notes={"n": 1}
    )
    assert trials.trials["onset_sample"].tolist() == [105, 305]
    assert trials.trials["onset_s"].tolist() == [1.05, 3.05]
    np.testing.assert_allclose(trials.trials["residual_us"].astype(float), 3400.0)
    np.testing.assert_array_equal(trials.windows()[0, :, 0], np.arange(95, 126))
    assert trials.extras["marker_delay_s"] == 0.0334
    assert trials.extras["stream_delay_s"] == 0.02
    half = prepare([recording], UNFILTERED, tmp_path / "half", marker_delay_s=0.015)
    assert half.trials["onset_sample"].tolist() == [101, 301]  # ties go to the earlier sample
    undelayed = prepare([recording], UNFILTERED, tmp_path / "none")
    assert undelayed.trials["residual_us"].tolist() == [0.0, 0.0]


@pytest.mark.parametrize("resample_hz", [None, 20.0])
def test_what_lies_between_sample_and_picture_adds_to_the_delays_and_shifts_the_window(
    tmp_path: Path, make_recording: MakeRecording, resample_hz: float | None
) -> None:
    residual_us = np.array([2e3, -4e3, 4e3])
    markers = Markers(np.array([100, 300, 302]), ["a", "b", "c"], residual_us)
    recording = make_recording([], [], markers=markers)
    wanted = UNFILTERED.model_copy(update={"shift_residual": True, "resample_hz": resample_hz})
    trials = prepare([recording], wanted, tmp_path / "set", marker_delay_s=0.012)
    assert trials.trials["onset_sample"].tolist() == [101, 301, 304]
    np.testing.assert_allclose(trials.trials["residual_us"].astype(float), [4e3, -2e3, -4e3])
    # the first channel counts samples: its points lie from the picture, not from a sample
    step = 1 if resample_hz is None else 5
    pictures = markers.sample + 1e-4 * residual_us + 1.2
    expected = pictures[:, None] + np.arange(-10, 21, step)
    np.testing.assert_allclose(trials.windows()[:, :, 0], expected, rtol=1e-5)
    rows, native = trials.native_windows()
    assert native[:, :, 0].tolist() == [
        list(range(onset - 11, onset + 22)) for onset in trials.trials["onset_sample"].iloc[rows]
    ]


def test_triggers_out_of_step_with_the_table_are_told(tmp_path: Path, make_recording: MakeRecording) -> None:
    rows = pd.DataFrame({"code": [str(n) for n in range(1, 9)], "stimulus_id": list("abcdefgh")})
    table = StimulusTable(rows, "order", tmp_path / "order.csv")
    codes = ["1", "2", "4", "5", "6", "7", "8"]
    recording = make_recording([100 * n for n in range(1, 8)], codes)
    trials = prepare([recording], UNFILTERED, tmp_path / "set", stimuli=table)
    assert trials.extras["mismatches"] == 1
    assert trials.extras["last_mismatches"] == ["trigger 3 has code '4' but row 3 has code '3'"]


def test_a_break_starts_the_filter_afresh(tmp_path: Path, make_recording: MakeRecording) -> None:
    recording = make_recording([800], ["a"], segment_starts=(0, 400))
    after = prepare([recording], FILTERED, tmp_path / "set").windows()
    samples = recording.read(0, 1000)
    samples[:400] = 1e9
    poisoned = prepare([replace(recording, reader=array_reader(samples))], FILTERED, tmp_path / "set2")
    np.testing.assert_array_equal(poisoned.windows(), after)


def test_a_table_says_what_markers_mean(tmp_path: Path, make_recording: MakeRecording) -> None:
    pd.DataFrame(
        {
            "code": ["1", "2"],
            "stimulus_id": ["cat", "dog"],
            "category": ["animal", ""],
            "concept_id": ["c1", "c2"],
            "split": ["train", "test"],
        }
    ).to_csv(tmp_path / "stimuli.csv", index=False)
    table = StimulusTable.load(tmp_path / "stimuli.csv", key="code")
    recording = make_recording([100, 200, 300, 400, 500], ["1", "7", "2", "99", "1"])
    trials = prepare([recording], UNFILTERED, tmp_path / "set", stimuli=table, ignore=("9*",))
    table_of = trials.trials
    assert table_of["stimulus_id"].tolist() == ["cat", "dog", "cat"]
    assert table_of["category"].isna().tolist() == [False, True, False]
    assert table_of["concept_id"].tolist() == ["c1", "c2", "c1"]
    assert table_of["split_original"].tolist() == ["train", "test", "train"]
    assert trials.left_out == {"ignored": 2}


def test_json_markers_are_known_by_their_key(tmp_path: Path, make_recording: MakeRecording) -> None:
    texts = ['{"image": "cat"}', '{"other": 1}', "{", '{"image": "dog"}']
    recording = make_recording([100, 200, 300, 400], texts)
    trials = prepare([recording], UNFILTERED, tmp_path / "set", json_key="image")
    assert trials.trials["stimulus_id"].tolist() == ["cat", "dog"]
    assert trials.left_out == {"ignored": 2}


def test_splits_say_what_is_known(tmp_path: Path, make_recording: MakeRecording) -> None:
    rows = pd.DataFrame(
        {
            "label": list("abcdef"),
            "stimulus_id": list("abcdef"),
            "concept_id": ["x", "x", "y", "z", "", "y"],
            "split": ["train", "test", "train", "test", "train", ""],
            "block": ["1", "1", "2", "2", "", "2"],
        }
    )
    table = StimulusTable(rows, "label", tmp_path / "stimuli.csv")
    onsets, labels = [100 * n for n in range(1, 7)], list("abcdef")
    first, second = (make_recording(onsets, labels, subject="s", session=name) for name in ("1", "2"))
    other = make_recording(onsets, labels, subject="t", session="1")
    trials = prepare([first, second, other], UNFILTERED, tmp_path / "set", stimuli=table).trials
    disjoint = trials["split_concept_disjoint"].fillna("null").tolist()
    assert disjoint == ["excluded", "test", "train", "test", "null", "null"] * 3
    future = trials["split_future_session"].fillna("null").tolist()
    # of an only session, the last block of what is known to lie in one
    assert future == ["train"] * 6 + ["test"] * 6 + ["train", "train", "test", "test", "null", "test"]
    assert trials["block"].fillna("null").tolist() == ["1", "1", "2", "2", "null", "2"] * 3
    assert trials["quality"].isna().all()


def test_what_differs_from_showing_to_showing_is_not_said_of_the_stimulus(
    tmp_path: Path, make_recording: MakeRecording
) -> None:
    rows = pd.DataFrame(
        {
            "code": ["1", "2", "3"],
            "stimulus_id": ["a", "b", "a"],
            "block": ["1", "1", "2"],
            "category": ["k", "l", "k"],
        }
    )
    table = StimulusTable(rows, "order", tmp_path / "order.csv")
    recording = make_recording([100, 200, 300], ["1", "2", "3"])
    trials = prepare([recording], UNFILTERED, tmp_path / "set", stimuli=table).trials
    assert trials["block"].fillna("null").tolist() == ["null", "1", "null"]
    assert trials["category"].tolist() == ["k", "l", "k"]


def test_recordings_of_a_subject_run_on(tmp_path: Path, make_recording: MakeRecording) -> None:
    facts = [("s", "a", "1"), ("s", "a", "2"), ("t", "a", "1"), ("s", "b", "1")]
    recordings = [
        make_recording([100, 200], ["a", "b"], subject=subject, session=session, run=run, name=f"r{k}")
        for k, (subject, session, run) in enumerate(facts)
    ]
    seen: list[tuple[int, int]] = []
    trials = prepare(recordings, UNFILTERED, tmp_path / "set", progress=lambda *done: seen.append(done))
    rows = trials.trials.set_index(["subject", "session", "run"])
    assert rows.loc[("s", "a", "2"), "recorded_s"].tolist() == [11.0, 12.0]
    assert rows.loc[("s", "b", "1"), "recorded_s"].tolist() == [21.0, 22.0]
    assert rows.loc[("t", "a", "1"), "recorded_s"].tolist() == [1.0, 2.0]
    assert rows.loc[("s", "b", "1"), "repetition"].tolist() == [3, 3]
    assert trials.extras["recordings"] == ["r0", "r1", "r2", "r3"]
    assert seen == sorted(seen)
    assert seen[-1] == (4000, 4000)


def test_channels_are_taken_by_name_in_the_order_asked_for(
    tmp_path: Path, make_recording: MakeRecording
) -> None:
    recording = make_recording([100], ["a"])
    wanted = UNFILTERED.model_copy(update={"channels": ("C2", "C0")})
    trials = prepare([recording], wanted, tmp_path / "set")
    assert [channel.name for channel in trials.signal.channels] == ["C2", "C0"]
    np.testing.assert_array_equal(trials.windows()[0, :, 1], np.arange(90, 121))


def test_only_brain_channels_are_taken_unasked(tmp_path: Path, make_recording: MakeRecording) -> None:
    recording = make_recording([100], ["a"])
    aux = Channel(name="AUX", type=ChannelType.MISC, unit=Unit.NONE)
    trials = prepare(
        [replace(recording, channels=(aux, *recording.channels[1:]))], UNFILTERED, tmp_path / "set"
    )
    assert [channel.name for channel in trials.signal.channels] == ["C1", "C2"]


def test_voxels_are_taken_unasked_and_running_steps_follow_the_filter(
    tmp_path: Path, make_recording: MakeRecording
) -> None:
    recording = make_recording([20, 100], ["a", "b"])
    voxels = tuple(c.model_copy(update={"type": ChannelType.VOXEL}) for c in recording.channels)
    running = RunningZscore(time_constant_s=2.0, warmup_s=0.5)
    wanted = UNFILTERED.model_copy(update={"running": (running,)})
    trials = prepare([replace(recording, channels=voxels)], wanted, tmp_path / "set")
    assert trials.signal.channels == voxels
    assert trials.left_out == {"warming_up": 1}
    live = FrontEnd([running], 3, 100.0).process(recording.read(0, 1000))
    np.testing.assert_array_equal(trials.windows()[0], live[90:121])
    both = FILTERED.model_copy(update={"running": (running,)}).contract(voxels, 100.0).front_end
    assert [step.kind for step in both] == ["iir_sos", "running_zscore"]


def test_what_does_not_fit_is_refused_and_nothing_is_left(
    tmp_path: Path, make_recording: MakeRecording
) -> None:
    good = make_recording([100], ["a"], run="1")
    microvolts = tuple(channel.model_copy(update={"unit": Unit.NONE}) for channel in good.channels)
    with_nan = good.read(0, 1000).copy()
    with_nan[105, 1] = np.nan

    def refused(recordings: list[Recording], wanted: SignalSettings = UNFILTERED) -> str:
        with pytest.raises(UserError) as caught:
            prepare(recordings, wanted, tmp_path / "set")
        assert _names(tmp_path) == []
        assert "\n" not in str(caught.value)
        return str(caught.value)

    other_run: dict[str, Any] = {"run": "2", "name": "other"}
    assert "rate 200 Hz against 100 Hz" in refused([good, replace(good, rate_hz=200.0, **other_run)])
    assert "unit" not in (text := refused([good, replace(good, channels=microvolts, **other_run)]))
    assert "eeg in 1 against eeg in V" in text
    assert "give each its own run" in refused([good, good])
    assert "no channel C9" in refused([good], UNFILTERED.model_copy(update={"channels": ("C9",)}))
    assert "NaN" in refused([replace(good, reader=array_reader(with_nan))])
    assert "no markers at all" in refused([make_recording([], [])])
    assert "1 end" in refused([make_recording([999], ["a"])])
    assert "no recordings" in refused([])
    assert "half the rate" in refused([good], FILTERED.model_copy(update={"lowpass_hz": 70.0}))
    with pytest.raises(MismatchError):
        prepare([good, replace(good, rate_hz=200.0, **other_run)], UNFILTERED, tmp_path / "set")


def test_a_window_that_ends_before_it_starts_is_refused() -> None:
    with pytest.raises(ValueError, match="tmax_s"):
        SignalSettings(tmin_s=0.5, tmax_s=0.1)


def test_settings_written_without_defaults_are_the_same_when_read() -> None:
    stated = SignalSettings(
        running=(
            RunningDetrend(time_constant_s=120, warmup_s=20),
            RunningZscore(time_constant_s=120, warmup_s=20),
        ),
        tmin_s=2,
        tmax_s=9,
    )
    written = stated.model_dump(mode="json", exclude_defaults=True)
    assert set(written) == {"running", "tmin_s", "tmax_s"}
    assert SignalSettings(**written) == stated
