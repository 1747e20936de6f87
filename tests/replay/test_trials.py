from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replay.trials import COLUMNS, TrialSet, TrialSetWriter, signal_hash
from rtdecode.contracts import Channel, ChannelType, Resampling, SignalContract, Unit, Window
from rtdecode.errors import MismatchError, UserError

if TYPE_CHECKING:
    from pathlib import Path


def _signal(n_channels: int = 3, n_times: int = 5, **changes: Any) -> SignalContract:
    channels = tuple(
        Channel(name=f"C{i}", type=ChannelType.EEG, unit=Unit.VOLT, position_m=(0.0, 0.0, i / 100))
        for i in range(n_channels)
    )
    settings: dict[str, Any] = {
        "channels": channels,
        "rate_hz": 100.0,
        "front_end": (),
        "window": Window(first_sample=0, last_sample=2 * n_times - 1),
        "resampling": Resampling(rate_hz=50.0, n_times=n_times),
    }
    return SignalContract(**settings | changes)


def _trial(index: int, session: str = "a", run: str = "1", **values: Any) -> dict[str, Any]:
    row = {
        "subject": "s",
        "session": session,
        "run": run,
        "onset_sample": 100 * index,
        "onset_s": float(index),
    }
    return row | {"recorded_s": float(index), "stimulus_id": f"i{index}", "simulated": False} | values


def _write(path: Path, sessions: str = "aabba", native: bool = False) -> np.ndarray:
    rng = np.random.default_rng(0)
    windows = rng.normal(size=(len(sessions), 5, 3)).astype(np.float32)
    with TrialSetWriter(path, _signal()) as writer:
        for index, session in enumerate(sessions):
            kept = np.full((10, 3), float(index)) if native and index % 2 else None
            writer.add(windows[index], _trial(index, session), native=kept)
        writer.leave_out("warming up", 2)
        writer.note(made_by="test")
    return windows


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@settings(max_examples=25, deadline=None)
@given(data=st.data(), n=st.integers(0, 12), n_times=st.integers(1, 6), n_channels=st.integers(1, 4))
def test_what_is_written_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, n: int, n_times: int, n_channels: int
) -> None:
    path = tmp_path_factory.mktemp("sets") / "set"
    sessions = data.draw(st.lists(st.sampled_from("abc"), min_size=n, max_size=n))
    windows = np.random.default_rng(n).normal(size=(n, n_times, n_channels)).astype(np.float32)
    signal = _signal(n_channels, n_times)
    with TrialSetWriter(path, signal) as writer:
        for index in range(n):
            writer.add(windows[index], _trial(index, sessions[index]))
    opened = TrialSet.open(path)
    assert opened.signal == signal
    assert len(opened) == n
    # Trials of one session lie together, in the order they came.
    order = sorted(range(n), key=lambda i: (list(dict.fromkeys(sessions)).index(sessions[i]), i))
    np.testing.assert_array_equal(opened.windows(), windows[order])
    assert opened.trials["stimulus_id"].tolist() == [f"i{i}" for i in order]
    assert dict(opened.trials.dtypes.astype(str)) == {
        name: str(pd.array([], dtype=kind).dtype) for name, kind in COLUMNS.items()
    }
    rows = data.draw(st.lists(st.integers(0, n - 1), max_size=5)) if n else []
    np.testing.assert_array_equal(opened.windows(rows), windows[order][rows])
    np.testing.assert_array_equal(opened.select(rows).windows(), windows[order][rows])


def test_one_array_a_session_is_mapped_not_read(tmp_path: Path) -> None:
    _write(tmp_path / "set")
    assert _names(tmp_path / "set") == [
        "trials.parquet",
        "trialset.json",
        "windows_000.npy",
        "windows_001.npy",
    ]
    assert np.load(tmp_path / "set" / "windows_000.npy").shape == (3, 5, 3)
    opened = TrialSet.open(tmp_path / "set")
    assert all(isinstance(array, np.memmap) for array in opened._arrays)


def test_notes_and_counts_are_kept(tmp_path: Path) -> None:
    _write(tmp_path / "set")
    opened = TrialSet.open(tmp_path / "set")
    assert opened.left_out == {"warming up": 2}
    assert opened.extras == {"made_by": "test"}
    assert not opened.simulated
    for unknown in ("concept_id", "repetition", "residual_us", "split_original", "quality"):
        assert opened.trials[unknown].isna().all()


def test_selection_follows_masks_and_nests(tmp_path: Path) -> None:
    windows = _write(tmp_path / "set", "aaaaaa")
    opened = TrialSet.open(tmp_path / "set")
    later = opened.select(opened.trials["onset_s"] > 1)
    assert later.trials["stimulus_id"].tolist() == ["i2", "i3", "i4", "i5"]
    nested = later.select([3, 0])
    np.testing.assert_array_equal(nested.windows(), windows[[5, 2]])
    with pytest.raises(ValueError, match="mask"):
        later.select(np.ones(6, bool))


def test_native_windows_stay_with_their_trials(tmp_path: Path) -> None:
    _write(tmp_path / "set", "abbaab", native=True)
    opened = TrialSet.open(tmp_path / "set")
    rows, native = opened.native_windows()
    assert [f"i{int(window[0, 0])}" for window in native] == opened.trials["stimulus_id"].iloc[rows].tolist()
    assert sorted(opened.trials["stimulus_id"].iloc[rows]) == ["i1", "i3", "i5"]
    part = opened.select([5, 4])
    rows, native = part.native_windows()
    assert [f"i{int(window[0, 0])}" for window in native] == part.trials["stimulus_id"].iloc[rows].tolist()


def test_hours_count_recording_and_not_breaks(tmp_path: Path) -> None:
    with TrialSetWriter(tmp_path / "set", _signal()) as writer:
        for run, start in (("1", 0.0), ("2", 5000.0)):
            for index in range(3):
                recorded_s = start + 100 * index
                writer.add(np.zeros((5, 3)), _trial(index, run=run, recorded_s=recorded_s))
    assert TrialSet.open(tmp_path / "set").hours == pytest.approx(2 * (200 + 0.1) / 3600)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_window_with_nan_is_refused_and_nothing_is_left(tmp_path: Path, bad: float) -> None:
    window = np.zeros((5, 3))
    window[2, 1] = bad

    def write() -> None:
        with TrialSetWriter(tmp_path / "set", _signal()) as writer:
            writer.add(np.zeros((5, 3)), _trial(0))
            writer.add(window, _trial(1))

    with pytest.raises(UserError, match="NaN or infinity"):
        write()
    assert _names(tmp_path) == []


def test_a_failure_leaves_the_earlier_set_as_it_was(tmp_path: Path) -> None:
    windows = _write(tmp_path / "set")

    def fail() -> None:
        with TrialSetWriter(tmp_path / "set", _signal()) as writer:
            writer.add(np.zeros((5, 3)), _trial(0))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert _names(tmp_path) == ["set"]
    np.testing.assert_array_equal(
        np.sort(TrialSet.open(tmp_path / "set").windows().ravel()), np.sort(windows.ravel())
    )


def test_a_trial_set_is_replaced_and_anything_else_is_not(tmp_path: Path) -> None:
    _write(tmp_path / "set")
    _write(tmp_path / "set", "aa")
    assert len(TrialSet.open(tmp_path / "set")) == 2
    assert _names(tmp_path) == ["set"]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years")
    with pytest.raises(UserError, match="is no TrialSet"):
        TrialSetWriter(tmp_path / "mine", _signal())


def test_windows_of_two_front_ends_are_not_mixed(tmp_path: Path) -> None:
    other = _signal(rate_hz=200.0)
    with (
        pytest.raises(MismatchError, match="two front ends"),
        TrialSetWriter(tmp_path / "set", _signal()) as writer,
    ):
        writer.add(np.zeros((5, 3)), _trial(0), signal=other)
    assert _names(tmp_path) == []


def test_the_hash_sees_all_but_positions() -> None:
    moved = tuple(channel.model_copy(update={"position_m": None}) for channel in _signal().channels)
    assert signal_hash(_signal(channels=moved)) == signal_hash(_signal())
    renamed = (moved[0].model_copy(update={"name": "X"}), *moved[1:])
    for change in (
        {"channels": renamed},
        {"rate_hz": 101.0},
        {"window": Window(first_sample=1, last_sample=10)},
        {"resampling": Resampling(rate_hz=51.0, n_times=5)},
    ):
        assert signal_hash(_signal(**change)) != signal_hash(_signal())


def test_a_changed_front_end_is_refused(tmp_path: Path) -> None:
    _write(tmp_path / "set")
    header = tmp_path / "set" / "trialset.json"
    content = json.loads(header.read_text())
    content["signal"]["rate_hz"] = 250.0
    header.write_text(json.dumps(content))
    with pytest.raises(MismatchError, match="front end"):
        TrialSet.open(tmp_path / "set")


def test_damage_is_told_in_one_line(tmp_path: Path) -> None:
    def damaged(change: Any) -> str:
        _write(tmp_path / "set", "aab")
        change(tmp_path / "set")
        with pytest.raises(UserError) as caught:
            TrialSet.open(tmp_path / "set")
        assert "\n" not in str(caught.value)
        return str(caught.value)

    def truncate(folder: Path) -> None:
        content = (folder / "windows_000.npy").read_bytes()
        (folder / "windows_000.npy").write_bytes(content[:-8])

    def lengthen(folder: Path) -> None:
        with (folder / "windows_000.npy").open("ab") as file:
            file.write(b"1234")

    def shorten(folder: Path) -> None:
        pd.read_parquet(folder / "trials.parquet").iloc[:-1].to_parquet(folder / "trials.parquet")

    def without_stimuli(folder: Path) -> None:
        table = pd.read_parquet(folder / "trials.parquet")
        table.drop(columns="stimulus_id").to_parquet(folder / "trials.parquet")

    assert "missing or damaged" in damaged(truncate)
    assert "longer than its 2 windows" in damaged(lengthen)
    assert "missing or damaged" in damaged(lambda folder: (folder / "windows_001.npy").unlink())
    assert "2 trials, the windows beside it 3" in damaged(shorten)
    assert "no column stimulus_id" in damaged(without_stimuli)
    assert "float32" in damaged(lambda f: np.save(f / "windows_001.npy", np.zeros((1, 5, 3))))
    assert "is no TrialSet header" in damaged(lambda f: (f / "trialset.json").write_text('{"a": 1}'))
    assert "missing or damaged" in damaged(lambda f: (f / "trials.parquet").write_bytes(b"PAR1"))
    with pytest.raises(UserError, match="rtdecode train prepare"):
        TrialSet.open(tmp_path / "nowhere")


def test_opening_does_not_read_the_windows(tmp_path: Path) -> None:
    _write(tmp_path / "set", "aaa")
    path = tmp_path / "set" / "windows_000.npy"
    array = np.load(path)
    array[1, 2, 0] = np.nan  # the writer refuses this; nobody looks for it again
    np.save(path, array)
    assert np.isnan(TrialSet.open(tmp_path / "set").windows([1])).any()


def test_a_set_that_is_held_open_cannot_be_replaced_and_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    windows = _write(tmp_path / "set", "aa")

    def held(path: Path, _target: Path) -> None:  # as Windows answers where a file inside is mapped
        raise PermissionError(13, "Access is denied", str(path))

    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.rename", held)
        patch.setattr("pathlib.Path.replace", held)
        with pytest.raises(UserError, match=r"cannot write .*Access is denied"):
            _write(tmp_path / "set", "aaa")
    assert _names(tmp_path) == ["set"]
    np.testing.assert_array_equal(TrialSet.open(tmp_path / "set").windows(), windows)


def test_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pd.DataFrame, "to_parquet", full)
    with pytest.raises(UserError, match="No space left"):
        _write(tmp_path / "set")
    assert _names(tmp_path) == []


def test_programming_errors_are_not_taken_for_the_users(tmp_path: Path) -> None:
    with TrialSetWriter(tmp_path / "set", _signal()) as writer:
        with pytest.raises(ValueError, match="shape"):
            writer.add(np.zeros((4, 3)), _trial(0))
        with pytest.raises(ValueError, match="colour"):
            writer.add(np.zeros((5, 3)), _trial(0, colour="red"))
