from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from index_decoder import index_channels, index_manifest, placed_channels, write_index_decoder
from onnx import TensorProto, helper

from rtdecode.contracts import Channel
from rtdecode.decoder import MANIFEST_KEY, MOST_TOGETHER, Decoder
from rtdecode.errors import MismatchError, UserError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_index_decoder(tmp_path / "index.onnx")
    return tmp_path / "index.onnx"


def test_runs_a_batch_through_the_graph(path: Path) -> None:
    windows = np.arange(2 * 21 * 3, dtype=np.float32).reshape(2, 21, 3)
    embedding = Decoder(path).run(windows)["embedding"]
    np.testing.assert_array_equal(embedding, [[0, 60], [63, 123]])


def test_windows_are_taken_together_where_that_is_faster(path: Path, monkeypatch) -> None:
    decoder = Decoder(path)
    monkeypatch.setattr(decoder, "_seconds", lambda _: 1.0)
    decoder.warm_up()
    assert decoder.most_together == MOST_TOGETHER
    monkeypatch.setattr(decoder, "_seconds", len)
    decoder.warm_up()
    assert decoder.most_together == 1


def test_windows_are_not_taken_together_where_that_changes_a_bit(path: Path, monkeypatch) -> None:
    decoder = Decoder(path)
    run = decoder.run

    def one_bit_off(windows: np.ndarray, **more: np.ndarray) -> dict[str, np.ndarray]:
        outputs = run(windows, **more)
        if len(windows) > 5:
            outputs["embedding"][3, 0] = np.nextafter(outputs["embedding"][3, 0], np.float32(np.inf))
        return outputs

    monkeypatch.setattr(decoder, "_seconds", lambda _: 1.0)
    monkeypatch.setattr(decoder, "run", one_bit_off)
    decoder.warm_up()
    assert decoder.most_together == 5


def test_a_decoder_that_shifts_is_tried_with_residuals_and_takes_none_for_zero(
    tmp_path: Path, monkeypatch
) -> None:
    write_index_decoder(tmp_path / "d.onnx", index_manifest(shift_residual=True))
    decoder = Decoder(tmp_path / "d.onnx")
    windows = np.zeros((2, 21, 3), np.float32)
    np.testing.assert_array_equal(decoder.run(windows)["embedding"], 0.0)
    found = decoder.run(windows, residual_s=[0.25, -0.125])["embedding"]
    np.testing.assert_array_equal(found, [[0.25, 0.25], [-0.125, -0.125]])
    monkeypatch.setattr(decoder, "_seconds", lambda _: 1.0)
    decoder.warm_up()
    assert decoder.most_together == MOST_TOGETHER


@pytest.mark.parametrize("shifts", [False, True])
def test_a_graph_that_shifts_against_its_manifest_is_refused(tmp_path: Path, *, shifts: bool) -> None:
    path = tmp_path / "d.onnx"
    write_index_decoder(path, index_manifest(shift_residual=shifts))
    model = onnx.load(path)
    manifest = index_manifest(shift_residual=not shifts)
    helper.set_model_props(model, {MANIFEST_KEY: manifest.model_dump_json()})
    onnx.save(model, path)
    with pytest.raises(UserError, match=r"residual_s.*export the decoder again"):
        Decoder(path)


def test_a_graph_of_one_window_is_given_one(path: Path, monkeypatch) -> None:
    model = onnx.load(path)
    for value in (model.graph.input[0], *model.graph.output):
        value.type.tensor_type.shape.dim[0].Clear()
        value.type.tensor_type.shape.dim[0].dim_value = 1
    onnx.save(model, path)
    decoder = Decoder(path)
    monkeypatch.setattr(decoder, "_seconds", lambda _: 1.0)
    decoder.warm_up()
    assert decoder.most_together == 1


def test_channels_are_picked_by_name_in_any_order(path: Path) -> None:
    decoder = Decoder(path)
    offered = [Channel(name="EXTRA", type="misc", unit="1"), *reversed(index_channels())]
    binding = decoder.bind("eeg", offered, 256.0)
    samples = np.arange(8.0).reshape(2, 4)
    np.testing.assert_array_equal(binding.select(samples), samples[:, [3, 2, 1]])


def test_all_that_does_not_fit_is_said_at_once(path: Path) -> None:
    offered = [Channel(name="CH0", type="eeg", unit="T"), Channel(name="CH1", type="eog", unit="V")]
    with pytest.raises(MismatchError) as caught:
        Decoder(path).bind("eeg", offered, 512.0)
    text = str(caught.value)
    assert "\n" not in text
    for part in ("512 Hz", "256 Hz", "CH0 has unit T", "CH1 has type eog", "missing: CH2"):
        assert part in text


def test_a_missing_channel_is_rebuilt_where_the_manifest_allows(tmp_path: Path) -> None:
    channels = placed_channels()
    write_index_decoder(
        tmp_path / "d.onnx", index_manifest(channels=channels, on_missing="repair", max_missing=1)
    )
    decoder = Decoder(tmp_path / "d.onnx")
    binding = decoder.bind("eeg", channels[1:], 256.0)
    assert binding.missing == ("CH0",)
    # A field that is the same everywhere is rebuilt exactly, whatever the interpolation.
    window = binding.select(np.full((21, 4), 7.0)).astype(np.float32)[np.newaxis]
    np.testing.assert_allclose(decoder.run(window, binding.repair)["embedding"], 7.0, rtol=1e-4)
    with pytest.raises(MismatchError, match="rebuilds at most 1"):
        decoder.bind("eeg", channels[2:], 256.0)


def test_a_channel_declared_bad_is_rebuilt_like_a_missing_one(tmp_path: Path) -> None:
    channels = placed_channels(6)
    manifest = index_manifest(channels=channels, on_missing="repair", max_missing=2)
    write_index_decoder(tmp_path / "d.onnx", manifest)
    decoder = Decoder(tmp_path / "d.onnx")
    window = np.random.default_rng(0).normal(size=(1, 21, 6)).astype(np.float32)
    missing = decoder.bind("eeg", channels[1:], 256.0)
    bad = decoder.bind("eeg", channels, 256.0, ["CH0", "not of this decoder"])
    assert (bad.missing, bad.bad) == ((), ("CH0",))
    assert bad.repair is not None
    np.testing.assert_array_equal(bad.repair, missing.repair)
    assert bad.select(window[0]).tolist() == window[0].tolist()
    both = decoder.bind("eeg", channels[1:], 256.0, ["CH3"])
    assert (both.missing, both.bad) == (("CH0",), ("CH3",))
    with pytest.raises(MismatchError, match=r"declared bad: CH3, CH4 \(it rebuilds at most 2\)"):
        decoder.bind("eeg", channels[1:], 256.0, ["CH3", "CH4"])


def test_a_decoder_that_rebuilds_no_channel_refuses_bad_ones(path: Path) -> None:
    with pytest.raises(MismatchError, match=r"declared bad: CH1 \(it rebuilds none\); .*\[missing\]"):
        Decoder(path).bind("eeg", index_channels(), 256.0, ["CH1"])


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"cannot read decoder .*nothing\.onnx: No such file.*; `rtdecode train fit`"
    ):
        Decoder(tmp_path / "nothing.onnx")


@pytest.mark.parametrize("keep", [0, 1, 100, 0.9])
def test_a_truncated_file_is_refused(path: Path, keep: float) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data)) if keep < 1 else int(keep)])
    with pytest.raises(UserError, match=r"export the decoder again|no rtdecode decoder"):
        Decoder(path)


def test_a_foreign_onnx_file_is_refused(tmp_path: Path) -> None:
    info = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Neg", ["x"], ["y"])], "foreign", info[:1], info[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (tmp_path / "foreign.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(UserError, match="no rtdecode decoder"):
        Decoder(tmp_path / "foreign.onnx")


def test_a_manifest_from_the_future_is_refused(path: Path) -> None:
    model = onnx.load(path)
    text = model.metadata_props[0].value.replace('"schema_version":1', '"schema_version":2', 1)
    helper.set_model_props(model, {MANIFEST_KEY: text})
    path.write_bytes(model.SerializeToString())
    with pytest.raises(UserError, match="schema_version"):
        Decoder(path)


def test_a_graph_that_contradicts_its_manifest_is_refused(path: Path) -> None:
    model = onnx.load(path)
    helper.set_model_props(model, {MANIFEST_KEY: index_manifest(window=(0, 30)).model_dump_json()})
    path.write_bytes(model.SerializeToString())
    with pytest.raises(UserError, match="contradicts its manifest"):
        Decoder(path)
