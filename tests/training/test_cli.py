from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image
from small_networks import save_clip

from replay.trials import TrialSet
from rtdecode.decoder import Decoder
from rtdecode.errors import MismatchError, UserError
from rtdecode.gallery import Gallery, Retriever
from training.cli import train
from training.gallery_cli import gallery

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = """
name = "study"
output = "out"

[[recordings]]
path = "run1.csv"
run = "1"
units = "uV"
rate_hz = 100.0

[[recordings]]
path = "run2.csv"
run = "2"
units = "uV"
rate_hz = 100.0

[[recordings]]
path = "run3.csv"
run = "3"
units = "uV"
rate_hz = 100.0

[markers]
table = "stimuli.csv"
key = "code"

[signal]
highpass_hz = 1.0
tmin_s = 0.0
tmax_s = 0.2

[model]
penalties = [1.0, 100.0, 10000.0]

[split]
test_runs = ["3"]
"""


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Three runs of two pictures that move two channels in opposite directions."""
    rng = np.random.default_rng(0)
    for name, colour in (("one.png", (250, 20, 20)), ("two.png", (10, 10, 240))):
        Image.new("RGB", (64, 64), colour).save(tmp_path / name)
    (tmp_path / "stimuli.csv").write_text("code,stimulus_id,image\n1,one,one.png\n2,two,two.png\n")
    for run in (1, 2, 3):
        samples = 10 * rng.normal(size=(1500, 2))
        marker = np.zeros(1500, dtype=int)
        for onset in range(300, 1450, 40):
            marker[onset] = rng.integers(1, 3)
            samples[onset + 8 : onset + 14] += (8 if marker[onset] == 1 else -8) * np.array([1, -1])
        rows = [f"{a:.3f},{b:.3f},{m}" for (a, b), m in zip(samples, marker, strict=True)]
        (tmp_path / f"run{run}.csv").write_text("\n".join(["Cz,Pz,Marker", *rows]) + "\n")
    (tmp_path / "study.toml").write_text(CONFIG)
    return tmp_path


def _run(study: Path, command: str) -> dict[str, Any]:
    path = study / f"{command}.json"
    result = CliRunner().invoke(train, [command, str(study / "study.toml"), "--json", str(path)])
    if result.exception:
        raise result.exception
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def _output(study: Path, command: str) -> Result:
    return CliRunner().invoke(train, [command, str(study / "study.toml")])


def test_prepare_fit_evaluate(study: Path) -> None:
    prepared = _run(study, "prepare")
    assert prepared["n_trials"] == 87
    assert prepared["left_out"] == {}
    assert prepared["hours"] > 0
    assert not prepared["simulated"]

    fitted = _run(study, "fit")
    assert fitted["n_trials"] == 58
    assert fitted["fold_rule"] == "by run: 2 runs in 2 folds"
    assert fitted["scores"]["parity_max_abs_diff_sd"] < 1e-4
    assert sum(fitted["penalties"].values()) == 64
    manifest = Decoder(study / "out" / "study.onnx").manifest
    assert manifest.name == "study"
    assert manifest.provenance.split_sha256 == fitted["split_sha256"]

    scores = _run(study, "evaluate")
    assert scores["n_test"] == 29
    assert scores["auc"] > 0.8
    assert scores["folds"][0]["contrast"] == ["one", "two"]
    assert scores["folds"][0]["top5"] is None
    assert "one (positive) against two" in _output(study, "evaluate").output
    assert sorted(path.name for path in (study / "out").iterdir()) == ["study.onnx", "trials"]


def test_leaving_one_run_out_prints_each_and_the_mean(study: Path) -> None:
    text = CONFIG.replace('test_runs = ["3"]', 'leave_one_out = "run"')
    (study / "study.toml").write_text(text)
    _run(study, "prepare")
    scores = _run(study, "evaluate")
    assert [fold["held_out"] for fold in scores["folds"]] == ["1", "2", "3"]
    assert scores["auc"] == pytest.approx(np.mean([fold["auc"] for fold in scores["folds"]]))
    assert "mean" in _output(study, "evaluate").output
    assert _run(study, "fit")["n_trials"] == 87


def test_the_split_may_be_the_last_session(study: Path) -> None:
    text = CONFIG.replace('test_runs = ["3"]', 'column = "split_future_session"')
    (study / "study.toml").write_text(text.replace('run = "3"', 'run = "3"\nsession = "later"'))
    _run(study, "prepare")
    assert _run(study, "fit")["n_trials"] == 58
    assert _run(study, "evaluate")["n_test"] == 29


def test_a_step_out_of_order_is_told(study: Path) -> None:
    with pytest.raises(UserError, match="rtdecode train prepare"):
        _run(study, "fit")
    _run(study, "prepare")
    with pytest.raises(UserError, match="rtdecode train fit"):
        _run(study, "evaluate")
    _run(study, "fit")
    (study / "study.toml").write_text(CONFIG.replace('test_runs = ["3"]', 'test_runs = ["2"]'))
    with pytest.raises(UserError, match="fitted on other trials"):
        _run(study, "evaluate")
    (study / "study.toml").write_text(CONFIG.replace("tmax_s = 0.2", "tmax_s = 0.3"))
    for command in ("fit", "evaluate"):
        with pytest.raises(UserError, match="prepared with other settings"):
            _run(study, command)
    assert not (study / "evaluate.json").exists()


def test_a_delay_stated_reaches_the_decoder(study: Path) -> None:
    text = CONFIG.replace('key = "code"', 'key = "code"\ndelay_s = 0.03\ndelay_measured = 2026-01-31')
    text = text.replace("rate_hz = 100.0", "rate_hz = 100.0\ndelay_s = 0.01")
    (study / "study.toml").write_text(text)
    _run(study, "prepare")
    trials = TrialSet.open(study / "out" / "trials")
    assert trials.trials["onset_sample"].iloc[0] == 304
    _run(study, "fit")
    provenance = Decoder(study / "out" / "study.onnx").manifest.provenance
    assert (provenance.marker_delay_s, provenance.stream_delay_s) == (0.03, 0.01)


def test_markers_out_of_step_are_shown(study: Path) -> None:
    codes = [
        row.rsplit(",", 1)[1]
        for run in (1, 2, 3)
        for row in (study / f"run{run}.csv").read_text().splitlines()[1:]
        if not row.endswith(",0")
    ]
    del codes[3]
    names = {"1": "one", "2": "two"}
    rows = [f"{code},{names[code]},{names[code]}.png" for code in codes]
    (study / "stimuli.csv").write_text("\n".join(["code,stimulus_id,image", *rows]) + "\n")
    (study / "study.toml").write_text(CONFIG.replace('key = "code"', 'key = "order"'))
    assert "out of step: trigger " in _output(study, "prepare").output
    assert _run(study, "prepare")["mismatches"] >= 1


def test_aliasing_is_refused_before_the_fit(study: Path) -> None:
    (study / "study.toml").write_text(CONFIG.replace("[model]", "resample_hz = 50.0\n[model]"))
    _run(study, "prepare")
    with pytest.raises(UserError, match="would alias"):
        _run(study, "fit")
    assert not (study / "out" / "study.onnx").exists()


def test_a_repair_that_cannot_be_is_refused_before_the_fit(study: Path) -> None:
    _run(study, "prepare")
    text = CONFIG.replace("[split]", '[missing]\nchannels = "repair"\nmax = 1\n[split]')
    (study / "study.toml").write_text(text)
    with pytest.raises(UserError, match="no position of Cz, Pz"):
        _run(study, "fit")


def test_results_that_cannot_be_written_are_told(study: Path) -> None:
    (study / "file").write_text("")
    result = CliRunner().invoke(
        train, ["prepare", str(study / "study.toml"), "--json", str(study / "file" / "out.json")]
    )
    assert isinstance(result.exception, UserError)
    assert "cannot write" in str(result.exception)


def test_warnings_reach_the_user(study: Path) -> None:
    (study / "study.toml").write_text(CONFIG.replace("[1.0, 100.0, 10000.0]", "[1e-6, 1e-5]"))
    _run(study, "prepare")
    result = _output(study, "fit")
    assert "largest penalty, 1e-05" in result.output
    assert any("widen the grid" in warning for warning in _run(study, "fit")["warnings"])


def test_categories_need_no_images_and_a_window_may_be_decoded_as_one(study: Path) -> None:
    (study / "stimuli.csv").write_text("code,stimulus_id\n1,one\n2,two\n")
    text = (study / "study.toml").read_text().replace("[model]", "[model]\naverage_times = true")
    (study / "study.toml").write_text(text + '[targets]\nencoder = "one_hot"\n')
    assert "images" not in _output(study, "prepare").output
    assert _run(study, "fit")["scores"]["parity_max_abs_diff_sd"] < 1e-4
    assert _run(study, "evaluate")["top1"] > 0.8
    (head,) = Decoder(study / "out" / "study.onnx").manifest.heads
    assert (head.space.encoder, head.space.dim) == ("one-hot", 2)


DEEP = """
[model]
kind = "fmri"
max_epochs = 3
batch = 16
network = { n_hidden = 8 }

[split]"""


def deep_study(study: Path, **changes: str) -> None:
    text = CONFIG.replace("[model]\npenalties = [1.0, 100.0, 10000.0]\n\n[split]", DEEP)
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    (study / "study.toml").write_text(text)


def test_a_deep_decoder_is_fitted_exported_and_scored(study: Path) -> None:
    pytest.importorskip("lightning", reason="needs the extra 'train'")
    deep_study(study)
    _run(study, "prepare")
    fitted = _run(study, "fit")
    assert fitted["n_trials"] == 58
    assert fitted["fold_rule"].startswith("best epoch on the last fold, by run: 2 runs in 2 folds")
    assert fitted["epochs"] == 3
    assert 1 <= fitted["best_epoch"] <= 3
    assert fitted["scores"]["parity_max_abs_diff_sd"] < 1e-4
    manifest = Decoder(study / "out" / "study.onnx").manifest
    assert [head.name for head in manifest.heads] == ["retrieval", "reconstruction"]
    assert sorted(path.name for path in (study / "out" / "study.fit").iterdir()) == [
        "curve.csv",
        "decoder.safetensors",
    ]
    scores = _run(study, "evaluate")
    assert scores["n_test"] == 29
    assert scores["heads"].keys() == {"retrieval", "reconstruction"}
    assert scores["auc"] == scores["heads"]["retrieval"]["auc"]

    deep_study(study, **{"max_epochs = 3": "max_epochs = 2"})
    with pytest.raises(UserError, match=r"was fitted with another \[model\]: run 'rtdecode train fit' again"):
        _run(study, "evaluate")


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('"fmri"', '"mlp"', "model: kind must be one of linear, meeg, fmri, not 'mlp'"),
        ('"fmri"', '"linear"', "model.max_epochs: unknown key"),
        ("n_hidden = 8", "n_hidden = 0", "model.network.n_hidden: "),
        ("max_epochs = 3", "penalties = [1.0]", "model.penalties: unknown key"),
    ],
)
def test_a_model_that_does_not_exist_is_told(study: Path, old: str, new: str, told: str) -> None:
    deep_study(study, **{old: new})
    with pytest.raises(UserError) as error:
        _run(study, "prepare")
    assert told in str(error.value)


def test_what_a_deep_decoder_lacks_is_told(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("lightning", reason="needs the extra 'train'")
    deep_study(study, **{'"fmri"': '"meeg"', "network = { n_hidden = 8 }": ""})
    _run(study, "prepare")
    with pytest.raises(UserError, match="no sensor position of Cz, Pz"):
        _run(study, "fit")
    with pytest.raises(UserError, match="no deep decoder at"):
        _run(study, "evaluate")
    monkeypatch.setitem(sys.modules, "lightning", None)
    for command in ("fit", "evaluate"):
        with pytest.raises(UserError, match="needs the extra train; install it: uv sync --extra train"):
            _run(study, command)
    assert not (study / "out" / "study.onnx").exists()


def test_a_gallery_lives_in_the_space_of_the_decoder_that_its_targets_made(study: Path) -> None:
    pytest.importorskip("open_clip")
    folder = save_clip(study / "clip")
    targets = f'[targets]\nencoder = "open_clip:local-dir:{folder.as_posix()}"\ncache = "embeddings"\n'
    (study / "study.toml").write_text(CONFIG + targets)
    _run(study, "prepare")
    assert _run(study, "fit")["scores"]["parity_max_abs_diff_sd"] < 1e-4
    assert (study / "embeddings").is_dir()
    assert _run(study, "evaluate")["auc"] > 0.8
    for name, options in (("same", ["--targets", str(study / "study.toml")]), ("builtin", [])):
        made = CliRunner().invoke(
            gallery, ["make", str(study / name), "--table", str(study / "stimuli.csv"), *options]
        )
        assert made.exit_code == 0, made.exception
    (head,) = Decoder(study / "out" / "study.onnx").manifest.heads
    same = Gallery.open(study / "same")
    assert Retriever(same, head).rank(same.embeddings[1], 2).hits[0].stimulus_id == "two"
    with pytest.raises(MismatchError, match="use a gallery made with the decoder's encoder"):
        Retriever(Gallery.open(study / "builtin"), head)


def test_a_deep_and_a_linear_decoder_are_compared(study: Path) -> None:
    pytest.importorskip("lightning", reason="needs the extra 'train'")
    _run(study, "prepare")
    with pytest.raises(UserError, match=r'needs a deep decoder: \[model\] kind = "meeg" or "fmri"'):
        _run(study, "compare")
    deep_study(study, **{'test_runs = ["3"]': 'leave_one_out = "run"'})
    found = _run(study, "compare")
    assert found["scores"].keys() == {"linear", "fmri, retrieval", "fmri, reconstruction"}
    assert found["gains"].keys() == {"fmri, retrieval", "fmri, reconstruction"}
    assert found["n_test"] == 87
    assert found["configuration"]["model"]["kind"] == "fmri"
    assert {"python", "rtdecode", "torch"} <= found["versions"].keys()
    linear = found["scores"]["linear"]["auc"]
    assert 0.5 < linear["low"] <= linear["value"] <= linear["high"] <= 1
    folder = study / "out" / "study.compare"
    assert json.loads((folder / "comparison.json").read_text()) == found
    assert sorted(path.name for path in folder.iterdir()) == [
        "comparison.json",
        *(f"fmri-{k}" for k in range(3)),
    ]
    assert (folder / "fmri-0" / "curve.csv").is_file()
