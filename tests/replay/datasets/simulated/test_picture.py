from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from PIL import Image

from replay.datasets.simulated import DEVICES, EegSettings, picture
from rtdecode.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("name", DEVICES)
def test_a_picture_is_drawn_and_says_that_it_is_simulated(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = []
    monkeypatch.setattr(picture, "_N_EEG", 30)
    monkeypatch.setattr(picture, "_N_MEG", 8)
    monkeypatch.setattr(picture, "_N_SLOW", 12)
    drawn = picture._figure
    monkeypatch.setattr(picture, "_figure", lambda *args: said.append(drawn(*args)) or said[-1])
    picture.draw(DEVICES[name](), tmp_path / "drawn.png")
    with Image.open(tmp_path / "drawn.png") as image:
        assert image.size == (1380, 930)
        colours = image.convert("RGB").getcolors(1 << 20)
    assert colours is not None
    assert len(colours) > 500
    (figure,) = said
    assert "SIMULATED" in [text.get_text() for text in figure.texts]


def test_another_kind_of_file_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"\.png, \.pdf, \.svg"):
        picture.draw(EegSettings(), tmp_path / "drawn.gif")
    assert not list(tmp_path.iterdir())
