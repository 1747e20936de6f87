from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="needs the extra 'train'")

from training.networks.fmri import FmriNetwork  # noqa: E402
from training.networks.settings import FmriSettings  # noqa: E402


def test_each_subject_has_voxels_of_its_own() -> None:
    torch.manual_seed(0)
    made = FmriNetwork(FmriSettings(n_hidden=8), n_times=5, n_voxels=(11, 13), heads={"a": 4, "b": 3}).eval()
    for subject, n_voxels in enumerate((11, 13)):
        windows = torch.randn(6, 5, n_voxels)
        found = made(windows, subject)
        assert (found["a"].shape, found["b"].shape) == ((6, 4), (6, 3))
        torch.testing.assert_close(made(windows[2:3], subject)["a"], found["a"][2:3])


def test_each_volume_has_a_layer_of_its_own() -> None:
    made = FmriNetwork(FmriSettings(n_hidden=8), n_times=5, n_voxels=(11,), heads={"a": 4})
    count = {name: sum(p.numel() for p in part.parameters()) for name, part in made.named_children()}
    assert count == {"subject_layers": 96, "norm": 16, "dropout": 0, "over_time": 6, "heads": 36}
    assert made.volume_weights.shape == (5, 8, 8)
    assert made.volume_bias.shape == (5, 8)
