"""One recording in seven file formats; its first channel is the sample index, in microvolts."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

RATE_HZ = 250.0
N_SAMPLES = 500
NAMES = ("index", "Cz", "EOG1")
MARKERS = ((40, "1"), (41, "2"), (250, "7"), (499, "3"))

Write = Callable[..., Path]


@dataclass(frozen=True)
class Indexed:
    """What every written file holds."""

    rate_hz: float
    names: tuple[str, ...]
    microvolts: np.ndarray
    markers: tuple[tuple[int, str], ...]


@pytest.fixture(scope="session")
def indexed() -> Indexed:
    rng = np.random.default_rng(2)
    microvolts = rng.integers(-100, 100, size=(N_SAMPLES, len(NAMES))).astype(float)
    microvolts[:, 0] = np.arange(N_SAMPLES)
    return Indexed(RATE_HZ, NAMES, microvolts, MARKERS)


@pytest.fixture
def write(tmp_path: Path, indexed: Indexed) -> Write:
    """Write the recording in one of the seven formats; returns the file to open."""
    writers = {
        "fif": _write_fif,
        "vhdr": _write_brainvision,
        "edf": _write_edf,
        "bdf": _write_bdf,
        "set": _write_eeglab,
        "xdf": _write_xdf,
        "csv": _write_csv,
    }

    def write_as(ending: str, **options: Any) -> Path:
        path = tmp_path / f"sub-07_ses-2_run-3_eeg.{ending}"
        writers[ending](path, indexed, **options)
        return path

    return write_as


def _write_fif(
    path: Path, indexed: Indexed, *, first_samp: int = 0, dated: bool = False, stim: bool = False
) -> None:
    import mne

    names, types = list(indexed.names), ["eeg", "eeg", "eog"]
    data = indexed.microvolts.T * 1e-6
    if stim:
        codes = np.zeros(len(indexed.microvolts))
        for sample, label in indexed.markers:
            if sample != 41:  # the line stays high between samples 40 and 41
                codes[sample : sample + 2] = int(label)
        names, types, data = [*names, "STI 014"], [*types, "stim"], np.vstack([data, codes])
    info = mne.create_info(names, indexed.rate_hz, types)
    info["chs"][1]["loc"][:3] = 0.01, 0.02, 0.09
    if dated:
        info.set_meas_date(1_600_000_000)
    raw = mne.io.RawArray(data, info, first_samp=first_samp, verbose="error")
    raw.set_annotations(_annotations(indexed))
    raw.save(path, fmt="double", verbose="error")


def _annotations(indexed: Indexed) -> Any:
    import mne

    onsets = [sample / indexed.rate_hz for sample, _ in indexed.markers]
    annotations = mne.Annotations(onsets, 0, [label for _, label in indexed.markers])
    return annotations + mne.Annotations([0.5], [0.1], ["BAD_blink"])


def _write_brainvision(path: Path, indexed: Indexed) -> None:
    import pybv

    events = [
        {"onset": sample, "type": "Stimulus", "description": int(label), "duration": 1}
        for sample, label in indexed.markers
    ]
    pybv.write_brainvision(
        data=indexed.microvolts.T * 1e-6,
        sfreq=indexed.rate_hz,
        ch_names=list(indexed.names),
        fname_base=path.stem,
        folder_out=str(path.parent),
        events=events,
        unit="µV",
        fmt="binary_float32",
        resolution=1.0,
    )


def _write_edf(path: Path, indexed: Indexed, *, unit: str = "uV") -> None:
    import edfio

    signals = [
        edfio.EdfSignal(
            indexed.microvolts[:, i],
            indexed.rate_hz,
            label=name,
            physical_dimension=unit,
            physical_range=(-32768, 32767),
            digital_range=(-32768, 32767),
        )
        for i, name in enumerate(indexed.names)
    ]
    annotations = [
        edfio.EdfAnnotation(sample / indexed.rate_hz, None, label) for sample, label in indexed.markers
    ]
    edfio.Edf(signals, annotations=annotations).write(path)


def _write_bdf(path: Path, indexed: Indexed) -> None:
    """BDF as a BioSemi amplifier writes it: 24 bits; upper bits of the status are not triggers."""
    status = np.full(len(indexed.microvolts), 0b1001 << 16)
    for sample, label in indexed.markers:
        if sample != 41:
            status[sample] |= int(label)
    columns = np.column_stack([indexed.microvolts.astype(int), status])
    n_channels, per_record = columns.shape[1], int(indexed.rate_hz)
    n_records = len(columns) // per_record

    def cells(values: list[str], width: int) -> bytes:
        return "".join(value.ljust(width) for value in values).encode("ascii")

    head = b"\xffBIOSEMI" + cells(["X X X X", "Startdate 01-JAN-2020"], 80) + b"01.01.2000.00.00"
    head += cells([str(256 * (n_channels + 1))], 8) + cells(["24BIT"], 44)
    head += cells([str(n_records), "1"], 8) + cells([str(n_channels)], 4)
    low, high = str(-(2**23)), str(2**23 - 1)
    head += cells([*indexed.names, "Status"], 16) + cells([""] * n_channels, 80)
    head += cells(["uV"] * (n_channels - 1) + ["Boolean"], 8)
    for text in (low, high, low, high):
        head += cells([text] * n_channels, 8)
    head += cells([""] * n_channels, 80) + cells([str(per_record)] * n_channels, 8)
    head += cells([""] * n_channels, 32)
    body = b"".join(
        columns[r * per_record : (r + 1) * per_record].T.astype("<i4").tobytes() for r in range(n_records)
    )
    three_bytes = np.frombuffer(body, dtype=np.uint8).reshape(-1, 4)[:, :3].tobytes()
    path.write_bytes(head + three_bytes)


def _write_eeglab(path: Path, indexed: Indexed, *, boundary: int | None = None) -> None:
    """EEGLAB's layout, the samples in a .fdt file beside it; latencies count from 1."""
    from scipy.io import savemat

    events = [(float(sample + 1), label) for sample, label in indexed.markers]
    if boundary is not None:
        events = sorted([*events, (boundary + 0.5, "boundary")])
    data_file = path.with_suffix(".fdt")
    indexed.microvolts.astype("<f4").tofile(data_file)
    n_samples, n_channels = indexed.microvolts.shape
    event = np.array(
        [(label, latency, 1.0) for latency, label in events],
        dtype=[("type", object), ("latency", object), ("duration", object)],
    )
    chanlocs = np.array(
        [(name, "EEG" if name == "Cz" else "", 10.0 * i, 20.0, 85.0) for i, name in enumerate(indexed.names)],
        dtype=[("labels", object), ("type", object), ("X", object), ("Y", object), ("Z", object)],
    )
    eeg = {
        "setname": "indexed",
        "nbchan": float(n_channels),
        "trials": 1.0,
        "pnts": float(n_samples),
        "srate": indexed.rate_hz,
        "xmin": 0.0,
        "xmax": (n_samples - 1) / indexed.rate_hz,
        "data": data_file.name,
        "datfile": data_file.name,
        "chanlocs": chanlocs[np.newaxis],
        "event": event[np.newaxis],
        "urevent": event[np.newaxis],
        "epoch": np.zeros((0, 0)),
        "icawinv": np.zeros((0, 0)),
        "icasphere": np.zeros((0, 0)),
        "icaweights": np.zeros((0, 0)),
        "ref": "common",
    }
    savemat(path, {"EEG": eeg}, appendmat=False)


def _write_csv(path: Path, indexed: Indexed, *, marker_name: str = "Marker0") -> None:
    stamps = 1000 + np.arange(N_SAMPLES) / indexed.rate_hz
    codes = dict(indexed.markers)
    lines = [",".join(["timestamps", *indexed.names, marker_name])]
    for i, row in enumerate(indexed.microvolts):
        values = [f"{value:.3f}" for value in row]
        lines.append(",".join([f"{stamps[i]:.3f}", *values, codes.get(i, "0")]))
    path.write_text("\n".join(lines) + "\n")


# --- XDF -------------------------------------------------------------------------------------------------


def _write_xdf(path: Path, indexed: Indexed, **options: Any) -> None:
    path.write_bytes(xdf_bytes(indexed, **options))


def xdf_bytes(
    indexed: Indexed,
    *,
    unit: str = "microvolts",
    marker_clock_ahead_s: float = 0.0,
    late_s: float = 0.0,
    break_at: int | None = None,
    break_s: float = 1.5,
    second_signal: bool = False,
    location: str = "",
    marker_format: str = "string",
    marker_values: Sequence[bytes] | None = None,
    marker_channels: Sequence[str] = ("",),
    marker_type: str = "Markers",
    channel_type: str = "EEG",
    stamps: np.ndarray | None = None,
    marker_times: Sequence[float] | None = None,
) -> bytes:
    """XDF as LabRecorder writes it.

    The marker stream's clock is ``marker_clock_ahead_s`` ahead of the recorder's, which its clock offsets
    tell; markers come ``late_s`` after their samples. ``marker_values`` are the bytes of the four markers.
    """
    if stamps is None:
        stamps = 5000 + np.arange(N_SAMPLES) / indexed.rate_hz
    if break_at is not None:
        stamps[break_at:] += break_s
    channels = "".join(
        f"<channel><label>{name}</label><type>{channel_type}</type><unit>{unit}</unit>{location}</channel>"
        for name in indexed.names
    )
    chunks = [_chunk(1, b"<?xml version='1.0'?><info><version>1.0</version></info>")]
    desc = f"<channels>{channels}</channels>"
    n_channels = len(indexed.names)
    chunks.append(_xdf_header(1, "Amp", "EEG", n_channels, indexed.rate_hz, "double64", desc))
    names = "".join(f"<channel><label>{name}</label></channel>" for name in marker_channels)
    chunks.append(
        _xdf_header(
            2,
            "Stimuli",
            marker_type,
            len(marker_channels),
            0,
            marker_format,
            f"<channels>{names}</channels>",
        )
    )
    if second_signal:
        chunks.append(_xdf_header(3, "Pulse", "PPG", 1, 50, "float32", ""))
        chunks.append(_xdf_samples(3, stamps[:50], [struct.pack("<f", 1.0)] * 50))
    for when in (4990.0, 5001.0, 5010.0):
        chunks.append(_chunk(4, struct.pack("<Idd", 1, when, 0.0)))
        chunks.append(_chunk(4, struct.pack("<Idd", 2, when + marker_clock_ahead_s, -marker_clock_ahead_s)))
    for first in range(0, N_SAMPLES, 32):
        rows = indexed.microvolts[first : first + 32].astype("<f8")
        chunks.append(_xdf_samples(1, stamps[first : first + 32], [row.tobytes() for row in rows]))
    marker_stamps = [stamps[sample] + marker_clock_ahead_s + late_s for sample, _ in indexed.markers]
    if marker_times is not None:
        marker_stamps, marker_values = list(marker_times), [xdf_text(f"{time}") for time in marker_times]
    if marker_values is None:
        marker_values = [xdf_text(label) for _, label in indexed.markers]
    chunks.append(_xdf_samples(2, np.array(marker_stamps), list(marker_values)))
    return b"XDF:" + b"".join(chunks)


def _xdf_header(
    stream: int, name: str, content: str, n_channels: int, rate_hz: float, value_format: str, desc: str
) -> bytes:
    fields = {
        "name": name,
        "type": content,
        "channel_count": n_channels,
        "nominal_srate": rate_hz,
        "channel_format": value_format,
        "source_id": f"id{stream}",
        "desc": desc,
    }
    xml = "".join(f"<{key}>{value}</{key}>" for key, value in fields.items())
    return _chunk(2, struct.pack("<I", stream) + f"<?xml version='1.0'?><info>{xml}</info>".encode())


def _xdf_samples(stream: int, stamps: np.ndarray, values: list[bytes]) -> bytes:
    samples = b"".join(
        b"\x08" + struct.pack("<d", stamp) + value for stamp, value in zip(stamps, values, strict=True)
    )
    return _chunk(3, struct.pack("<I", stream) + _varlen(len(values)) + samples)


def _chunk(tag: int, content: bytes) -> bytes:
    return _varlen(len(content) + 2) + struct.pack("<H", tag) + content


def xdf_text(*texts: str) -> bytes:
    """Texts of all channels of one marker, as XDF holds them."""
    return b"".join(_varlen(len(text.encode())) + text.encode() for text in texts)


def _varlen(length: int) -> bytes:
    return b"\x04" + struct.pack("<I", length)
