from __future__ import annotations

import subprocess
import sys

import pytest


def rtdecode(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "rtdecode", *arguments], capture_output=True, text=True, timeout=90
    )


def test_help_names_every_command_of_every_floor() -> None:
    shown = rtdecode("--help").stdout
    of_this_floor = ("control", "doctor", "inspect", "outlet", "retrieve", "serve")
    for command in (*of_this_floor, "data", "replay", "demo", "train", "volumes"):
        assert f"\n  {command} " in shown


@pytest.mark.parametrize("arguments", [("nonsense",), ("serve",), ("inspect", "--nonsense", "x")])
def test_wrong_words_are_explained_with_exit_code_2(arguments: tuple[str, ...]) -> None:
    done = rtdecode(*arguments)
    assert done.returncode == 2
    assert "Error:" in done.stderr
    assert "Traceback" not in done.stderr


def test_debug_shows_the_traceback_of_a_users_error_wherever_it_stands() -> None:
    assert "Traceback" in rtdecode("inspect", "nothing.onnx", "--debug").stderr
    assert "Traceback" in rtdecode("--debug", "inspect", "nothing.onnx").stderr


def test_the_live_service_loads_neither_mne_nor_the_upper_floors() -> None:
    code = (
        "import sys, rtdecode.serve, rtdecode.workers.retrieve; "
        "heavy = {'mne', 'torch', 'onnx', 'prometheus_client', 'replay', 'training'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.strip() == "[]"
