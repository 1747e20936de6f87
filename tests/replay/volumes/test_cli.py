from __future__ import annotations

import signal
import subprocess
import sys
import uuid
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from scans import nifti, write_mask

from replay.volumes.cli import volumes
from rtdecode.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.skipif(sys.platform == "win32", reason="there Ctrl-C goes to the whole console")
def test_volumes_are_sent_until_ctrl_c(tmp_path: Path) -> None:
    folder, mask = tmp_path / "scan", write_mask(tmp_path / "mask.nii")
    arguments = ["volumes", str(folder), "--mask", str(mask), "--source-id", f"test-{uuid.uuid4()}"]
    with subprocess.Popen(
        [sys.executable, "-m", "rtdecode", *arguments, "--tr", "0.5"], stderr=subprocess.PIPE, text=True
    ) as command:
        assert command.stderr is not None
        try:
            assert "40 voxels, a volume each 0.5 s" in command.stderr.readline()
            assert f"Waiting for volumes in {folder}" in command.stderr.readline()
            folder.mkdir()
            (folder / "v_1.nii").write_bytes(nifti(1, repetition_s=0.5))
            assert "nobody listens" in command.stderr.readline()
            command.send_signal(signal.SIGINT)
            assert "Sent 1 volumes." in command.stderr.read()
            assert command.wait(20) == 0
        finally:
            command.kill()


def test_a_folder_that_is_a_file_and_a_mask_that_is_none_are_refused(tmp_path: Path) -> None:
    mask = write_mask(tmp_path / "mask.nii")
    for arguments, reason in (
        ([str(mask), "--mask", str(mask)], "is a file; name the folder"),
        ([str(tmp_path), "--mask", str(tmp_path / "none.nii")], "no such file"),
    ):
        result = CliRunner().invoke(volumes, arguments)
        assert isinstance(result.exception, UserError)
        assert reason in str(result.exception)
