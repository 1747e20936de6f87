from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import rtdecode.keep_awake
from rtdecode.errors import UserError
from rtdecode.keep_awake import kept_awake
from rtdecode.service import Service

if TYPE_CHECKING:
    from pathlib import Path


def test_the_request_stands_while_the_device_is_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    device = tmp_path / "cpu_dma_latency"
    device.touch()
    monkeypatch.setattr(rtdecode.keep_awake, "_DEVICE", device)
    with kept_awake():
        assert device.read_bytes() == bytes(4)


def test_a_system_without_it_is_one_clear_line(lab, decoder, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(rtdecode.keep_awake, "_DEVICE", tmp_path / "nothing")
    with pytest.raises(UserError, match=r"has no .*nothing: leave out keep_awake"), kept_awake():
        pass
    with (
        pytest.raises(UserError, match="leave out keep_awake"),
        Service(lab.config(decoder, keep_awake=True)),
    ):
        pass


def test_who_may_not_is_told_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rtdecode.keep_awake, "_DEVICE", tmp_path)  # a folder: nobody may write it
    with (
        pytest.raises(UserError, match=r"cannot keep the processor awake \(.*\): let this user write"),
        kept_awake(),
    ):
        pass
