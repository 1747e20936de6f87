from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from replay.datasets.encoder import BuiltinEncoder
from rtdecode.errors import UserError, validation_line
from training.encoders.settings import TargetSettings, TargetsFile


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ({"encoder": "clip"}, "encoder 'clip' is none of"),
        ({"encoder": "open_clip:"}, "is none of"),
        ({"encoder": "builtin:x"}, "is none of"),
        ({"batch": 3}, 'encoder = "builtin" does not take batch: leave it out'),
        ({"encoder": "open_clip:ViT-H-14/x", "layer": 3, "pooling": "cls"}, "does not take layer, pooling"),
        ({"encoder": "open_clip:local-dir:models/x"}, "give the folder's full path"),
        ({"encoder": f"open_clip:local-dir:{Path.cwd()}", "weights": "x"}, "brings its weights"),
        ({"encoder": "timm:x", "layer": 1.5}, "layer: give the number of a block, from 1, or a fraction"),
        ({"encoder": "timm:x", "layer": 0}, "layer: give the number of a block"),
        ({"encoder": "timm:x", "pooling": "max"}, "pooling: "),
        ({"encoder": "timm:x", "precison": "float16"}, "precison: unknown key"),
    ],
)
def test_what_does_not_go_together_is_refused(keys: dict[str, Any], line: str) -> None:
    with pytest.raises(ValidationError) as caught:
        TargetSettings(**keys)
    assert line in validation_line(caught.value)


def test_a_table_says_which_encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "study.toml"
    path.write_text(
        'name = "study"\n[targets]\nencoder = "timm:vit_giant_patch14_dinov2"\n'
        'layer = 27\nweights = "w.pth"\n'
    )
    targets = TargetsFile.load(path).targets
    assert (targets.layer, targets.weights, targets.pooling) == (27, tmp_path / "w.pth", "mean")
    monkeypatch.setenv("RTDECODE_TRAIN_TARGETS__LAYER", "0.5")
    assert TargetsFile.load(path).targets.layer == 0.5
    path.write_text('name = "study"\n[target]\nencoder = "builtin"\n')
    monkeypatch.delenv("RTDECODE_TRAIN_TARGETS__LAYER")
    with pytest.raises(UserError, match=r"targets: field required"):
        TargetsFile.load(path)


def test_what_embeds_no_pictures_cannot_be_opened() -> None:
    assert isinstance(TargetSettings().open(), BuiltinEncoder)
    with pytest.raises(UserError, match="embeds no pictures"):
        TargetSettings(encoder="one_hot").open()


def test_without_the_extra_the_builtin_encoder_works_and_the_others_say_what_to_install() -> None:
    script = """
import sys
sys.modules["timm"] = None
from rtdecode.errors import UserError
from training.encoders import TargetSettings
import training.cli, training.gallery_cli
TargetSettings().open()
try:
    TargetSettings(encoder="timm:vit_giant_patch14_dinov2").open()
except UserError as error:
    print(error)
assert "torch" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "needs the extra train; install it: uv sync --extra train" in done.stdout
