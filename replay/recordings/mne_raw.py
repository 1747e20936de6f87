"""Recordings that MNE reads: FIF, BrainVision, EDF, BDF, EEGLAB, CTF.

Samples stay on disk until they are asked for. MNE is imported only here, and only when such a file is read.
"""

from __future__ import annotations

import contextlib
import logging
import re
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from replay.recordings.channels import stated_unit, unknown_unit
from replay.recordings.ctf import CtfSamples, ctf_file, read_header
from replay.recordings.recording import Markers, Recording, bids_entities
from replay.recordings.triggers import trigger_markers
from rtdecode.contracts import Channel, ChannelType, Unit
from rtdecode.errors import UserError
from rtdecode.sources.metadata import parse_unit, type_from_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from rtdecode.signal.markers import TriggerSettings

_log = logging.getLogger(__name__)

ANNOTATIONS = "annotations"
"""Value of ``marker_channel`` that asks for a file's annotations in place of its trigger channel."""

_COMPOSITE_TRIGGERS = ("STI101", "STI 014", "STI014", "Status")
_BREAK = re.compile(r"bad_acq_skip|(bad |edge )?boundary|new segment/.*", re.IGNORECASE)
_NOT_MARKER = re.compile(rf"{_BREAK.pattern}|bad([_ ].*)?|edge", re.IGNORECASE)
_SCAN_S = 10.0

_TYPES: dict[str, ChannelType] = {kind.value: kind for kind in ChannelType if kind is not ChannelType.VOXEL}
_TYPE_BY_UNIT = {
    Unit.VOLT: ChannelType.EEG,
    Unit.TESLA: ChannelType.MAG,
    Unit.TESLA_PER_METRE: ChannelType.GRAD,
    Unit.NONE: ChannelType.MISC,
}
_FIFF_UNITS = {107: Unit.VOLT, 112: Unit.TESLA, 201: Unit.TESLA_PER_METRE}
_FIFF_DEVICE_FRAME, _FIFF_HEAD_FRAME = 1, 4

_DAMAGE = (
    "Invalid tag",  # FIF that ends in the middle of a buffer
    "does not match the file size",  # EDF, BDF with fewer records than announced
    "Missing header in",  # BrainVision
    "got unparsable",
    "not found;",
)
"""What MNE only warns of, and what here means that the file is incomplete."""


def read_mne(
    path: Path, kind: str, *, units: str | None, marker_channel: str | None, triggers: TriggerSettings
) -> Recording:
    """Open a FIF, BrainVision, EDF, BDF or EEGLAB file, or a CTF folder.

    Markers come from the trigger channel where there is one that ever rises, else from the annotations:
    those that mark bad data or breaks left out (breaks become segment starts), onsets rounded to the nearest
    sample, ties to the earlier. Microvolts are taken for granted in EEGLAB files, which do not say.

    Parameters
    ----------
    path
        The file; the ``.vhdr`` of BrainVision, the ``.set`` of EEGLAB; the folder ``.ds`` of CTF.
    kind
        ``"FIF"``, ``"BrainVision"``, ``"EDF"``, ``"BDF"``, ``"EEGLAB"`` or ``"CTF"``.
    units
        Unit of the channels of EDF, BDF and BrainVision files that do not say theirs.
    marker_channel
        Trigger channel to read markers from, or ``"annotations"``.
    triggers
        How a trigger channel is read.

    Raises
    ------
    UserError
        If the file is damaged or of another format, or a unit or the trigger channel is not known.
    """
    stated = stated_unit(units)
    try:
        with _checked(path, kind):
            raw = _open(path, kind)
            if raw.n_times == 0:
                raise UserError(f"{path}: holds no samples; record it again or restore it from a copy")
            samples = _ctf_samples(path, raw) if kind == "CTF" else None
            reader = _Reader(path, kind, raw, samples)
            reader(raw.n_times - 1, raw.n_times)  # what is missing at the end shows here
            channels, factors = _channels(path, raw, kind, stated)
    except UserError:
        raise
    except Exception as error:  # MNE's readers raise whatever the damaged bytes lead to
        raise UserError(f"{path}: {_cannot_read(kind, error)}") from error

    subject, session, run = bids_entities(path)
    return Recording(
        name=path.name.removesuffix(".gz").rpartition(".")[0],
        rate_hz=float(raw.info["sfreq"]),
        channels=channels,
        n_samples=int(raw.n_times),
        markers=_markers(path, raw, channels, marker_channel, triggers, reader),
        reader=reader if np.all(factors == 1) else replace(reader, factors=factors),
        segment_starts=_segment_starts(raw),
        subject=subject,
        session=session,
        run=run,
    )


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads samples of an open file, in SI units."""

    path: Path
    kind: str
    raw: Any
    ctf: CtfSamples | None = None
    factors: NDArray[np.float64] | None = None

    def __call__(self, start: int, stop: int) -> NDArray[np.float64]:
        samples = self._read(start, stop, None)
        return samples if self.factors is None else samples * self.factors

    def channel(self, index: int, start: int, stop: int) -> NDArray[np.float64]:
        """Samples of one channel, as they are in the file."""
        return self._read(start, stop, index)[:, 0]

    def _read(self, start: int, stop: int, channel: int | None) -> NDArray[np.float64]:
        try:
            if self.ctf is not None:
                return self.ctf.read(
                    start, stop, slice(None) if channel is None else slice(channel, channel + 1)
                )
            picks = None if channel is None else [channel]
            samples: NDArray[np.float64] = self.raw.get_data(picks, start, stop, verbose="error").T
        except Exception as error:
            raise UserError(f"{self.path}: {_cannot_read(self.kind, error)}") from error
        return samples


def _open(path: Path, kind: str) -> Any:
    import mne

    if kind == "FIF":
        return mne.io.read_raw_fif(path, preload=False, verbose="warning")
    if kind == "CTF":
        return mne.io.read_raw_ctf(path, preload=False, verbose="warning")
    if kind == "BrainVision":
        return mne.io.read_raw_brainvision(path, preload=False, verbose="warning")
    if kind == "EEGLAB":
        return mne.io.read_raw_eeglab(path, preload=False, verbose="warning")
    read = mne.io.read_raw_edf if kind == "EDF" else mne.io.read_raw_bdf
    slower = [signal.label for signal in _edf_signals(path) if not signal.fastest]
    if slower:
        # MNE would resample them block by block, so that their samples depended on the block length
        _log.warning("%s: channels of a lower rate are left out: %s", path, ", ".join(slower))
    return read(path, exclude=slower, preload=False, verbose="warning")


@contextlib.contextmanager
def _checked(path: Path, kind: str) -> Iterator[None]:
    """Turn MNE's warnings about missing data into errors, and its other remarks into log entries."""
    mne_log = logging.getLogger("mne")
    mne_log.addFilter(_nothing)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield
    finally:
        mne_log.removeFilter(_nothing)
    for warning in caught:
        text = " ".join(str(warning.message).split())
        unfinished = kind in ("EDF", "BDF") and _edf_is_unfinished(path)
        incomplete = any(pattern in text for pattern in _DAMAGE) and not unfinished
        # in BrainVision files markers are positions in the data: without data the file was cut short
        if incomplete or (kind == "BrainVision" and text.startswith("Omitted")):
            raise UserError(f"{path}: is incomplete ({text.rstrip('.')}); restore it from a complete copy")
        _log.info("%s: %s", path, text)


def _ctf_samples(path: Path, raw: Any) -> CtfSamples:
    """Where the samples of a CTF recording are."""
    factors = np.array([channel["cal"] * channel["range"] for channel in raw.info["chs"]])
    files = tuple(Path(file) for file in raw.filenames)
    samples = CtfSamples(files, read_header(ctf_file(path, "res4")), factors)
    if sum(samples.lengths()[:-1]) >= raw.n_times:
        raise UserError(
            f"{path}: a part of its signal that is not the last ends early; restore a complete copy"
        )
    return samples


def _nothing(record: logging.LogRecord) -> bool:  # noqa: ARG001
    """Let no log record through: MNE prints its warnings, too, and we hear them as warnings."""
    return False


def _cannot_read(kind: str, error: Exception) -> str:
    reason = (str(error).splitlines() or [""])[0].rstrip(".") or type(error).__name__
    return f"cannot be read as {kind} ({reason}); check that the file is complete and of that format"


# --- EDF and BDF headers ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _EdfSignal:
    label: str
    unit: str
    fastest: bool


def _edf_signals(path: Path) -> list[_EdfSignal]:
    """Signals of an EDF or BDF file as its fixed-width header lists them, annotations left out."""
    with path.open("rb") as file:
        head = file.read(256)
        n = int(head[252:256])
        fields = file.read(256 * n)

    def column(offset: int, width: int) -> list[str]:
        cells = fields[offset * n : (offset + width) * n]
        return [cells[i * width : (i + 1) * width].decode("latin-1").strip() for i in range(n)]

    labels, unit_texts = column(0, 16), column(96, 8)
    lengths = [int(text) for text in column(216, 8)]
    listed = [i for i in range(n) if labels[i] not in ("EDF Annotations", "BDF Annotations")]
    longest = max((lengths[i] for i in listed), default=0)
    return [_EdfSignal(labels[i], unit_texts[i], lengths[i] == longest) for i in listed]


def _edf_is_unfinished(path: Path) -> bool:
    """Whether the header leaves the number of records open: the recorder was stopped, the data are whole."""
    with path.open("rb") as file:
        return file.read(244)[236:].strip() == b"-1"


# --- channels --------------------------------------------------------------------------------------------


def _channels(
    path: Path, raw: Any, kind: str, stated: tuple[Unit, float] | None
) -> tuple[tuple[Channel, ...], NDArray[np.float64]]:
    """Channels in SI units, and what to multiply MNE's samples by to get there."""
    texts = None
    if kind in ("EDF", "BDF"):
        texts = [signal.unit for signal in _edf_signals(path) if signal.fastest]
    elif kind == "BrainVision":
        texts = [raw._orig_units.get(name, "") for name in raw.ch_names]

    channels: list[Channel] = []
    factors: list[float] = []
    for i, name in enumerate(raw.ch_names):
        (type_, unit), factor = _type_and_unit(raw.info, i), 1.0
        if texts is None:
            if kind == "EEGLAB" and type_ is ChannelType.EEG:  # also where the file gives no type
                type_ = type_from_text(name) or type_
        elif type_ is not ChannelType.STIM:
            type_, unit, factor = _from_texts(path, name, texts[i], stated)
            factor /= _applied_by_mne(kind, texts[i])
        channels.append(Channel(name=name, type=type_, unit=unit, position_m=_position_m(raw.info, i)))
        factors.append(factor)
    return tuple(channels), np.asarray(factors)


def info_channels(info: Any) -> tuple[Channel, ...]:
    """Channels of an MNE ``info``, whose samples are in SI units."""
    channels = []
    for index, name in enumerate(info["ch_names"]):
        kind, unit = _type_and_unit(info, index)
        channels.append(Channel(name=name, type=kind, unit=unit, position_m=_position_m(info, index)))
    return tuple(channels)


def _type_and_unit(info: Any, index: int) -> tuple[ChannelType, Unit]:
    import mne

    kind = _TYPES.get(mne.channel_type(info, index), ChannelType.MISC)
    if kind is ChannelType.STIM:  # trigger codes, though FIF calls them volts
        return kind, Unit.NONE
    return kind, _FIFF_UNITS.get(info["chs"][index]["unit"], Unit.NONE)


def channels_as_said(channels: Sequence[Channel], info: Any) -> tuple[Channel, ...]:
    """Channels with the types and positions that MNE's ``info`` has of the same names, as from sidecars."""
    import mne

    index_of = {name: index for index, name in enumerate(info["ch_names"])}
    said = []
    for channel in channels:
        if (index := index_of.get(channel.name)) is not None:
            kind = _TYPES.get(mne.channel_type(info, index), channel.type)
            position_m = _position_m(info, index) or channel.position_m
            channel = channel.model_copy(update={"type": kind, "position_m": position_m})
        said.append(channel)
    return tuple(said)


def _from_texts(
    path: Path, name: str, text: str, stated: tuple[Unit, float] | None
) -> tuple[ChannelType, Unit, float]:
    """Type, SI unit and factor of a channel of which the file gives a label and a unit."""
    said = type_from_text(name)
    if (understood := parse_unit(text)) is None and text:
        return ChannelType.MISC, Unit.NONE, 1.0  # a percentage, degrees: no decoder scales them
    if understood is None:
        if said in (ChannelType.MISC, ChannelType.STIM):
            return said, Unit.NONE, 1.0
        if stated is None:
            raise unknown_unit(path, name, text)
        understood = stated
    unit, factor = understood
    return said or _TYPE_BY_UNIT[unit], unit, factor


def _applied_by_mne(kind: str, text: str) -> float:
    """Scale that MNE's reader has applied on its own account."""
    if kind == "BrainVision":
        understood = parse_unit(text)
        return understood[1] if understood is not None else 1.0
    if text in ("μV", "µV", "\x83\xcaV", "uV"):
        return 1e-6
    return 1e-3 if text == "mV" else 1.0


def _position_m(info: Any, index: int) -> tuple[float, float, float] | None:
    """Sensor position in head coordinates, if the file has one."""
    channel = info["chs"][index]
    position = np.asarray(channel["loc"][:3], dtype=np.float64)
    if not np.all(np.isfinite(position)) or not np.any(position):
        return None
    if channel["coord_frame"] == _FIFF_DEVICE_FRAME:
        if info["dev_head_t"] is None:
            return None
        trans = np.asarray(info["dev_head_t"]["trans"])
        position = trans[:3, :3] @ position + trans[:3, 3]
    elif channel["coord_frame"] != _FIFF_HEAD_FRAME:
        return None
    x, y, z = position.tolist()
    return x, y, z


# --- markers ---------------------------------------------------------------------------------------------


def _markers(
    path: Path,
    raw: Any,
    channels: tuple[Channel, ...],
    marker_channel: str | None,
    settings: TriggerSettings,
    reader: _Reader,
) -> Markers:
    if marker_channel == ANNOTATIONS:
        return _annotations(path, raw)
    names = [channel.name for channel in channels]
    if marker_channel is not None:
        if marker_channel not in names:
            raise UserError(f"{path}: has no channel {marker_channel!r}; it has {', '.join(names)}")
        markers = _triggers(path, raw, marker_channel, settings, reader)
        if not len(markers):
            raise UserError(
                f"{path}: channel {marker_channel!r} never rises from zero; choose another for the markers, "
                "or set trigger_mask or trigger_edge (--trigger-mask, --trigger-edge)"
            )
        return markers

    triggers = [channel.name for channel in channels if channel.type is ChannelType.STIM]
    if composite := [name for name in _COMPOSITE_TRIGGERS if name in triggers]:
        triggers = composite[:1]
    if len(triggers) == 1 and len(markers := _triggers(path, raw, triggers[0], settings, reader)):
        return markers
    markers = _annotations(path, raw)
    if len(triggers) > 1 and not len(markers):
        raise UserError(
            f"{path}: has several trigger channels ({', '.join(triggers)}); "
            "name one of them (marker_channel, --marker-channel)"
        )
    return markers


def _triggers(path: Path, raw: Any, channel: str, settings: TriggerSettings, reader: _Reader) -> Markers:
    index = raw.ch_names.index(channel)
    step = max(int(_SCAN_S * raw.info["sfreq"]), 1)
    starts = range(0, raw.n_times, step)
    blocks = (reader.channel(index, start, min(start + step, raw.n_times)) for start in starts)
    return trigger_markers(path, channel, blocks, settings)


def _annotations(path: Path, raw: Any) -> Markers:
    said = [
        (sample, str(text).strip())
        for sample, text in zip(_onset_samples(raw), raw.annotations.description.tolist(), strict=True)
    ]
    chosen = [(sample, text) for sample, text in said if text and not _NOT_MARKER.fullmatch(text)]
    if left_out := len(said) - len(chosen):
        _log.info("%s: %d annotations mark bad data or breaks, or say nothing: no markers", path, left_out)
    inside = [(sample, text) for sample, text in chosen if 0 <= sample < raw.n_times]
    if outside := len(chosen) - len(inside):
        _log.warning("%s: %d markers lie outside the data and are left out", path, outside)
    return Markers.in_order([sample for sample, _ in inside], [text for _, text in inside])


def _onset_samples(raw: Any) -> list[int]:
    """Nearest samples of the annotations' onsets, ties to the earlier."""
    return [int(sample) for sample in np.ceil(_exact_onsets(raw) - 0.5)]


def _exact_onsets(raw: Any) -> NDArray[np.float64]:
    """Onsets of the annotations in samples from the first one."""
    # MNE counts onsets from the measurement's start, which lies first_samp before the first sample; the
    # rounding to a millionth of a sample keeps float noise from deciding ties
    onsets: NDArray[np.float64] = np.round(raw.annotations.onset * raw.info["sfreq"] - raw.first_samp, 6)
    return onsets


def _segment_starts(raw: Any) -> tuple[int, ...]:
    starts = {0}
    # a break lies before a sample: EEGLAB puts it half a sample earlier
    for onset, duration_s, text in zip(
        np.ceil(_exact_onsets(raw)), raw.annotations.duration, raw.annotations.description, strict=True
    ):
        if _BREAK.fullmatch(str(text).strip()):
            starts.add(int(onset))
            if str(text).casefold().startswith("bad_acq_skip"):  # the stretch itself is filled with zeros
                starts.add(int(onset) + round(duration_s * raw.info["sfreq"]))
    return tuple(sorted(start for start in starts if 0 <= start < raw.n_times))
