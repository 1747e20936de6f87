from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch", reason="needs the extra 'train'")

from training.losses import DecodingLoss, clip_loss, siglip_loss  # noqa: E402
from training.networks.settings import LossSettings  # noqa: E402


def batch(n: int = 6, dim: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(n, dim, generator=generator), torch.randn(n, dim, generator=generator)


def test_clip_is_the_mean_log_chance_of_the_own_image() -> None:
    logits = torch.randn(4, 4, generator=torch.Generator().manual_seed(1))
    rows = torch.stack([logits[i].logsumexp(0) - logits[i, i] for i in range(4)]).mean()
    columns = torch.stack([logits[:, i].logsumexp(0) - logits[i, i] for i in range(4)]).mean()
    same = torch.eye(4, dtype=torch.bool)
    torch.testing.assert_close(clip_loss(logits, same, symmetric=False), rows)
    torch.testing.assert_close(clip_loss(logits, same, symmetric=True), (rows + columns) / 2)


def test_repeats_of_an_image_are_no_contrast_to_it() -> None:
    """As if the other showing's image had not been among the candidates."""
    logits = torch.randn(4, 4, generator=torch.Generator().manual_seed(1))
    shown = torch.tensor([0, 1, 0, 2])
    expected = [
        logits[i, [j for j in range(4) if j == i or shown[j] != shown[i]]].logsumexp(0) - logits[i, i]
        for i in range(4)
    ]
    found = clip_loss(logits, shown[:, None] == shown, symmetric=False)
    torch.testing.assert_close(found, torch.stack(expected).mean())


def test_siglip_judges_each_pair_for_itself() -> None:
    logits = torch.tensor([[2.0, -1.0], [0.5, 3.0]])
    expected = sum(math.log1p(math.exp(-x)) for x in (2.0, 1.0, -0.5, 3.0)) / 2
    found = siglip_loss(logits, torch.eye(2, dtype=torch.bool))
    assert found.item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("contrast", ["clip", "siglip"])
def test_the_parts_are_weighted_and_each_reads_its_head(contrast: str) -> None:
    predictions, targets = batch()
    loss = DecodingLoss(LossSettings(contrast=contrast, weight=0.75))
    heads = {"retrieval": predictions, "reconstruction": targets + 1.0}
    found = loss(heads, targets, torch.arange(6))
    assert found["mse"].item() == pytest.approx(1.0)
    torch.testing.assert_close(found["loss"], 0.75 * found["contrast"] + 0.25 * found["mse"])
    alone = loss({"retrieval": predictions}, targets, torch.arange(6))
    torch.testing.assert_close(alone["contrast"], found["contrast"])


def test_the_contrast_of_unit_vectors_does_not_know_their_length() -> None:
    predictions, targets = batch()
    for normalise, same in (("both", True), ("images", False)):
        loss = DecodingLoss(LossSettings(weight=1.0, normalise=normalise))
        short, long = (loss({"a": k * predictions}, targets, torch.arange(6))["loss"] for k in (1.0, 3.0))
        assert torch.allclose(short, long) is same
        scaled = loss({"a": predictions}, 5 * targets, torch.arange(6))["contrast"]
        torch.testing.assert_close(scaled, short)


def test_temperature_is_learned() -> None:
    predictions, targets = batch()
    loss = DecodingLoss(LossSettings())
    loss({"a": predictions}, targets, torch.arange(6))["loss"].backward()
    assert loss.log_scale.grad is not None
    assert loss.log_scale.grad.abs() > 0
    assert loss.log_scale.exp().item() == pytest.approx(1 / 0.07)
