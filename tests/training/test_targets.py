from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from replay.datasets.encoder import BuiltinEncoder
from rtdecode.errors import UserError
from rtdecode.stimuli import StimulusTable
from training.targets import Targets, embed_stimuli, one_hot

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    MakeTargets = Callable[..., Targets]


@pytest.fixture(scope="module")
def encoder() -> BuiltinEncoder:
    return BuiltinEncoder()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "cats").mkdir()
    rng = np.random.default_rng(0)
    for name in ("cats/1.png", "cats/2.png", "cats/3.png", "dog.png"):
        Image.fromarray(rng.integers(0, 255, (70, 80, 3), dtype=np.uint8)).save(tmp_path / name)
    return tmp_path


def _table(folder: Path, images: list[str], stimuli: list[str] | None = None) -> StimulusTable:
    stimuli = stimuli or [f"s{k}" for k in range(len(images))]
    rows = pd.DataFrame(
        {"label": [str(k) for k in range(len(images))], "stimulus_id": stimuli, "image": images}
    )
    rows.to_csv(folder / "stimuli.csv", index=False)
    return StimulusTable.load(folder / "stimuli.csv")


def test_one_image_is_its_stimulus_target(folder: Path, encoder: BuiltinEncoder) -> None:
    targets = embed_stimuli(_table(folder, ["dog.png", "cats/2.png"]), encoder)
    assert targets.stimulus_ids == ("s0", "s1")
    assert targets.space == encoder.space
    expected = encoder.encode([folder / "dog.png", folder / "cats/2.png"])
    np.testing.assert_allclose(targets.embeddings, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(targets.of(["s1", "s0", "s1"]), targets.embeddings[[1, 0, 1]])


def test_a_pattern_stands_for_the_mean_of_its_images(folder: Path, encoder: BuiltinEncoder) -> None:
    seen: list[tuple[int, int]] = []
    table = _table(folder, ["cats/*.png", "dog.png"])
    targets = embed_stimuli(table, encoder, lambda *done: seen.append(done))
    cats = encoder.encode(sorted((folder / "cats").iterdir()))
    np.testing.assert_allclose(targets.of(["s0"])[0], cats.mean(axis=0), rtol=1e-5, atol=1e-6)
    assert seen == [(4, 4)]


def test_rows_of_one_stimulus_are_embedded_once(folder: Path, encoder: BuiltinEncoder) -> None:
    targets = embed_stimuli(_table(folder, ["dog.png", "", "dog.png"], ["a", "b", "a"]), encoder)
    assert targets.stimulus_ids == ("a",)


def test_what_is_wrong_with_images_is_told(folder: Path, encoder: BuiltinEncoder) -> None:
    def refused(images: list[str], stimuli: list[str] | None = None) -> str:
        with pytest.raises(UserError) as caught:
            embed_stimuli(_table(folder, images, stimuli), encoder)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "no file matches cow.png, the image of s1" in refused(["dog.png", "cow.png"])
    assert "no file matches birds/*" in refused(["birds/*"])
    assert "names no images" in refused(["", ""])
    assert "two images for a: dog.png and cats/1.png" in refused(["dog.png", "cats/1.png"], ["a", "a"])
    (folder / "torn.png").write_bytes(b"\x89PNG....")
    assert "torn.png" in refused(["torn.png"])


def test_targets_that_contradict_themselves_are_refused(make_targets: MakeTargets) -> None:
    good = make_targets(3)
    with pytest.raises(ValueError, match="dimensions"):
        Targets(good.stimulus_ids, good.embeddings[:, :2], good.space)
    with pytest.raises(ValueError, match="twice"):
        Targets(("a", "a", "b"), good.embeddings, good.space)
    with pytest.raises(ValueError, match="NaN"):
        Targets(good.stimulus_ids, good.embeddings * np.nan, good.space)


def test_without_images_each_stimulus_is_a_dimension() -> None:
    targets = one_hot(["house", "face", "house"])
    assert targets.stimulus_ids == ("face", "house")
    np.testing.assert_array_equal(targets.embeddings, np.eye(2))
    assert one_hot(["face", "house"]).space == targets.space
    assert one_hot(["face", "chair"]).space != targets.space
