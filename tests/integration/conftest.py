"""The real N170 recordings as the example's configuration sees them."""

from __future__ import annotations

from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "n170"


@pytest.fixture(scope="session")
def n170_config(tmp_path_factory: pytest.TempPathFactory, data_dir: Path) -> Path:
    """The example, with its paths pointed at the recordings and pictures."""
    folder = tmp_path_factory.mktemp("n170")
    text = (EXAMPLE / "n170.toml").read_text(encoding="utf-8")
    runs = sorted((data_dir / "eeg_muse" / "N170").glob("*.csv"))
    for number, run in enumerate(runs, start=1):
        text = text.replace(f"recordings/run{number}.csv", run.as_posix())
    (folder / "n170.toml").write_text(text, encoding="utf-8")
    table = (EXAMPLE / "stimuli.csv").read_text(encoding="utf-8")
    images = (data_dir / "stimuli" / "face_house").as_posix()
    (folder / "stimuli.csv").write_text(table.replace("images/", f"{images}/"), encoding="utf-8")
    return folder / "n170.toml"
