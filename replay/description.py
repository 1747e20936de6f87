"""What a replayed recording says about itself on LSL."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pylsl

from replay.layout import Layout
from rtdecode.sources.metadata import content_type, described

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pylsl.info import XMLElement

    from replay.recordings.recording import Recording
    from rtdecode.contracts import Channel
    from rtdecode.sources.metadata import Element


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
    info = pylsl.StreamInfo(name, content_type(layout.channels), n_channels, rate_hz, value_format, source_id)
    _add_channels(info, layout)
    _add_origin(info, recording, speed, faults)
    return info


def live_info(
    channels: tuple[Channel, ...], rate_hz: float, *, name: str, source_id: str
) -> pylsl.StreamInfo:
    """Describe a signal stream that is no replay; its numbers are sent as float64, in SI units."""
    info = pylsl.StreamInfo(
        name, content_type(channels), len(channels), rate_hz, pylsl.cf_double64, source_id
    )
    _add_channels(info, Layout.of_channels(channels, rate_hz))
    return info


def marker_info(
    recording: Recording, *, name: str, source_id: str, speed: float, faults: str = ""
) -> pylsl.StreamInfo:
    """Describe the marker stream: one text a marker, at irregular times."""
    info = pylsl.StreamInfo(name, "Markers", 1, pylsl.IRREGULAR_RATE, "string", source_id)
    _add_origin(info, recording, speed, faults)
    return info


def _add_channels(info: pylsl.StreamInfo, layout: Layout) -> None:
    channels = info.desc().append_child("channels")
    for channel, unit in zip(layout.channels, layout.units, strict=True):
        _append(channels.append_child("channel"), described(channel, unit))


def _append(parent: XMLElement, elements: Sequence[Element]) -> None:
    for name, content in elements:
        if isinstance(content, str):
            parent.append_child_value(name, content)
        else:
            _append(parent.append_child(name), content)


def _add_origin(info: pylsl.StreamInfo, recording: Recording, speed: float, faults: str) -> None:
    ours = info.desc().append_child("rtdecode")
    ours.append_child_value("simulated", "true" if recording.simulated else "false")
    ours.append_child_value("speed", repr(float(speed)))
    ours.append_child_value("recording", recording.name)
    if faults:
        ours.append_child_value("faults", faults)
