"""Fitted decoder to one ONNX file, built node by node, without torch."""

from __future__ import annotations

import datetime as dt
import platform
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from rtdecode.contracts import ChannelType, DecoderManifest, Provenance, Validation
from rtdecode.decoder import MANIFEST_KEY, RESIDUAL_INPUT, SPATIAL_INPUT, WINDOW_INPUT, Decoder
from rtdecode.errors import UserError
from rtdecode.output import write_file
from rtdecode.signal.design import attenuation_db
from rtdecode.signal.repair import FEWEST_CHANNELS
from rtdecode.signal.resampling import Resampler
from training.fit import LinearDecoder, baseline_weights, split_hash

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from replay.trials import TrialSet
    from rtdecode.contracts import Head, Scaling, SignalContract
    from training.fit import Fitted

MIN_ATTENUATION_DB = 40.0
"""What the front end must take away at the new Nyquist frequency where resampling lowers the rate."""

MAX_PARITY_SD = 1e-4
"""Largest difference let through between the graph and the fit, in standard deviations of the targets."""

PARITY = "parity_max_abs_diff_sd"
"""Name, among the manifest's validation scores, of the difference found."""

PREPROCESSED = "clamped"
"""What the network of a graph starts from."""

# Read by onnxruntime 1.20 and later.
_OPSET = 17
_IR_VERSION = 9


def export(
    fitted: Fitted,
    path: Path | str,
    *,
    name: str,
    dataset: str,
    validation: Validation | None = None,
    max_missing: int = 0,
) -> DecoderManifest:
    """Write a fitted decoder to one ONNX file with its manifest, and check it against the fit.

    Parameters
    ----------
    fitted
        From :func:`training.fit.fit`.
    path
        The file to write; one that lies there is replaced at the very end.
    name
        How results name this decoder.
    dataset
        Where the recordings come from, for the manifest.
    validation
        Scores on trials that the fit never saw; the cross-validation's where None.
    max_missing
        How many channels that a stream lacks may be rebuilt from their neighbours; with 0 such a stream is
        refused.

    Returns
    -------
    DecoderManifest
        As it stands in the file, with the largest difference between graph and fit among its scores.

    Raises
    ------
    UserError
        If a number is not finite, the front end lets alias, channels cannot be rebuilt, there is no native
        window to check on, the graph differs from the fit, or the file cannot be written.
    """
    decoder = fitted.decoder
    for what in ("weights", "bias", "center", "scale"):
        check_finite(what, getattr(decoder, what))
    return write_decoder(
        path,
        build_graph(decoder),
        fitted.trials,
        decoder.signal,
        decoder.scaling,
        {decoder.head: decoder},
        name=name,
        max_missing=max_missing,
        provenance=provenance(fitted.trials, dataset, "ridge", fitted.fold_rule),
        validation=validation
        or Validation(
            split="cross-validation of the training trials",
            n_trials=len(fitted.trials),
            scores={} if fitted.r2 is None else {"r2": fitted.r2},
        ),
    )


def write_decoder(
    path: Path | str,
    model: onnx.ModelProto,
    trials: TrialSet,
    signal: SignalContract,
    scaling: Scaling,
    heads: Mapping[Head, Callable[[np.ndarray], np.ndarray]],
    *,
    name: str,
    max_missing: int,
    provenance: Provenance,
    validation: Validation,
) -> DecoderManifest:
    """Check a graph against the fit that it comes from, and write it with its manifest.

    Parameters
    ----------
    path, name, max_missing
        See :func:`export`.
    model
        From native-rate windows to the heads.
    trials
        Training trials, some with native windows.
    signal, scaling, provenance, validation
        For the manifest.
    heads
        The outputs, and what the fit says of windows ``(n, n_times, n_channels)`` there.

    Raises
    ------
    UserError
        See :func:`export`.
    """
    check_antialias(signal)
    check_repair(signal, max_missing)
    difference = _difference_sd(model, trials, heads)
    manifest = DecoderManifest(
        name=name,
        signal=signal,
        scaling=scaling,
        on_missing="repair" if max_missing else "refuse",
        max_missing=max_missing,
        heads=tuple(heads),
        provenance=provenance,
        validation=validation.model_copy(update={"scores": {**validation.scores, PARITY: difference}}),
        simulated=trials.simulated,
    )
    helper.set_model_props(model, {MANIFEST_KEY: manifest.model_dump_json()})
    onnx.checker.check_model(model, full_check=True)
    write_file(Path(path), model.SerializeToString())
    return manifest


def check_finite(what: str, numbers: np.ndarray) -> None:
    """Refuse a decoder that would answer nothing.

    Raises
    ------
    UserError
        If one of its numbers is NaN or infinite.
    """
    if not np.isfinite(numbers).all():
        raise UserError(f"the decoder's {what} hold NaN or infinity: look for broken trials, and fit again")


def read_decoder(path: Path | str) -> tuple[LinearDecoder, DecoderManifest]:
    """Read an exported linear decoder back, to predict from the windows of a TrialSet.

    Raises
    ------
    UserError
        If the file is missing, is no decoder, or no linear one.
    """
    manifest = Decoder(Path(path)).manifest
    numbers = {
        tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(Path(path)).graph.initializer
    }
    parts = ("center", "scale", "weights", "bias")
    if len(manifest.heads) != 1 or not all(part in numbers for part in parts):
        raise UserError(f"{path} is no linear decoder made by 'rtdecode train fit'")
    decoder = LinearDecoder(
        signal=manifest.signal,
        scaling=manifest.scaling,
        head=manifest.heads[0],
        **{part: numbers[part] for part in parts},
    )
    return decoder, manifest


def check_antialias(signal: SignalContract) -> None:
    """Refuse a front end that would let alias what resampling cannot hold.

    Raises
    ------
    UserError
        If resampling lowers the rate, and the front end attenuates by less than 40 dB at the new Nyquist.
    """
    nyquist_hz = signal.resampling.rate_hz / 2
    if signal.resampling.rate_hz >= signal.rate_hz:
        return
    found = attenuation_db(signal.front_end, signal.rate_hz, nyquist_hz)
    if found < MIN_ATTENUATION_DB:
        raise UserError(
            f"resampling to {2 * nyquist_hz:g} Hz would alias: from {nyquist_hz:g} Hz on the front end "
            f"attenuates by {found:.0f} dB, not by {MIN_ATTENUATION_DB:.0f}; lower lowpass_hz, raise the "
            'order, use family = "cheby2", or raise resample_hz'
        )


def check_repair(signal: SignalContract, max_missing: int) -> None:
    """Refuse to promise the repair of channels that could not be rebuilt live.

    Raises
    ------
    UserError
        If channels are to be rebuilt that are no EEG, or whose position is unknown, or from too few others.
    """
    if not max_missing:
        return
    way_out = 'leave out channels = "repair"'
    if other := [channel.name for channel in signal.channels if channel.type is not ChannelType.EEG]:
        raise UserError(f"only EEG channels can be rebuilt, {', '.join(other)} are none: {way_out}")
    if lost := [channel.name for channel in signal.channels if channel.position_m is None]:
        raise UserError(
            f"the recordings give no position of {', '.join(lost)}, so channels cannot be rebuilt: {way_out}"
        )
    if len(signal.channels) - max_missing < FEWEST_CHANNELS:
        raise UserError(
            f"rebuilding {max_missing} of {len(signal.channels)} channels leaves fewer than "
            f"{FEWEST_CHANNELS} to do it from: lower max, or {way_out}"
        )


def build_graph(decoder: LinearDecoder) -> onnx.ModelProto:
    """Graph from native-rate windows ``(batch, n_samples, n_channels)`` to embeddings ``(batch, dim)``.

    What :func:`preprocessing` says, then flattening, linear map, and from standardised targets to raw units.
    """
    nodes, constants = preprocessing(decoder.signal, decoder.scaling, decoder.center, decoder.scale)
    constants |= {
        "weights": decoder.weights,
        "bias": decoder.bias,
        "target_sd": np.array(decoder.head.target_sd),
        "target_mean": np.array(decoder.head.target_mean),
    }
    nodes += [
        helper.make_node("Flatten", [PREPROCESSED], ["flat"], axis=1),
        helper.make_node("Gemm", ["flat", "weights", "bias"], ["standardised"]),
        helper.make_node("Mul", ["standardised", "target_sd"], ["spread"]),
        helper.make_node("Add", ["spread", "target_mean"], [decoder.head.name]),
    ]
    return as_model(nodes, constants, decoder.signal, [decoder.head])


def preprocessing(
    signal: SignalContract, scaling: Scaling, center: np.ndarray, scale: np.ndarray
) -> tuple[list[onnx.NodeProto], dict[str, np.ndarray]]:
    """Nodes and constants from the window to the network's input ``(batch, n_times, n_channels)``.

    Resampling, shifted where the contract says so, spatial matrix, baseline, scaling, clamp. The spatial
    matrix is the identity; it is an input with a default, so that it may be overridden at run time.
    """
    nodes, constants = _resampling(signal)
    constants |= {
        SPATIAL_INPUT: np.eye(len(signal.channels)),
        "center": center,
        "scale": scale,
        "clamp_low": np.array(-scaling.clamp),
        "clamp_high": np.array(scaling.clamp),
    }
    nodes += [helper.make_node("MatMul", ["resampled", SPATIAL_INPUT], ["projected"])]
    last = "projected"
    baseline = baseline_weights(signal, scaling.baseline_s)
    if baseline is not None:
        constants["baseline"] = baseline[None]
        nodes += [
            helper.make_node("MatMul", ["baseline", last], ["baseline_mean"]),
            helper.make_node("Sub", [last, "baseline_mean"], ["corrected"]),
        ]
        last = "corrected"
    nodes += [
        helper.make_node("Sub", [last, "center"], ["centred"]),
        helper.make_node("Div", ["centred", "scale"], ["scaled"]),
        helper.make_node("Clip", ["scaled", "clamp_low", "clamp_high"], [PREPROCESSED]),
    ]
    return nodes, constants


def _resampling(signal: SignalContract) -> tuple[list[onnx.NodeProto], dict[str, np.ndarray]]:
    """Nodes and constants of the :class:`~rtdecode.signal.resampling.Resampler`, from window to resampled."""
    resampler = Resampler(signal)
    constants = {"resampling": resampler.matrices[0]}
    apply = helper.make_node("MatMul", ["resampling", WINDOW_INPUT], ["resampled"])
    if not signal.resampling.shift_residual:
        return [apply], constants
    constants |= {
        "resampling_1": resampler.matrices[1],
        "resampling_2": resampler.matrices[2],
        "residual_low": np.array(-resampler.longest_s),
        "residual_high": np.array(resampler.longest_s),
    }
    nodes = [
        helper.make_node("Clip", [RESIDUAL_INPUT, "residual_low", "residual_high"], ["held"]),
        helper.make_node("Constant", [], ["last_two"], value_ints=[1, 2]),
        helper.make_node("Unsqueeze", ["held", "last_two"], ["residual"]),
        helper.make_node("Mul", ["residual", "resampling_2"], ["curved"]),
        helper.make_node("Add", ["curved", "resampling_1"], ["slope"]),
        helper.make_node("Mul", ["residual", "slope"], ["shift"]),
        helper.make_node("Add", ["shift", "resampling"], ["shifted"]),
        helper.make_node("MatMul", ["shifted", WINDOW_INPUT], ["resampled"]),
    ]
    return nodes, constants


def as_model(
    nodes: Sequence[onnx.NodeProto],
    constants: Mapping[str, np.ndarray],
    signal: SignalContract,
    heads: Sequence[Head],
) -> onnx.ModelProto:
    """Make a model of nodes that lead from the window to the heads; its constants become float32."""
    n_channels = len(signal.channels)
    window = helper.make_tensor_value_info(
        WINDOW_INPUT, TensorProto.FLOAT, ["batch", signal.window.n_samples, n_channels]
    )
    spatial = helper.make_tensor_value_info(SPATIAL_INPUT, TensorProto.FLOAT, [n_channels, n_channels])
    inputs = [window, spatial]
    if signal.resampling.shift_residual:
        inputs.append(helper.make_tensor_value_info(RESIDUAL_INPUT, TensorProto.FLOAT, ["batch"]))
    graph = helper.make_graph(
        nodes,
        "rtdecode",
        inputs,
        [helper.make_tensor_value_info(h.name, TensorProto.FLOAT, ["batch", h.space.dim]) for h in heads],
        [numpy_helper.from_array(np.asarray(v, dtype=np.float32), k) for k, v in constants.items()],
    )
    return helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", _OPSET)],
        ir_version=_IR_VERSION,
        producer_name="rtdecode",
    )


def _difference_sd(
    model: onnx.ModelProto, trials: TrialSet, heads: Mapping[Head, Callable[[np.ndarray], np.ndarray]]
) -> float:
    """Largest difference between graph and fit on real training windows, in SD of the targets."""
    rows, native = trials.native_windows()
    if not len(rows):
        raise UserError(
            f"{trials.path} keeps no native windows of the training trials to check the decoder on: "
            "prepare the recordings again"
        )
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    feed = {WINDOW_INPUT: native}
    if trials.signal.resampling.shift_residual:
        residual_us = trials.trials["residual_us"].to_numpy(np.float64, na_value=0.0)
        feed[RESIDUAL_INPUT] = (1e-6 * residual_us[rows]).astype(np.float32)
    windows = trials.windows(rows)
    largest = 0.0
    for found, (head, fit) in zip(
        session.run([head.name for head in heads], feed), heads.items(), strict=True
    ):
        sd = np.array(head.target_sd)
        largest = max(largest, float((np.abs(found - fit(windows)) / np.where(sd > 0, sd, 1.0)).max()))
    if not largest <= MAX_PARITY_SD:
        raise UserError(
            f"the ONNX graph differs from the fit by {largest:.1e} SD, more than {MAX_PARITY_SD:g}: "
            "offsets in the signal cost single precision its digits; give a highpass_hz"
        )
    return largest


def provenance(
    trials: TrialSet, dataset: str, model: str, fold_rule: str, packages: Sequence[str] = ()
) -> Provenance:
    """Where a decoder of these trials comes from; ``packages`` are those that fitted it besides the usual."""
    return Provenance(
        dataset=dataset,
        subjects=tuple(sorted(name for name in trials.trials["subject"].unique() if name)),
        split_sha256=split_hash(trials.trials),
        n_trials=len(trials),
        hours=trials.hours,
        model=model,
        fold_rule=fold_rule,
        created=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        versions=versions("scipy", "onnx", *packages),
        marker_delay_s=trials.extras.get("marker_delay_s", 0.0),
        stream_delay_s=trials.extras.get("stream_delay_s", 0.0),
    )


def versions(*packages: str) -> dict[str, str]:
    """Versions of Python, of this project, of NumPy and of these packages."""
    named = {package: version(package) for package in ("rtdecode", "numpy", *packages)}
    return {"python": platform.python_version(), **named}
