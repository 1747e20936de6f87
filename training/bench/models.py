"""Decoders to measure with: the graphs of real ones, with random weights."""

from __future__ import annotations

import datetime as dt
import platform
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import helper

from rtdecode.contracts import (
    Channel,
    ChannelType,
    DecoderManifest,
    EmbeddingSpace,
    Head,
    HeadRole,
    Provenance,
    Scaling,
    SignalContract,
    Unit,
)
from rtdecode.decoder import MANIFEST_KEY
from rtdecode.output import write_file
from training.bench.deep import random_meeg
from training.deep.graph import deep_graph
from training.export import build_graph
from training.fit import LinearDecoder
from training.networks.settings import MeegSettings
from training.prepare import SignalSettings

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

RIDGE_DIM = 1024

_SCALING = Scaling(baseline_s=None, clamp=20.0)
_HEAD_DIM = 768

_FILTER: dict[str, Any] = {
    "highpass_hz": 0.1,
    "highpass_order": 1,
    "lowpass_hz": 40.0,
    "order": 8,
    "family": "cheby2",
    "resample_hz": 120.0,
}


def sensors(n: int, type_: ChannelType) -> tuple[Channel, ...]:
    """Channels of a device that does not exist."""
    unit = Unit.VOLT if type_ is ChannelType.EEG else Unit.TESLA
    return tuple(Channel(name=f"{type_.value.upper()}{i:03d}", type=type_, unit=unit) for i in range(n))


def write_ridge(path: Path, n_channels: int, rate_hz: float) -> DecoderManifest:
    """Write a linear decoder of a 1 s window at 120 Hz to 1024 dimensions, as ``rtdecode train fit`` does.

    The front end is a 0.1 Hz high-pass and an anti-alias low-pass.

    Parameters
    ----------
    path
        The ONNX file.
    n_channels, rate_hz
        Of the EEG stream that it is for.

    Raises
    ------
    UserError
        If the rate is too low for the filter.
    """
    settings = SignalSettings(**_FILTER, tmin_s=0.0, tmax_s=1.0)
    signal = settings.contract(sensors(n_channels, ChannelType.EEG), rate_hz)
    rng = np.random.default_rng(0)
    n_features = signal.resampling.n_times * n_channels
    decoder = LinearDecoder(
        signal=signal,
        scaling=_SCALING,
        center=np.zeros(n_channels, np.float32),
        scale=np.full(n_channels, 1e-5, np.float32),
        weights=rng.standard_normal((n_features, RIDGE_DIM), np.float32) / np.float32(np.sqrt(n_features)),
        bias=np.zeros(RIDGE_DIM, np.float32),
        head=_head("embedding", HeadRole.RETRIEVAL, RIDGE_DIM),
    )
    return _write(path, build_graph(decoder), signal, [decoder.head], "ridge")


def write_deep(path: Path, n_channels: int, rate_hz: float) -> DecoderManifest:
    """Write a decoder of the deep M/EEG module's shape: 1.5 s at 120 Hz to two heads of 768 dimensions.

    Parameters
    ----------
    path
        The ONNX file.
    n_channels, rate_hz
        Of the MEG stream that it is for.

    Raises
    ------
    UserError
        If the rate is too low for the filter.
    """
    settings = SignalSettings(**_FILTER, tmin_s=-0.5, tmax_s=1.0)
    signal = settings.contract(sensors(n_channels, ChannelType.MAG), rate_hz)
    heads = [
        _head("retrieval", HeadRole.RETRIEVAL, _HEAD_DIM),
        _head("reconstruction", HeadRole.RECONSTRUCTION, _HEAD_DIM),
    ]
    center, scale = np.zeros(n_channels, np.float32), np.full(n_channels, 1e-13, np.float32)
    network = random_meeg(
        MeegSettings(), n_channels, signal.resampling.n_times, {h.name: _HEAD_DIM for h in heads}
    )
    return _write(path, deep_graph(network, signal, _SCALING, center, scale, heads), signal, heads, "deep")


def _head(name: str, role: HeadRole, dim: int) -> Head:
    space = EmbeddingSpace(
        encoder="none",
        weights_sha256="0" * 64,
        layer="none",
        pooling="none",
        preprocessing="none",
        dim=dim,
    )
    return Head(name=name, role=role, space=space, target_mean=(0.0,) * dim, target_sd=(1.0,) * dim)


def _write(
    path: Path, model: onnx.ModelProto, signal: SignalContract, heads: Sequence[Head], name: str
) -> DecoderManifest:
    manifest = DecoderManifest(
        name=name,
        signal=signal,
        scaling=_SCALING,
        heads=tuple(heads),
        provenance=Provenance(
            dataset="none: random weights",
            subjects=(),
            split_sha256="0" * 64,
            n_trials=1,
            hours=0.0,
            model=name,
            fold_rule="none",
            created=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
            versions={"python": platform.python_version(), "rtdecode": version("rtdecode")},
        ),
        simulated=True,
    )
    helper.set_model_props(model, {MANIFEST_KEY: manifest.model_dump_json()})
    onnx.checker.check_model(model, full_check=True)
    write_file(path, model.SerializeToString())
    return manifest
