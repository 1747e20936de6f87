"""CTF recordings, byte by byte as the system writes them: header, head coils, signal."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

SENSOR, REFERENCE_MAGNETOMETER, REFERENCE_GRADIOMETER, STIM, CLOCK, ANALOG = 5, 0, 1, 11, 17, 18
"""Sensor types; only the first four mean anything to a reader."""

_COIL = np.dtype("(3,)>f8, >f8, (3,)>f8, >f8, >i2, >i4, >i2, >f8")
_COIL.names = ("pos", "d0", "norm", "d1", "turns", "d2", "d3", "area")
_CHANNEL = np.dtype(
    [
        *((name, ">i2") for name in ("sensor_type_index", "original_run_no")),
        ("coil_type", ">i4"),
        *((name, ">f8") for name in ("proper_gain", "qgain", "io_gain", "io_offset")),
        *((name, ">i2") for name in ("num_coils", "grad_order_no")),
        ("d0", ">i4"),
        *((name, _COIL, 8) for name in ("coil", "head_coil")),
    ]
)
_COMPENSATION = np.dtype("S32, >i4, >i4, >i2, (50,)S31, (50,)>f8")
_COMPENSATION.names = ("sensor", "kind", "d0", "n", "references", "weights")
_FIRST_ORDER = int.from_bytes(b"G1BR", "big")
_COILS_CM = {"nasion": (9.0, 0.0, 0.0), "left ear": (0.0, 7.0, 0.0), "right ear": (0.0, -7.0, 0.0)}
_GAIN = 2.0**20  # of a pico-tesla, or a hundredth of a microvolt


def write_ctf(
    folder: Path, channels: list[tuple[str, int]], numbers: np.ndarray, rate_hz: float, n_trials: int = 1
) -> None:
    """Write ``NAME.ds``.

    ``channels`` are names and sensor types; ``numbers``, whole, shape ``(n_channels, n_samples)``, are what
    is stored: of sensors, units of 1e-12 / 2 ** 20 tesla; of triggers, codes.
    """
    folder.mkdir(parents=True)
    n_samples = numbers.shape[1] // n_trials
    stem = folder / folder.stem
    stem.with_suffix(".hc").write_text(_head_coils())
    stem.with_suffix(".res4").write_bytes(_header(channels, n_samples, n_trials, rate_hz))
    trials = numbers.reshape(len(channels), n_trials, n_samples).transpose(1, 0, 2)
    stem.with_suffix(".meg4").write_bytes(b"MEG41CP\0" + trials.astype(">i4").tobytes())


def _header(channels: list[tuple[str, int]], n_samples: int, n_trials: int, rate_hz: float) -> bytes:
    parts = (
        b"MEG41RS\0" + bytes(3 * 256 + 2) + b"12:00:00".ljust(255, b"\0") + b"13-Jun-2019".ljust(255, b"\0")
    )
    parts += struct.pack(">ih2xddh2x", n_samples, len(channels), rate_hz, n_samples / rate_hz, n_trials)
    parts = parts.ljust(1844, b"\0")  # of what else was set when it was recorded, nothing is read
    parts += struct.pack(">h", 0)  # filters
    parts += b"".join(name.encode().ljust(32, b"\0") for name, _ in channels)
    described = np.zeros(len(channels), dtype=_CHANNEL)
    for number, (_, kind) in enumerate(channels):
        one = described[number]
        one["sensor_type_index"], one["proper_gain"], one["qgain"] = kind, 1.0, 1.0
        if kind in (SENSOR, REFERENCE_MAGNETOMETER, REFERENCE_GRADIOMETER):
            one["proper_gain"], one["qgain"] = 1e12, _GAIN
            angle = 2 * np.pi * number / len(channels)
            normal = np.array([np.cos(angle), np.sin(angle), 1.0]) / np.sqrt(2)
            for coil, distance_cm in enumerate((11.0, 16.0)):
                one["coil"][coil]["pos"], one["coil"][coil]["norm"] = distance_cm * normal, normal
            one["num_coils"] = 1 if kind == REFERENCE_MAGNETOMETER else 2
    references = [name for name, kind in channels if kind in (REFERENCE_MAGNETOMETER, REFERENCE_GRADIOMETER)]
    sensors = [name for name, kind in channels if kind == SENSOR]
    weights = np.zeros(len(sensors), dtype=_COMPENSATION)  # offered, and not applied: the order above is 0
    for one, name in zip(weights, sensors, strict=True):
        one["sensor"], one["kind"], one["n"] = name, _FIRST_ORDER, len(references)
        one["references"][: len(references)], one["weights"][: len(references)] = references, 0.1
    return parts + described.tobytes() + struct.pack(">h", len(weights)) + weights.tobytes()


def _head_coils() -> str:
    """Where the head coils were, relative to the dewar and to the head: here turned by 45 degrees."""
    lines = []
    turn = np.array([[1, -1], [1, 1]]) / np.sqrt(2)
    for name, place in _COILS_CM.items():
        x, y = turn @ np.array(place[:2])
        for what, frame, values in (
            ("standard", "dewar", place),
            ("measured", "dewar", (x, y, place[2] - 27.0)),
            ("measured", "head", place),
        ):
            lines.append(f"{what} {name} coil position relative to {frame} (cm):")
            lines += [f"\t{axis} = {value:.6f}" for axis, value in zip("xyz", values, strict=True)]
    return "\n".join(lines) + "\n"
