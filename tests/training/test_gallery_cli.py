from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from replay.datasets.encoder import BuiltinEncoder
from rtdecode.errors import UserError
from rtdecode.gallery import Gallery
from training.gallery_cli import gallery

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Two presentations of a cat, and a dog with three pictures."""
    rng = np.random.default_rng(0)
    (tmp_path / "dogs").mkdir()
    for name in ("cat.png", "dogs/1.png", "dogs/2.png", "dogs/3.png"):
        pixels = rng.integers(0, 255, (90, 120, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / name)
    path = tmp_path / "stimuli.csv"
    path.write_text(
        "stimulus_id,image,category\ncat,cat.png,animal\ndog,dogs/*.png,animal\ncat,cat.png,animal\n"
        "nothing,,thing\n"
    )
    return path


def make(*arguments: object) -> Result:
    return CliRunner().invoke(gallery, ["make", *map(str, arguments)])


def test_pictures_of_a_table_become_a_gallery(table: Path, tmp_path: Path) -> None:
    for _ in range(2):  # one that is there is replaced
        result = make(tmp_path / "mine", "--table", table, "--thumbnail-px", 32)
        assert result.exit_code == 0, result.exception
    made = Gallery.open(tmp_path / "mine")
    encoder = BuiltinEncoder()
    assert (made.description.name, made.description.space) == ("mine", encoder.space)
    assert not made.description.simulated
    assert (made.stimulus_ids, made.categories) == (("cat", "dog"), ("animal", "animal"))
    expected = encoder.encode(
        [table.parent / "cat.png", *(table.parent / f"dogs/{i}.png" for i in (1, 2, 3))]
    )
    np.testing.assert_allclose(
        made.embeddings, [expected[0], expected[1:].mean(axis=0)], rtol=1e-4, atol=1e-5
    )
    with Image.open(made.image_path(1)) as thumbnail:
        assert thumbnail.size == (32, 24)
    assert "2 images in" in result.output


def test_what_the_world_made_stays_marked_as_simulated(table: Path, tmp_path: Path) -> None:
    table.write_text("stimulus_id,image,simulated\ncat,cat.png,True\n")
    assert make(tmp_path / "mine", "--table", table, "--name", "A").exit_code == 0
    description = Gallery.open(tmp_path / "mine").description
    assert (description.name, description.simulated) == ("A", True)


@pytest.mark.parametrize(
    ("rows", "line"),
    [
        ("image\ncat.png", "has no column 'stimulus_id'"),
        ("stimulus_id\ncat", "names no images"),
        ("stimulus_id,image\ncat,lost.png", "no file matches lost.png"),
        ("stimulus_id,image\ncat,cat.png\ncat,dogs/1.png", "two images for cat"),
        ("stimulus_id,image\ncat,stimuli.csv", "cannot be read as a picture"),
    ],
)
def test_what_is_wrong_is_told_and_nothing_is_left(table: Path, tmp_path: Path, rows: str, line: str) -> None:
    table.write_text(rows + "\n")
    result = make(tmp_path / "mine", "--table", table)
    assert isinstance(result.exception, UserError)
    assert line in str(result.exception)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cat.png", "dogs", "stimuli.csv"]


def test_a_folder_with_other_things_is_not_replaced(table: Path, tmp_path: Path) -> None:
    result = make(tmp_path / "dogs", "--table", table)
    assert isinstance(result.exception, UserError)
    assert "is not a gallery" in str(result.exception)
