from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from miniatures.things_eeg1 import ThingsEeg1Copy, write_things_eeg1

from replay.datasets.catalogue import DATASETS

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ThingsEeg1Copy:
    made = write_things_eeg1(tmp_path / "things-eeg1")
    monkeypatch.setitem(DATASETS, "things-eeg1", made.dataset)
    return made
