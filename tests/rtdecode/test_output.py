"""Outputs are complete or not there, and an older one survives whatever fails."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from rtdecode.errors import UserError
from rtdecode.output import check_writable, replaced_folder, write_file


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def no_space(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_file_is_written_with_the_folders_above_it(tmp_path: Path) -> None:
    write_file(tmp_path / "a" / "b" / "out.json", "{\n}é")
    assert (tmp_path / "a" / "b" / "out.json").read_bytes() == "{\n}é".encode()
    assert names(tmp_path / "a" / "b") == ["out.json"]


def test_a_file_replaces_an_older_one(tmp_path: Path) -> None:
    write_file(tmp_path / "out", b"old")
    write_file(tmp_path / "out", b"new")
    assert (tmp_path / "out").read_bytes() == b"new"


def test_an_older_file_survives_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_file(tmp_path / "out", b"old")
    monkeypatch.setattr(Path, "replace", no_space)
    with pytest.raises(UserError, match=r"cannot write .*out: No space left on device; ") as caught:
        write_file(tmp_path / "out", b"new")
    assert "\n" not in str(caught.value)
    assert (tmp_path / "out").read_bytes() == b"old"
    assert names(tmp_path) == ["out"]


def test_a_file_is_not_written_over_a_folder(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(UserError, match="cannot write"):
        write_file(tmp_path / "out", b"")
    assert names(tmp_path) == ["out"]


def test_a_file_in_place_of_a_parent_folder_is_one_line(tmp_path: Path) -> None:
    write_file(tmp_path / "out", b"")
    with pytest.raises(UserError, match="cannot write"):
        write_file(tmp_path / "out" / "deeper", b"")
    with pytest.raises(UserError, match="cannot write"), replaced_folder(tmp_path / "out" / "deeper"):
        pass


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such device file")
def test_a_device_is_written_to_as_it_is() -> None:
    write_file(Path(os.devnull), b"nothing")
    assert not Path(os.devnull).is_file()


def test_a_folder_appears_only_when_complete(tmp_path: Path) -> None:
    target = tmp_path / "a" / "out"
    with replaced_folder(target) as part:
        (part / "one").write_text("1")
        assert not target.exists()
    assert names(target) == ["one"]
    assert names(tmp_path / "a") == ["out"]


def test_a_folder_replaces_an_older_one_whole(tmp_path: Path) -> None:
    target = tmp_path / "out.v1"
    for name in ("one", "two"):
        with replaced_folder(target) as part:
            (part / name).write_text("")
    assert names(target) == ["two"]
    assert names(tmp_path) == ["out.v1"]


def test_an_older_folder_survives_a_block_that_fails(tmp_path: Path) -> None:
    target = tmp_path / "out"
    with replaced_folder(target) as part:
        (part / "old").write_text("")
    with pytest.raises(ZeroDivisionError), replaced_folder(target) as part:
        (part / "new").write_text(str(1 / 0))
    with pytest.raises(UserError, match=r"cannot write .*out: No space left"), replaced_folder(target):
        no_space()
    assert names(target) == ["old"]
    assert names(tmp_path) == ["out"]


def test_an_older_folder_is_put_back_if_the_new_one_cannot_be_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "out"
    with replaced_folder(target) as part:
        (part / "old").write_text("")
    rename = Path.rename

    def refuse_the_new(self: Path, to: Path) -> Path:
        if self.suffix == ".part":
            raise PermissionError(errno.EACCES, "Permission denied", str(self))
        return rename(self, to)

    monkeypatch.setattr(Path, "rename", refuse_the_new)
    with pytest.raises(UserError, match="Permission denied"), replaced_folder(target) as part:
        (part / "new").write_text("")
    assert names(target) == ["old"]
    assert names(tmp_path) == ["out"]


def test_a_file_in_the_way_of_a_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(UserError, match="in the way"), replaced_folder(tmp_path / "out"):
        pass
    assert (tmp_path / "out").read_text() == "mine"


def test_what_the_block_could_not_read_elsewhere_keeps_its_own_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), replaced_folder(tmp_path / "out"):
        (tmp_path / "absent").read_bytes()


def test_whether_an_output_can_be_written_is_told_before(tmp_path: Path) -> None:
    check_writable(tmp_path / "a" / "out")
    assert names(tmp_path / "a") == []
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write"):
        check_writable(tmp_path / "file" / "out")


def test_leftovers_of_a_crash_do_no_harm(tmp_path: Path) -> None:
    for name in ("out.part", ".out.part", ".out.replaced"):
        (tmp_path / name).mkdir()
    for _ in range(2):
        with replaced_folder(tmp_path / "out"):
            pass
    assert (tmp_path / "out").is_dir()
