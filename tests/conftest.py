"""One LSL session a test process, and the real recordings where they are present."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import settings

from rtdecode.sources.lsl_config import use_loopback

EXAMPLES = Path(__file__).parents[1] / "examples"

settings.register_profile("rtdecode", deadline=None)  # machines are shared: no example is timed
settings.load_profile("rtdecode")

use_loopback()  # before anything imports pylsl


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Real recordings, images and event tables; see its own README."""
    path = Path(__file__).parents[2] / "shared" / "data"
    if not path.is_dir():
        pytest.skip(f"no real recordings at {path}")
    return path


@pytest.fixture(scope="session")
def n170_config(tmp_path_factory: pytest.TempPathFactory, data_dir: Path) -> Path:
    """The example, with its paths pointed at the recordings and pictures."""
    folder = tmp_path_factory.mktemp("n170")
    text = (EXAMPLES / "n170" / "n170.toml").read_text(encoding="utf-8")
    runs = sorted((data_dir / "eeg_muse" / "N170").glob("*.csv"))
    for number, run in enumerate(runs, start=1):
        text = text.replace(f"recordings/run{number}.csv", run.as_posix())
    (folder / "n170.toml").write_text(text, encoding="utf-8")
    table = (EXAMPLES / "n170" / "stimuli.csv").read_text(encoding="utf-8")
    images = (data_dir / "stimuli" / "face_house").as_posix()
    (folder / "stimuli.csv").write_text(table.replace("images/", f"{images}/"), encoding="utf-8")
    return folder / "n170.toml"


@pytest.fixture(scope="session")
def haxby_config(tmp_path_factory: pytest.TempPathFactory, data_dir: Path) -> Path:
    """The example, with its paths pointed at the volumes."""
    folder = tmp_path_factory.mktemp("haxby")
    text = (EXAMPLES / "haxby" / "haxby.toml").read_text(encoding="utf-8")
    copy = (data_dir / "fmri_haxby").as_posix()
    text = text.replace("data/haxby2001", f"{copy}/haxby2001").replace("data/mask", f"{copy}/singlefile/mask")
    (folder / "haxby.toml").write_text(text, encoding="utf-8")
    shutil.copy(EXAMPLES / "haxby" / "stimuli.csv", folder)
    return folder / "haxby.toml"
