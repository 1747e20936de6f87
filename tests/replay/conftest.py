from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from things_tree import Tree, make_tree

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tree:
    return make_tree(tmp_path / "copy", monkeypatch)
