"""What a replayed recording says about itself on LSL."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pylsl

from replay.layout import Layout
from rtdecode.contracts import ChannelType

if TYPE_CHECKING:
    from replay.recordings.recording import Recording

_MEG = {ChannelType.MAG, ChannelType.GRAD, ChannelType.REF_MEG}


def signal_info(
    recording: Recording,
    *,
    name: str,
    source_id: str,
    value_format: str,
    speed: float,
    layout: Layout | None = None,
    faults: str = "",
) -> pylsl.StreamInfo:
    """Describe the signal stream: channels with label, type, unit and location, and how it is replayed.

    Parameters
    ----------
    recording
        What is replayed.
    name, source_id
        Of the stream.
    value_format
        ``"float32"`` or ``"double64"``.
    speed
        How much faster than recorded; the announced rate is the layout's times this.
    layout
        Channels and rate as they are sent; by default the recording's.
    faults
        What is wrong with the stream on purpose; empty if nothing is.
    """
    layout = layout or Layout.of(recording)
    n_channels, rate_hz = len(layout.channels), layout.rate_hz * speed
    info = pylsl.StreamInfo(name, _content(layout), n_channels, rate_hz, value_format, source_id)
    channels = info.desc().append_child("channels")
    for channel, unit in zip(layout.channels, layout.units, strict=True):
        entry = channels.append_child("channel")
        entry.append_child_value("label", channel.name)
        entry.append_child_value("type", channel.type.value.upper())
        entry.append_child_value("unit", unit)
        if channel.position_m is not None:
            location = entry.append_child("location")
            for axis, metres in zip("XYZ", channel.position_m, strict=True):  # XDF asks for millimetres
                location.append_child_value(axis, f"{metres * 1e3:.9g}")
            location.append_child_value("unit", "mm")
    _add_origin(info, recording, speed, faults)
    return info


def marker_info(
    recording: Recording, *, name: str, source_id: str, speed: float, faults: str = ""
) -> pylsl.StreamInfo:
    """Describe the marker stream: one text a marker, at irregular times."""
    info = pylsl.StreamInfo(name, "Markers", 1, pylsl.IRREGULAR_RATE, "string", source_id)
    _add_origin(info, recording, speed, faults)
    return info


def _add_origin(info: pylsl.StreamInfo, recording: Recording, speed: float, faults: str) -> None:
    ours = info.desc().append_child("rtdecode")
    ours.append_child_value("simulated", "true" if recording.simulated else "false")
    ours.append_child_value("speed", repr(float(speed)))
    ours.append_child_value("recording", recording.name)
    if faults:
        ours.append_child_value("faults", faults)


def _content(layout: Layout) -> str:
    """Content type of the stream, as the XDF specification names them."""
    types = {channel.type for channel in layout.channels}
    if types & _MEG:
        return "MEG"
    if ChannelType.EEG in types:
        return "EEG"
    return "fMRI" if ChannelType.VOXEL in types else "MISC"
