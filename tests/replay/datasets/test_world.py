from __future__ import annotations

import hashlib

import numpy as np
import pandas as pd
import pytest

from replay.datasets.outlines import CATEGORIES, Tone, parts
from replay.datasets.rendering import BACKGROUNDS, COLOURS, LAYOUTS, TEXTURES, Scene, render
from replay.datasets.world import World, WorldSettings

SMALL = WorldSettings(n_test_per_category=2, n_train_per_category=3)


def digest(world: World, indices: range) -> str:
    return hashlib.sha256(b"".join(image.tobytes() for image in world.images(indices))).hexdigest()


def test_one_seed_gives_the_same_bytes_in_any_order_and_another_seed_does_not() -> None:
    forwards = [World().image(index).tobytes() for index in range(48)]
    backwards = [World().image(index).tobytes() for index in reversed(range(48))]
    assert forwards == backwards[::-1]
    assert digest(World(), range(48)) != digest(World(WorldSettings(seed=1)), range(48))


def test_more_training_pictures_leave_the_test_pictures_as_they_are() -> None:
    few, many = World(SMALL), World(SMALL.model_copy(update={"n_train_per_category": 6}))
    assert digest(few, range(48)) == digest(many, range(48))
    pd.testing.assert_frame_equal(few.table, many.table[: len(few)])


def test_default_world_has_24_categories_and_120_held_out_pictures() -> None:
    table = World().table
    assert len(CATEGORIES) == 24
    assert len(table) == len(World()) == 3120
    counts = table.groupby(["split", "category"]).size()
    assert set(counts["test"]) == {5}
    assert set(counts["train"]) == {125}
    assert table["stimulus_id"].is_unique
    assert table["simulated"].all()


def test_splits_share_no_picture() -> None:
    world = World(SMALL)
    pictures = {
        split: {world.image(index).tobytes() for index in rows["index"]}
        for split, rows in world.table.groupby("split")
    }
    assert len(pictures["test"]) == 48
    assert len(pictures["train"]) == 72
    assert not pictures["test"] & pictures["train"]


def test_table_tells_what_each_picture_shows() -> None:
    world = World(SMALL)
    for row in world.table.to_dict("records")[::7]:
        scene = world.scene(row["index"])
        assert {name: row[name] for name in Scene.__dataclass_fields__} == {
            name: getattr(scene, name) for name in Scene.__dataclass_fields__
        }
        assert row["concept_id"] == f"{scene.category}-{scene.colour}-{scene.texture}"
        assert row["stimulus_id"] == world.stimulus_id(row["index"])
        assert row["stimulus_id"].endswith(row["category"])


def test_all_factors_vary_over_the_default_world() -> None:
    table = World().table
    for column, names in (
        ("colour", COLOURS),
        ("texture", TEXTURES),
        ("background", BACKGROUNDS),
        ("layout", LAYOUTS),
    ):
        assert set(table[column]) == set(names)
    assert table[["size", "x", "y", "tilt_deg", "hue_shift_deg", "lightness_shift"]].std().gt(0).all()


def scene(category: str, **changes: object) -> Scene:
    plain = {
        "category": category, "colour": "indigo", "texture": "plain", "background": "cream",
        "layout": "gradient", "size": 0.7, "x": 0.0, "y": 0.0, "tilt_deg": 0.0, "hue_shift_deg": 0.0,
        "lightness_shift": 0.0, "texture_deg": 0.0, "texture_scale": 1.0, "ground_deg": 90.0,
    }  # fmt: skip
    return Scene(**{**plain, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize("category", CATEGORIES)
def test_every_object_is_drawn_within_its_square_and_unlike_its_background(category: str) -> None:
    for part in parts(category):
        assert np.abs(part.points).max() <= 1.08  # in units of half the object's size
        assert part.tone in Tone
    image = render(scene(category))
    assert image.shape == (64, 64, 3)
    assert image.dtype == np.uint8
    ring = render(scene("ring", size=0.01)).astype(float)  # all but background
    changed = np.abs(image.astype(float) - ring).max(axis=2) > 30
    rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
    assert 0.08 < changed.mean() < 0.5
    assert min(rows[0], columns[0]) >= 64 * 0.15 - 2
    assert max(rows[-1], columns[-1]) <= 64 * 0.85 + 4  # the shadow reaches a little further


def test_edges_are_antialiased() -> None:
    picture = render(scene("cross", tilt_deg=20.0)).astype(float)
    luminance = picture.mean(axis=2)
    inside, outside = luminance[28:36, 28:36].mean(), luminance[:4].mean()
    share = (luminance - outside) / (inside - outside)
    between = share[(share > 0.2) & (share < 0.8)]
    assert len(between) > 40
    assert len(np.unique(np.round(between, 1))) >= 5


def test_place_moves_the_object() -> None:
    def centre(x: float, y: float) -> np.ndarray:
        picture = render(scene("cross", size=0.4, x=x, y=y)).astype(float).mean(axis=2)
        dark = np.argwhere(picture < 0.5 * (picture.min() + picture.max()))
        return dark.mean(axis=0)[::-1] / 64 - 0.5

    moved = centre(0.2, -0.15) - centre(0.0, 0.0)
    np.testing.assert_allclose(moved, [0.2, -0.15], atol=0.015)


def test_larger_pictures_show_the_same_scene() -> None:
    small = World(SMALL).image(5).astype(float)
    large = World(SMALL.model_copy(update={"size_px": 128})).image(5).astype(float)
    reduced = large.reshape(64, 2, 64, 2, 3).mean(axis=(1, 3))
    assert np.abs(reduced - small).mean() < 4.0


def test_an_index_outside_the_world_is_an_index_error() -> None:
    with pytest.raises(IndexError, match="0 to 119"):
        World(SMALL).image(120)
