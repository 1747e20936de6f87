from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from replay.datasets.encoder import WEIGHTS_FILE, BuiltinEncoder, prepare_image, read_checksum
from replay.datasets.world import World
from rtdecode.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def encoder() -> BuiltinEncoder:
    return BuiltinEncoder()


@pytest.fixture(scope="module")
def world() -> World:
    return World()


@pytest.fixture(scope="module")
def embeddings(encoder: BuiltinEncoder, world: World) -> np.ndarray:
    """Embeddings of the 120 test pictures and 1080 training pictures."""
    return encoder.encode(world.images(range(1200)))


def test_shipped_file_has_its_recorded_checksum_and_is_small() -> None:
    content = WEIGHTS_FILE.read_bytes()
    assert hashlib.sha256(content).hexdigest() == read_checksum(WEIGHTS_FILE)
    assert len(content) <= 3_000_000


def test_space_names_the_weights_and_the_dimension(encoder: BuiltinEncoder, embeddings: np.ndarray) -> None:
    assert encoder.space.weights_sha256 == read_checksum(WEIGHTS_FILE)
    assert encoder.space.dim == embeddings.shape[1] == 64
    assert encoder.space.normalisation == "none"
    assert embeddings.dtype == np.float32


def test_embeddings_are_centred_and_every_dimension_carries_its_share(embeddings: np.ndarray) -> None:
    assert np.abs(embeddings.mean(axis=0)).max() < 0.15
    assert embeddings.std(axis=0).min() > 0.7
    assert embeddings.std(axis=0).max() < 1.4


def test_test_pictures_of_one_category_retrieve_each_other(world: World, embeddings: np.ndarray) -> None:
    training = embeddings[120:]
    standard = (embeddings[:120] - training.mean(axis=0)) / training.std(axis=0)
    standard /= np.linalg.norm(standard, axis=1, keepdims=True)
    similarity = standard @ standard.T
    np.fill_diagonal(similarity, -np.inf)
    category = world.table["category"].to_numpy()[:120]
    same = category[np.argsort(-similarity, axis=1)] == category[:, None]
    assert same[:, 0].mean() >= 0.80  # measured 0.89; chance 0.03
    assert same[:, :5].any(axis=1).mean() >= 0.92  # measured 0.98; chance 0.16


def test_factors_are_linearly_readable(world: World, embeddings: np.ndarray) -> None:
    table = world.table[:1200]
    inputs = np.column_stack([embeddings, np.ones(1200)])

    def read(targets: np.ndarray) -> np.ndarray:
        return inputs[:120] @ np.linalg.lstsq(inputs[120:], targets[120:], rcond=None)[0]

    for column, bar in (
        ("category", 0.90),
        ("colour", 0.78),
        ("background", 0.93),
        ("layout", 0.85),
        ("texture", 0.40),
    ):
        names, code = np.unique(table[column], return_inverse=True)
        assert np.mean(read(np.eye(len(names))[code]).argmax(axis=1) == code[:120]) >= bar, column
    for column, bar in (("size", 0.8), ("x", 0.93), ("y", 0.93)):
        truth = table[column].to_numpy()
        assert np.corrcoef(read(truth), truth[:120])[0, 1] >= bar, column


def test_batches_do_not_change_embeddings(
    encoder: BuiltinEncoder, world: World, embeddings: np.ndarray
) -> None:
    singly = np.concatenate([encoder.encode([world.image(index)]) for index in range(5)])
    np.testing.assert_allclose(singly, embeddings[:5], atol=1e-4)
    assert encoder.encode([]).shape == (0, 64)


def test_arrays_pillow_images_and_files_embed_alike(
    encoder: BuiltinEncoder, world: World, tmp_path: Path
) -> None:
    pixels = world.image(7)
    Image.fromarray(pixels).save(tmp_path / "picture.png")
    embedded = encoder.encode(
        [pixels, Image.fromarray(pixels), tmp_path / "picture.png", str(tmp_path / "picture.png")]
    )
    np.testing.assert_array_equal(embedded, np.broadcast_to(embedded[0], embedded.shape))


def test_any_photograph_becomes_a_square_of_64_pixels() -> None:
    rng = np.random.default_rng(0)
    wide = rng.integers(0, 255, size=(50, 200, 3), dtype=np.uint8)
    wide[:, :70] = wide[:, 130:] = 0  # cropped away
    for image in (
        wide,
        wide[:, :, 0],
        Image.fromarray(wide).convert("P"),
        Image.fromarray(wide).convert("CMYK"),
    ):
        prepared = prepare_image(image)
        assert prepared.shape == (64, 64, 3)
        assert prepared[:, 0].mean() > 20
    np.testing.assert_array_equal(*[prepare_image(wide[:, :, 0])[:, :, k] for k in (0, 2)])


def test_transparency_is_laid_on_white_and_orientation_is_heeded(tmp_path: Path) -> None:
    clear = Image.new("RGBA", (80, 80), (255, 0, 0, 0))
    assert prepare_image(clear).min() == 255
    upside_down = Image.fromarray(
        np.repeat(np.array([[0], [255]], dtype=np.uint8), 32, axis=0).repeat(64, axis=1)
    )
    exif = Image.Exif()
    exif[0x0112] = 3  # turned by 180 degrees
    upside_down.save(tmp_path / "turned.png", exif=exif)
    prepared = prepare_image(tmp_path / "turned.png")
    assert prepared[0].mean() > 250
    assert prepared[-1].mean() < 5


def test_missing_and_damaged_pictures_are_named_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere\.png: no such picture"):
        prepare_image(tmp_path / "nowhere.png")
    (tmp_path / "text.jpg").write_text("no picture")
    with pytest.raises(UserError, match=r"text\.jpg: cannot be read"):
        prepare_image(tmp_path / "text.jpg")
    Image.new("RGB", (300, 300), "red").save(tmp_path / "whole.png")
    (tmp_path / "half.png").write_bytes((tmp_path / "whole.png").read_bytes()[:120])
    with pytest.raises(UserError, match=r"half\.png: cannot be read"):
        prepare_image(tmp_path / "half.png")
    with pytest.raises(TypeError, match="uint8"):
        prepare_image(np.zeros((64, 64, 3)))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"\(64, 64, 4\)"):
        prepare_image(np.zeros((64, 64, 4), dtype=np.uint8))


def test_a_damaged_or_missing_encoder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="missing"):
        BuiltinEncoder(tmp_path / "none.onnx")
    copy = tmp_path / "copy.onnx"
    copy.write_bytes(WEIGHTS_FILE.read_bytes()[:-1])
    copy.with_suffix(".sha256").write_text(WEIGHTS_FILE.with_suffix(".sha256").read_text())
    with pytest.raises(UserError, match="damaged"):
        BuiltinEncoder(copy)


def test_photographs_of_faces_and_houses_fall_apart(encoder: BuiltinEncoder, data_dir: Path) -> None:
    folder = data_dir / "stimuli" / "face_house"
    faces, houses = sorted((folder / "faces").glob("*.jpg")), sorted((folder / "houses").glob("*.jpg"))
    embedded = encoder.encode([*faces, *houses])
    is_face = np.arange(len(embedded)) < len(faces)
    right = 0
    for left_out, embedding in enumerate(embedded):
        others = np.arange(len(embedded)) != left_out
        to_face, to_house = (
            np.linalg.norm(embedding - embedded[others & kind].mean(axis=0)) for kind in (is_face, ~is_face)
        )
        right += (to_face < to_house) == is_face[left_out]
    assert right / len(embedded) >= 0.95  # measured 1.00
