from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra 'train'")

from training.networks.meeg import MeegNetwork  # noqa: E402
from training.networks.settings import MeegSettings  # noqa: E402

SMALL = MeegSettings(n_virtual=6, n_fourier=32, n_hidden=8, n_features=10)


def network(**changes: object) -> MeegNetwork:
    torch.manual_seed(0)
    return MeegNetwork(SMALL.model_copy(update=changes), n_times=20, n_subjects=3, heads={"image": 4}).eval()


def inputs(n_channels: int = 5) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return (
        torch.randn(7, 20, n_channels, generator=generator),
        torch.rand(n_channels, 2, generator=generator),
        torch.arange(7) % 3,
    )


def test_the_study_s_module_has_the_study_s_parameters() -> None:
    """272 channels, 181 points, four subjects, one head of 768 dimensions."""
    made = MeegNetwork(MeegSettings(), n_times=181, n_subjects=4, heads={"image": 768})
    count = {name: sum(p.numel() for p in part.parameters()) for name, part in made.named_children()}
    assert count == {
        "attention": 270 * 2048,
        "mixing": 270 * 270 + 270,
        "subject_layer": 4 * 270 * 270,
        "blocks": (3 * 270 * 320 + 320 + 640) + 3 * (3 * 320 * 320 + 320 + 640) + 2 * (3 * 320 * 640 + 640),
        "widening": 320 * 640 + 640,
        "features": 640 * 2048 + 2048,
        "over_time": 181 + 1,
        "heads": 2048 * 768 + 768,
    }
    assert sum(count.values()) == 6_424_472


def test_sensors_count_by_position_and_not_by_order() -> None:
    windows, positions, subjects = inputs()
    order = torch.tensor([3, 0, 4, 2, 1])
    there = network()(windows, positions, subjects)["image"]
    moved = network()(windows[:, :, order], positions[order], subjects)["image"]
    torch.testing.assert_close(moved, there)


def test_any_number_of_sensors_is_answered() -> None:
    for n_channels in (1, 4, 9):
        windows, positions, subjects = inputs(n_channels)
        assert network()(windows, positions, subjects)["image"].shape == (7, 4)


def test_features_are_averaged_over_time_as_the_description_has_it() -> None:
    made, (windows, positions, subjects) = network(), inputs()
    signal = made.subject_layer(made.mixing(made.attention(windows.transpose(1, 2), positions)), subjects)
    hidden = torch.nn.functional.gelu(made.widening(made.blocks(signal)))
    features = made.over_time(made.features(hidden.transpose(1, 2)).transpose(1, 2)).squeeze(2)
    torch.testing.assert_close(made(windows, positions, subjects)["image"], made.heads["image"](features))


def test_each_subject_has_a_layer_of_its_own() -> None:
    made, (windows, positions, subjects) = network(), inputs()
    alone = [made(windows[i : i + 1], positions, subjects[i : i + 1])["image"] for i in range(7)]
    torch.testing.assert_close(made(windows, positions, subjects)["image"], torch.cat(alone))
    other = made(windows, positions, (subjects + 1) % 3)["image"]
    assert not torch.allclose(other, made(windows, positions, subjects)["image"])


def test_patches_of_sensors_drop_out_in_training_only() -> None:
    made, (_, positions, _) = network(sensor_dropout=0.4), inputs(50)
    assert (made.attention.attention(positions) > 0).all()
    made.train()
    kept = np.array([(made.attention.attention(positions) > 0).all(dim=0).numpy() for _ in range(100)])
    assert 0 < (~kept).mean() < 1
    for row in kept:
        left_out = positions.numpy()[~row]
        if len(left_out) > 1:
            assert np.linalg.norm(left_out[:, None] - left_out, axis=2).max() <= 0.8 + 1e-6
    torch.testing.assert_close(made.attention.attention(positions).sum(dim=1), torch.ones(6))


def test_where_all_sensors_would_drop_out_none_does() -> None:
    made = network(sensor_dropout=0.99).train()
    weights = made.attention.attention(torch.full((3, 2), 0.5))
    assert torch.isfinite(weights).all()


def test_a_number_of_coefficients_that_is_not_twice_a_square_is_refused() -> None:
    with pytest.raises(ValueError, match="twice a square"):
        network(n_fourier=33)
