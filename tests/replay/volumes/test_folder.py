"""Files that appear in a folder are taken once they are whole, and only once; time is synthetic."""

from __future__ import annotations

import gzip
import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scans import mosaic, nifti

from replay.volumes.folder import PATIENCE_S, Folder
from replay.volumes.volume_file import read_volume

if TYPE_CHECKING:
    from pathlib import Path

    from replay.volumes.volume_file import Volume


class Watched:
    """A folder that is looked into each tenth of a second."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.now = 100.0
        self.told: list[str] = []
        self.folder = Folder(path, self.told.append)

    def write(self, name: str, content: bytes) -> None:
        (self.path / name).parent.mkdir(parents=True, exist_ok=True)
        (self.path / name).write_bytes(content)

    def look(self) -> list[tuple[int, float]]:
        """Number of each volume that has become whole, and when it was first seen."""
        self.now = round(self.now + 0.1, 6)
        return [(arrival.volume.number, arrival.seen) for arrival in self.folder.look(self.now)]


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    return Watched(tmp_path / "scan")


def test_a_volume_is_taken_when_it_has_not_changed_from_one_look_to_the_next(watched: Watched) -> None:
    assert watched.look() == []
    watched.write("1.dcm", mosaic(1))
    assert watched.look() == []
    assert watched.look() == [(1, 100.2)]
    assert watched.look() == []
    watched.write("deep/in/vol_2.nii", nifti(2))
    watched.write("3.IMA", mosaic(3))
    watched.look()
    assert watched.look() == [(3, 100.5), (2, 100.5)]
    assert watched.told == []


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.sampled_from(["dcm", "nii", "nii.gz"]),
    shares=st.lists(st.floats(0, 0.999), min_size=1, max_size=5).map(sorted),
    looks=st.lists(st.integers(1, 4), min_size=5, max_size=5),
)
def test_a_half_written_file_is_taken_when_it_is_whole_with_the_time_at_which_it_appeared(
    tmp_path: Path, kind: str, shares: list[float], looks: list[int]
) -> None:
    watched = Watched(tmp_path / f"scan{os.urandom(4).hex()}")
    whole = {"dcm": mosaic, "nii": nifti, "nii.gz": lambda n: gzip.compress(nifti(n))}[kind](9)
    for share, n in zip(shares, looks, strict=False):
        watched.write(f"run_9.{kind}", whole[: int(share * len(whole))])
        for _ in range(n):
            assert watched.look() == []
    watched.write(f"run_9.{kind}", whole)
    assert watched.look() + watched.look() == [(9, 100.1)]
    assert watched.told == []


def test_a_file_that_is_written_to_while_it_is_read_is_read_again(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = mosaic(1)
    watched.write("1.dcm", whole[:5000])
    watched.look()

    def finish_first(path: Path) -> Volume:
        path.write_bytes(whole)
        return read_volume(path)

    with monkeypatch.context() as patch:
        patch.setattr("replay.volumes.folder.read_volume", finish_first)
        assert watched.look() == []
    assert watched.look() + watched.look() == [(1, 100.1)]
    assert watched.look() + watched.look() == []


def test_a_file_that_does_not_become_whole_is_told_once_and_taken_if_it_does_after_all(
    watched: Watched,
) -> None:
    whole = mosaic(4)
    watched.write("4.dcm", whole[:-1])
    for _ in range(int(2 * PATIENCE_S / 0.1)):
        assert watched.look() == []
    (line,) = watched.told
    assert "4.dcm did not become whole in 10 s (its pixels are cut off): left out" in line
    watched.write("4.dcm", whole)
    watched.look()
    assert [number for number, _ in watched.look()] == [4]


def test_what_is_refused_is_told_once_a_series(watched: Watched) -> None:
    for number in range(5):
        watched.write(f"{number}.dcm", mosaic(number, tiled=False))
        watched.write(f"plain{'x' * number}.nii", nifti(number))
    watched.look()
    assert watched.look() == []
    assert len(watched.told) == 2


def test_what_lay_there_before_is_passed_over_and_what_is_no_volume_too(tmp_path: Path) -> None:
    for name in ("1.dcm", "2.dcm"):
        (tmp_path / name).write_bytes(mosaic(1))
    watched = Watched(tmp_path)
    for name in ("notes.txt", ".3.dcm", "3.dcm.part"):
        watched.write(name, mosaic(3))
    for _ in range(4):
        assert watched.look() == []
    watched.write("2.dcm", mosaic(2) + b"\0\0")  # was still being written
    watched.look()
    assert [number for number, _ in watched.look()] == [2]


def test_a_file_that_was_written_anew_is_taken_anew_and_one_that_is_gone_is_not(watched: Watched) -> None:
    watched.write("1.dcm", mosaic(1))
    watched.write("2.dcm", mosaic(2))
    watched.look()
    (watched.path / "2.dcm").unlink()
    assert [number for number, _ in watched.look()] == [1]
    (watched.path / "1.dcm").unlink()
    assert watched.look() == []
    watched.write("1.dcm", mosaic(1))
    watched.look()
    assert [number for number, _ in watched.look()] == [1]
