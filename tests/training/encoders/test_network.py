from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("torch")
pytest.importorskip("timm")

import huggingface_hub.constants
import open_clip
import timm
import torch
from safetensors.torch import load_file, save_file

from replay.datasets.encoder import open_picture
from rtdecode.errors import UserError
from training.encoders import TargetSettings
from training.encoders.clip import _architecture
from training.encoders.network import NetworkEncoder

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Make = Callable[..., Path]


@pytest.fixture
def open_encoder(tmp_path: Path) -> Callable[..., NetworkEncoder]:
    """Opens an encoder with a cache of its own, unless one is named."""
    folders = (tmp_path / f"cache{index}" for index in range(100))

    def opened(encoder: str, **keys: Any) -> NetworkEncoder:
        made = TargetSettings(encoder=encoder, **{"cache": next(folders), **keys}).open()
        assert isinstance(made, NetworkEncoder)
        return made

    return opened


def _refused(open_encoder: Callable[..., NetworkEncoder], encoder: str, **keys: Any) -> str:
    with pytest.raises(UserError) as caught:
        open_encoder(encoder, **keys)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def _count_embedded(
    encoder: NetworkEncoder, monkeypatch: pytest.MonkeyPatch, stop_after: int = 1000
) -> list[int]:
    """Sizes of the batches that go through the network; Ctrl-C comes after some of them."""
    sizes: list[int] = []
    run = encoder._run

    def counted(inputs: torch.Tensor) -> np.ndarray:
        if len(sizes) == stop_after:
            raise KeyboardInterrupt
        sizes.append(len(inputs))
        return run(inputs)

    monkeypatch.setattr(encoder, "_run", counted)
    return sizes


def test_clip_projections_are_those_of_open_clip_raw(
    make_clip: Make, pictures: list[Path], open_encoder: Callable[..., NetworkEncoder]
) -> None:
    folder = make_clip()
    encoder = open_encoder(f"open_clip:local-dir:{folder}")
    model, _, prepare = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    model.eval()
    with torch.inference_mode():
        inputs = torch.stack([prepare(open_picture(path)) for path in pictures])
        expected = model.encode_image(inputs, normalize=False).numpy()
    embeddings = encoder.encode(pictures)
    np.testing.assert_allclose(embeddings, expected, atol=1e-6)
    assert np.ptp(np.linalg.norm(embeddings, axis=1)) > 1e-3
    space = encoder.space
    assert (space.dim, space.layer, space.pooling, space.normalisation) == (
        12,
        "image projection",
        "cls",
        "none",
    )
    assert space.preprocessing == (
        "sRGB, upright, transparency on white; short side to 32 px bicubic, centre crop 32 x 32 px; "
        "mean (0.5, 0.4, 0.3), SD (0.2, 0.25, 0.3)"
    )
    assert str(folder) not in space.model_dump_json()


@pytest.mark.parametrize(
    ("layer", "block", "pooling"), [(0.67, 4, "mean"), (1, 1, "cls"), (6, 6, "mean_patches")]
)
def test_a_layer_is_the_output_of_that_block_pooled(
    make_vit: Make,
    pictures: list[Path],
    open_encoder: Callable[..., NetworkEncoder],
    layer: float,
    block: int,
    pooling: str,
) -> None:
    weights = make_vit()
    encoder = open_encoder("timm:test_vit.r160_in1k", weights=weights, layer=layer, pooling=pooling)
    network = timm.create_model("test_vit").eval()
    network.load_state_dict(load_file(weights))
    prepare = timm.data.create_transform(**timm.data.resolve_data_config({}, model=network))
    seen: list[torch.Tensor] = []
    network.blocks[block - 1].register_forward_hook(lambda _, __, tokens: seen.append(tokens))
    with torch.inference_mode():
        final = network.forward_features(torch.stack([prepare(open_picture(path)) for path in pictures]))
    tokens = final if block == 6 else seen[0]
    pooled = {"mean": tokens.mean(1), "cls": tokens[:, 0], "mean_patches": tokens[:, 1:].mean(1)}[pooling]
    np.testing.assert_allclose(encoder.encode(pictures), pooled.numpy(), atol=2e-6)
    assert encoder.space.encoder == "timm:test_vit"
    assert encoder.space.pooling == pooling
    assert encoder.space.layer == f"block {block} of 6" + (", after the final norm" if block == 6 else "")
    assert "short side to 168 px bicubic, centre crop 160 x 160 px" in encoder.space.preprocessing


def test_convolutional_networks_are_pooled_over_the_picture(
    make_vit: Make, pictures: list[Path], open_encoder: Callable[..., NetworkEncoder]
) -> None:
    keys = {"weights": make_vit(model="test_convnext"), "layer": 3}
    encoder = open_encoder("timm:test_convnext", **keys)
    assert encoder.encode(pictures).shape == (len(pictures), encoder.space.dim)
    assert "has no class token" in _refused(open_encoder, "timm:test_convnext", pooling="cls", **keys)


def test_batch_order_and_cache_leave_no_trace(
    make_vit: Make, pictures: list[Path], open_encoder: Callable[..., NetworkEncoder], tmp_path: Path
) -> None:
    keys = {"weights": make_vit()}
    expected = open_encoder("timm:test_vit", batch=1, **keys).encode(pictures)
    shuffled = np.random.default_rng(1).permutation(len(pictures))
    shared = tmp_path / "shared"
    for batch in (3, 32):
        for _ in range(2):  # embedded, and read from the cache
            encoder = open_encoder("timm:test_vit", batch=batch, cache=shared / str(batch), **keys)
            got = encoder.encode([pictures[index] for index in shuffled])
            np.testing.assert_allclose(got, expected[shuffled], atol=1e-6)
    opened = [open_picture(path) for path in pictures]
    np.testing.assert_allclose(encoder.encode(opened), expected, atol=1e-6)
    np.testing.assert_allclose(encoder.encode(np.asarray(picture) for picture in opened), expected, atol=1e-6)


def test_what_was_embedded_before_an_interruption_is_not_embedded_again(
    make_vit: Make,
    pictures: list[Path],
    open_encoder: Callable[..., NetworkEncoder],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    keys = {"weights": make_vit(), "batch": 4, "cache": tmp_path / "shared"}
    interrupted = open_encoder("timm:test_vit", **keys)
    sizes = _count_embedded(interrupted, monkeypatch, stop_after=1)
    with pytest.raises(KeyboardInterrupt):
        interrupted.encode(pictures)
    assert sizes == [4]
    moved = [shutil.copy(path, tmp_path / f"copy-{path.name}") for path in pictures]
    encoder = open_encoder("timm:test_vit", **keys)
    sizes = _count_embedded(encoder, monkeypatch)
    embeddings = encoder.encode(moved)
    assert sizes == [4, 3]
    assert encoder.encode(pictures) == pytest.approx(embeddings, abs=0)
    assert sizes == [4, 3]


def test_other_weights_layer_size_or_precision_is_another_space_and_another_place_is_not(
    make_vit: Make, make_clip: Make, open_encoder: Callable[..., NetworkEncoder], tmp_path: Path
) -> None:
    weights = make_vit()
    space = open_encoder("timm:test_vit", weights=weights).space
    moved = shutil.copy(weights, tmp_path / "elsewhere.safetensors")
    torch.save({"state_dict": load_file(weights)}, tmp_path / "packed.pth")
    for same in (moved, tmp_path / "packed.pth"):
        assert open_encoder("timm:test_vit.r160_in1k", weights=same, batch=7).space == space
    for other in (
        {"weights": make_vit(seed=1)},
        {"layer": 2},
        {"pooling": "cls"},
        {"size_px": 64},
        {"precision": "bfloat16"},
    ):
        assert open_encoder("timm:test_vit", **{"weights": weights, **other}).space != space
    clip = open_encoder(f"open_clip:local-dir:{make_clip()}").space
    assert open_encoder(f"open_clip:local-dir:{make_clip()}").space == clip
    assert open_encoder(f"open_clip:local-dir:{make_clip(seed=1)}").space != clip
    assert open_encoder(f"open_clip:local-dir:{make_clip(interpolation='bilinear')}").space != clip


def test_a_published_tag_says_how_pictures_are_prepared_and_a_file_may_stand_for_its_weights(
    make_clip: Make,
    open_encoder: Callable[..., NetworkEncoder],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = make_clip()
    configuration = json.loads((folder / "open_clip_config.json").read_text())["model_cfg"]
    (tmp_path / "Tiny.json").write_text(json.dumps(configuration))
    open_clip.add_model_config(tmp_path / "Tiny.json")
    tags = {"ours": {"mean": (0.1, 0.2, 0.3), "std": (1.0, 1.0, 1.0), "quick_gelu": True, "hf_hub": "a/b/"}}
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, "Tiny", tags)
    try:
        weights = folder / "open_clip_model.safetensors"
        plain = open_encoder("open_clip:Tiny", weights=weights)
        tagged = open_encoder("open_clip:Tiny/ours", weights=weights)
        assert "mean (0.1, 0.2, 0.3)" in tagged.space.preprocessing
        assert plain.space.encoder == "open_clip:Tiny"
        assert tagged.space.encoder != plain.space.encoder  # quick GELU
        assert open_encoder(f"open_clip:local-dir:{folder}").space.encoder == "open_clip:Tiny"
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
        line = _refused(open_encoder, "open_clip:Tiny/ours")
        assert "copy a/b of the Hugging Face hub to this machine and set weights" in line
        assert "no weights 'theirs'; there are ours" in _refused(open_encoder, "open_clip:Tiny/theirs")
        assert "name its weights, as in open_clip:Tiny/ours" in _refused(open_encoder, "open_clip:Tiny")
    finally:
        open_clip.factory._MODEL_CONFIGS.pop("Tiny")
        open_clip.factory._MODEL_CONFIG_PATHS.remove(tmp_path / "Tiny.json")


def test_an_image_tower_has_one_name_whatever_stands_beside_it() -> None:
    for name in ("ViT-H-14", "ViT-bigG-14", "ViT-L-14", "ViT-L-14-quickgelu", "ViT-SO400M-14-SigLIP-384"):
        assert _architecture(open_clip.get_model_config(name)) == name
    assert _architecture(open_clip.get_model_config("roberta-ViT-B-32")) == "ViT-B-32-quickgelu"


def test_mixed_precision_is_near(
    make_vit: Make, pictures: list[Path], open_encoder: Callable[..., NetworkEncoder]
) -> None:
    keys = {"weights": make_vit()}
    exact = open_encoder("timm:test_vit", **keys).encode(pictures)
    mixed = open_encoder("timm:test_vit", precision="bfloat16", **keys).encode(pictures)
    assert 0 < np.abs(mixed - exact).max() < 0.1 * exact.std()


def test_weights_that_are_not_there_or_do_not_fit_are_told(
    make_vit: Make,
    make_clip: Make,
    open_encoder: Callable[..., NetworkEncoder],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    giant = "timm:test_vit.r160_in1k"
    assert "copy timm/test_vit.r160_in1k of the Hugging Face hub" in _refused(open_encoder, giant)
    assert "there is no file of weights" in _refused(open_encoder, giant, weights=tmp_path / "lost.pth")
    (tmp_path / "torn.safetensors").write_bytes(make_vit().read_bytes()[:1000])
    assert "cannot be loaded" in _refused(open_encoder, giant, weights=tmp_path / "torn.safetensors")
    partly = load_file(make_vit())
    del partly["blocks.5.attn.qkv.weight"]
    save_file(partly, tmp_path / "partly.safetensors")
    assert "cannot be loaded" in _refused(open_encoder, giant, weights=tmp_path / "partly.safetensors")
    assert "cannot be loaded" in _refused(open_encoder, "timm:test_vit2", weights=make_vit())
    assert "did you mean" in _refused(open_encoder, "timm:test_vitt")
    assert "has 6 blocks: there is no layer 7" in _refused(open_encoder, giant, weights=make_vit(), layer=7)
    assert "knows no model 'ViT-Q-14'; did you mean" in _refused(open_encoder, "open_clip:ViT-Q-14/x")
    empty = make_clip()
    (empty / "open_clip_model.safetensors").unlink()
    assert "cannot load the weights" in _refused(open_encoder, f"open_clip:local-dir:{empty}")
    (empty / "open_clip_config.json").write_text("{}")
    assert "is no configuration of open_clip" in _refused(open_encoder, f"open_clip:local-dir:{empty}")
    assert "cannot read" in _refused(open_encoder, f"open_clip:local-dir:{tmp_path}")


def test_a_picture_that_cannot_be_embedded_is_named(
    make_vit: Make, pictures: list[Path], open_encoder: Callable[..., NetworkEncoder], tmp_path: Path
) -> None:
    encoder = open_encoder("timm:test_vit", weights=make_vit())
    torn = tmp_path / "torn.png"
    torn.write_bytes(pictures[0].read_bytes()[:200])
    with pytest.raises(UserError, match=r"torn\.png: cannot be read as a picture"):
        encoder.encode([*pictures, torn])
    with pytest.raises(UserError, match=r"lost\.png: no such picture"):
        encoder.encode([tmp_path / "lost.png"])
    broken = load_file(make_vit())
    broken["pos_embed"][:] = torch.nan
    save_file(broken, tmp_path / "broken.safetensors")
    encoder = open_encoder("timm:test_vit", weights=tmp_path / "broken.safetensors")
    with pytest.raises(UserError, match=r"embedding of .*0\.png holds NaN"):
        encoder.encode(pictures)


def test_turned_and_transparent_pictures_are_seen_as_everywhere(
    make_clip: Make, pictures: list[Path], open_encoder: Callable[..., NetworkEncoder], tmp_path: Path
) -> None:
    encoder = open_encoder(f"open_clip:local-dir:{make_clip()}")
    for path in pictures[-2:]:
        flat = tmp_path / "flat.png"
        open_picture(path).save(flat)
        np.testing.assert_allclose(encoder.encode([path]), encoder.encode([flat]), atol=1e-6)
    with Image.open(pictures[-1]) as raw:
        assert raw.size != open_picture(pictures[-1]).size
