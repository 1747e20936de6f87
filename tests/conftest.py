"""One LSL session a test process, and the real recordings where they are present."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from rtdecode.sources.lsl_config import use_loopback

use_loopback()  # before anything imports pylsl


@pytest.fixture(scope="session", autouse=True)
def _remove_lsl_config() -> Iterator[None]:
    yield
    Path(os.environ["LSLAPICFG"]).unlink(missing_ok=True)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Real recordings, images and event tables; see its own README."""
    path = Path(__file__).parents[2] / "shared" / "data"
    if not path.is_dir():
        pytest.skip(f"no real recordings at {path}")
    return path
