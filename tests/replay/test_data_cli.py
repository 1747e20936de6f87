from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from replay.data_cli import data
from rtdecode.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result
    from miniatures.things_eeg1 import ThingsEeg1Copy


def run(*arguments: object) -> Result:
    return CliRunner().invoke(data, [str(argument) for argument in arguments])


def test_list_and_show_tell_what_was_published() -> None:
    assert "things-eeg1" in run("list").output
    shown = run("show", "THINGS-EEG1").output
    for text in ("63 channels at 1000 Hz", "22,248 trials", "200 images, 12 times each", "ds003825", "CC0"):
        assert text in shown


def test_a_whole_subject_is_complete_and_an_absent_one_is_not(tree: ThingsEeg1Copy, tmp_path: Path) -> None:
    done = run(
        "validate", "things-eeg1", tree.root, "--subject", "sub-10", "--json", tmp_path / "report.json"
    )
    assert done.exit_code == 0, done.output
    assert "complete, as published (1 known)" in done.output
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["subjects"][0]["counts"]["train trials"] == {"found": 20, "expected": 20}
    done = run("validate", "things-eeg1", tree.root, "--subject", "10", "--subject", "11", "--json", "-")
    assert done.exit_code == 1
    assert json.loads(done.output)["absent_subjects"] == ["11"]


def test_each_file_that_is_missing_has_its_line(tree: ThingsEeg1Copy) -> None:
    tree.file("10", "eeg.eeg").unlink()
    done = run("validate", "things-eeg1", tree.root)
    assert done.exit_code == 1
    lines = done.output.splitlines()
    (line,) = (line for line in lines if "sub-10_task-rsvp_eeg.eeg" in line)
    assert line.startswith("missing sub-10/eeg/")
    assert line.endswith("get it again from https://openneuro.org/datasets/ds003825")
    assert any(line.startswith("missing subjects (46): 02, 03, 04") for line in lines)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("things-eeg1", "nowhere"), "no such folder"),
        (("things-eeg1", ".", "--subject", "51"), "has no subject 51; it has 01 to 50"),
        (("things", "."), "no dataset 'things'; known are things-eeg1"),
    ],
)
def test_wrong_words_are_a_users_error(arguments: tuple[str, ...], text: str) -> None:
    error = run("validate", *arguments).exception
    assert isinstance(error, UserError)
    assert text in str(error)


def test_simulated_devices_are_listed_apart_and_their_dials_shown() -> None:
    listed = run("list").output
    public, simulated = listed.split("SIMULATED")
    assert "things-eeg1" in public
    for name in ("simulated-eeg", "simulated-meg", "simulated-3t", "simulated-7t"):
        assert name in simulated
        assert name not in public
    shown = run("show", "simulated-3T").output
    assert "SIMULATED fMRI at 3 T, TR 1.5 s" in shown
    assert "rtdecode replay simulated-3t" in shown
    assert "nonlinearity" in shown


def test_a_picture_is_drawn_of_simulated_devices_only(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--picture is for simulated devices: simulated-eeg"):
        CliRunner().invoke(
            data, ["show", "things-eeg1", "--picture", str(tmp_path / "x.png")], catch_exceptions=False
        )
    with pytest.raises(UserError, match=r"\.png, \.pdf, \.svg"):
        CliRunner().invoke(
            data, ["show", "simulated-eeg", "--picture", str(tmp_path / "x.gif")], catch_exceptions=False
        )
