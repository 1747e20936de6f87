from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from replay.processes import Process, folder_for_logs, free_ports, serve_config
from rtdecode.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path


def fail(folder: Path) -> None:
    (folder / "serve.log").write_text("what happened")
    raise UserError(f"it was not ready; see {folder / 'serve.log'}")


def test_a_command_does_what_its_file_says_whatever_the_environment_would_override(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RTDECODE_BUS__PUBLISH_PORT", "nowhere")
    monkeypatch.setenv("rtdecode_bus__control_port", "nowhere")
    config, log = tmp_path / "serve.toml", tmp_path / "serve.log"
    config.write_text(serve_config({"eeg": "none"}, "none", [("eeg", tmp_path / "no.onnx")], free_ports()))
    with Process(["serve", str(config)], log) as service, pytest.raises(UserError) as caught:
        service.wait_until(lambda: False)
    assert "cannot read decoder" in str(caught.value)
    assert f"see {log}" in str(caught.value)
    assert "environment" not in log.read_text()


def test_logs_that_an_error_names_are_still_there_when_it_is_read() -> None:
    with pytest.raises(UserError) as caught, folder_for_logs("rtdecode-test-") as folder:
        fail(folder)
    log = folder / "serve.log"
    assert str(log) in str(caught.value)
    assert log.read_text() == "what happened"
    log.unlink()
    folder.rmdir()


def test_logs_that_nobody_is_pointed_to_are_removed() -> None:
    with folder_for_logs("rtdecode-test-") as folder:
        (folder / "serve.log").write_text("all went well")
    assert not folder.exists()
    with pytest.raises(UserError), folder_for_logs("rtdecode-test-") as folder:
        raise UserError("two options exclude each other")
    assert not folder.exists()
    with pytest.raises(KeyboardInterrupt), folder_for_logs("rtdecode-test-") as folder:
        raise KeyboardInterrupt
    assert not folder.exists()
