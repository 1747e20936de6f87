"""Channels of an LSL stream: names, types, SI units and positions read from its description.

Streams say the same thing in many ways. What is understood:

- units by symbol or word (``uV``, ``µV``, ``microvolts``, ``fT/cm``), and as the power of ten that mne-lsl's
  ``PlayerLSL`` writes (``0``, ``-6``: of the SI unit of the channel's type);
- positions as ``location/X,Y,Z`` in metres, in another unit where ``location/unit`` says so, and as mne-lsl's
  ``loc/R0x,R0y,R0z`` where they are in head coordinates. A position that cannot be metres is left out.

What is not understood is refused with a line that says what to state in the configuration: a wrong unit is
a wrong result, and nothing downstream could see it.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from rtdecode.contracts import Channel, ChannelType, Unit
from rtdecode.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pylsl.info import StreamInfo, XMLElement

_PREFIX = {
    "": 0,
    "m": -3,
    "milli": -3,
    "u": -6,
    "μ": -6,
    "micro": -6,
    "n": -9,
    "nano": -9,
    "p": -12,
    "pico": -12,
    "f": -15,
    "femto": -15,
}
_BASE = {
    "v": Unit.VOLT,
    "volt": Unit.VOLT,
    "volts": Unit.VOLT,
    "t": Unit.TESLA,
    "tesla": Unit.TESLA,
    "teslas": Unit.TESLA,
}
_LENGTH = {"m": 0, "cm": -2, "mm": -3}
_UNIT = re.compile(rf"({'|'.join(_PREFIX)})({'|'.join(_BASE)})(?:/({'|'.join(_LENGTH)}))?")
_MEGA_OR_PETA = re.compile(r"[MP][VvTt](/.*)?")
_PURE_NUMBER = {"1", "none", "dimensionless", "unitless"}
_POWER_OF_TEN = re.compile(r"0|-\d+")

_TYPES = {
    "eeg": ChannelType.EEG,
    "mag": ChannelType.MAG,
    "meg": ChannelType.MAG,
    "megmag": ChannelType.MAG,
    "grad": ChannelType.GRAD,
    "meggrad": ChannelType.GRAD,
    "megplanar": ChannelType.GRAD,
    "ref_meg": ChannelType.REF_MEG,
    "megref": ChannelType.REF_MEG,
    "eog": ChannelType.EOG,
    "veog": ChannelType.EOG,
    "heog": ChannelType.EOG,
    "heogl": ChannelType.EOG,
    "heogr": ChannelType.EOG,
    "veogb": ChannelType.EOG,
    "ecg": ChannelType.ECG,
    "ekg": ChannelType.ECG,
    "emg": ChannelType.EMG,
    "stim": ChannelType.STIM,
    "sti": ChannelType.STIM,
    "status": ChannelType.STIM,
    "marker": ChannelType.STIM,
    "markers": ChannelType.STIM,
    "trig": ChannelType.STIM,
    "trigger": ChannelType.STIM,
    "misc": ChannelType.MISC,
    "aux": ChannelType.MISC,
    "acc": ChannelType.MISC,
    "gyro": ChannelType.MISC,
    "voxel": ChannelType.VOXEL,
    "fmri": ChannelType.VOXEL,
}
_SI_UNIT = {
    ChannelType.EEG: Unit.VOLT,
    ChannelType.EOG: Unit.VOLT,
    ChannelType.ECG: Unit.VOLT,
    ChannelType.EMG: Unit.VOLT,
    ChannelType.MAG: Unit.TESLA,
    ChannelType.REF_MEG: Unit.TESLA,
    ChannelType.GRAD: Unit.TESLA_PER_METRE,
}
"""Types that measure in a unit; the others may be pure numbers."""

_MEG = {ChannelType.MAG, ChannelType.GRAD, ChannelType.REF_MEG}

Element = tuple[str, "str | Sequence[Element]"]
"""An element of a stream's description: its name, and its text or the elements in it."""

_LARGEST_HEAD_M = 0.5
_FIFF_HEAD_FRAME = "4"


def parse_unit(text: str) -> tuple[Unit, float] | None:
    """Read a unit as people and programs write it.

    Parameters
    ----------
    text
        For example ``"uV"``, ``"µV"``, ``"microvolts"``, ``"fT/cm"``, ``"none"``. Case does not matter where
        it cannot (``"UV"`` is microvolt, ``"MV"`` is not understood).

    Returns
    -------
    (unit, factor) or None
        The SI unit, and what to multiply by to get there; None if the text is not understood.
    """
    text = unicodedata.normalize("NFKC", text).strip()  # micro sign -> Greek mu
    if text.casefold() in _PURE_NUMBER:
        return Unit.NONE, 1.0
    if _MEGA_OR_PETA.fullmatch(text) or (match := _UNIT.fullmatch(text.casefold())) is None:
        return None
    prefix, base, length = match.groups()
    unit, power = _BASE[base], _PREFIX[prefix]
    if length is not None:
        if unit is not Unit.TESLA:
            return None
        unit, power = Unit.TESLA_PER_METRE, power - _LENGTH[length]
    return unit, float(f"1e{power}")  # the double nearest to the power of ten, where 10.0**power may not be


def type_from_text(text: str) -> ChannelType | None:
    """Channel type that a type field or a label names, None if it names none.

    Any word of the text counts, a number at its end does not: ``"EOG1"``, ``"EEG Fp1"``, ``"Right AUX"``.
    """
    for word in re.findall(r"[a-z_]+", text.casefold()):
        if (found := _TYPES.get(word)) is not None:
            return found
    return None


def sensor_position(said: Callable[..., str]) -> tuple[float, float, float] | None:
    """Sensor position in metres, or None where it is absent or cannot be metres.

    Parameters
    ----------
    said
        What a channel's description says under a path of keys, e.g. ``said("location", "X")``; empty where it
        says nothing.
    """
    if any(said("location", axis) for axis in "XYZ"):
        power = _LENGTH.get(said("location", "unit").casefold() or "m")
        texts = [said("location", axis) for axis in "XYZ"]
    else:
        power = 0 if said("coord_frame") == _FIFF_HEAD_FRAME else None
        texts = [said("loc", key) for key in ("R0x", "R0y", "R0z")]
    if power is None:
        return None
    try:
        x, y, z = (float(text) * float(f"1e{power}") for text in texts)
    except ValueError:
        return None
    distance = math.hypot(x, y, z)
    return (x, y, z) if 0 < distance < _LARGEST_HEAD_M else None


def stream_channels(
    info: StreamInfo,
    *,
    unit: str | Mapping[str, str] | None = None,
    channel_names: Sequence[str] | None = None,
) -> tuple[tuple[Channel, ...], tuple[float, ...]]:
    """Channels of a stream in SI units, and the factors that lead there.

    Parameters
    ----------
    info
        Full description of the stream (as an inlet's ``info()`` gives it).
    unit
        What the configuration states. A text: the unit of the channels that do not say theirs. A mapping
        from channel names or channel types (``"eeg"``) to units: overrides what the stream says.
    channel_names
        Names stated by the configuration, one a channel, in place of the stream's own.

    Returns
    -------
    channels : tuple of Channel, length n_channels
    scale : tuple of float, length n_channels
        Factors from the sent numbers to SI.

    Raises
    ------
    UserError
        If labels are missing or appear twice, or a unit is unknown, and the configuration does not say.
    """
    who = f"stream {info.name()!r}"
    n_channels = info.channel_count()
    entries = list(_children(info.desc().child("channels"), "channel"))
    names = _names(who, entries, n_channels, channel_names)
    if len(entries) != n_channels:
        entries = []
    stated = _StatedUnits(who, unit)
    channels, scale = [], []
    for position, name in enumerate(names):
        entry = entries[position] if entries else None
        kind, said_by_channel = _channel_type(_text(entry, "type"), info.type())
        si_unit, factor = _channel_unit(stated, name, kind, _text(entry, "unit"), lenient=said_by_channel)
        if kind is ChannelType.MAG and si_unit is Unit.TESLA_PER_METRE:  # announced as "MEG", for both kinds
            kind = ChannelType.GRAD
        channels.append(Channel(name=name, type=kind, unit=si_unit, position_m=_position(entry)))
        scale.append(factor)
    stated.refuse_unused()
    return tuple(channels), tuple(scale)


def described(channel: Channel, unit: str) -> list[Element]:
    """Say of a channel what :func:`stream_channels` reads back, as the XDF specification names it.

    Parameters
    ----------
    channel
        Its label, type and location (in millimetres, as XDF asks for).
    unit
        What its samples are sent in; the pure number is written ``none``, because others take ``1`` for a
        power of ten.
    """
    said: list[Element] = [
        ("label", channel.name),
        ("type", channel.type.value.upper()),
        ("unit", "none" if unit == Unit.NONE.value else unit),
    ]
    if channel.position_m is not None:
        axes: list[Element] = [
            (axis, f"{metres * 1e3:.9g}") for axis, metres in zip("XYZ", channel.position_m, strict=True)
        ]
        said.append(("location", [*axes, ("unit", "mm")]))
    return said


def content_type(channels: Sequence[Channel]) -> str:
    """Content type of a stream of these channels, as the XDF specification names them."""
    types = {channel.type for channel in channels}
    if types & _MEG:
        return "MEG"
    if ChannelType.EEG in types:
        return "EEG"
    return "fMRI" if ChannelType.VOXEL in types else "MISC"


class _StatedUnits:
    """Units that the configuration states, and whether each was of use."""

    def __init__(self, who: str, unit: str | Mapping[str, str] | None) -> None:
        self.who = who
        self._default = None if unit is None or isinstance(unit, Mapping) else self._parse(unit)
        self._by_key = (
            {key: self._parse(text) for key, text in unit.items()} if isinstance(unit, Mapping) else {}
        )
        self._unused = set(self._by_key)

    def _parse(self, text: str) -> tuple[Unit, float]:
        parsed = parse_unit(text)
        if parsed is None:
            raise UserError(
                f"the configuration states unit {text!r} for {self.who}, which is not understood; "
                "write one such as 'V', 'uV', 'fT', 'T/m' or '1'"
            )
        return parsed

    def overruling(self, name: str, kind: ChannelType) -> tuple[Unit, float] | None:
        """Find what is stated for this very channel, by its name or else by its type."""
        for key in (name, kind.value):
            if key in self._by_key:
                self._unused.discard(key)
                return self._by_key[key]
        return None

    def for_unknown(self, name: str, sent: str) -> tuple[Unit, float]:
        """Return what is stated for channels that do not say their unit; refuses if nothing is."""
        if self._default is None:
            says = f"announces unit {sent!r}, which is not understood" if sent else "announces no unit"
            raise UserError(
                f'{self.who}: channel {name!r} {says}; state it in the configuration, e.g. unit = "uV"'
            )
        return self._default

    def check_agreement(self, name: str, sent: str, understood: tuple[Unit, float]) -> None:
        """Refuse a stated unit that contradicts what the stream says: one of the two is wrong."""
        if self._default is None or self._default == understood or self._default[0] is not understood[0]:
            return
        raise UserError(
            f"{self.who}: channel {name!r} announces unit {sent!r}, the configuration states another; remove "
            f'`unit`, or overrule the stream by name or type, e.g. unit = {{ {name!r} = "uV" }}'
        )

    def refuse_unused(self) -> None:
        if self._unused:
            keys = ", ".join(sorted(map(repr, self._unused)))
            raise UserError(
                f"{self.who} has no channel and no channel type {keys}, for which the configuration "
                "states units"
            )


def _names(
    who: str, entries: Sequence[XMLElement], n_channels: int, stated: Sequence[str] | None
) -> list[str]:
    if stated is not None:
        names = list(stated)
        if len(names) != n_channels:
            raise UserError(f"{who} has {n_channels} channels, the configuration names {len(names)}")
    else:
        names = [_text(entry, "label") for entry in entries]
        n_named = sum(bool(name) for name in names)
        if not n_named == len(names) == n_channels:
            raise UserError(
                f"{who} names {n_named} of its {n_channels} channels; state them all in the configuration, "
                'e.g. channel_names = ["Fz", "Cz"]'
            )
    if twice := sorted(name for name, count in Counter(names).items() if count > 1):
        raise UserError(
            f"{who} has more than one channel named {', '.join(map(repr, twice))}; state other names with "
            "channel_names in the configuration"
        )
    return names


def _channel_type(channel_says: str, stream_says: str) -> tuple[ChannelType, bool]:
    """Type of one channel, and whether the channel itself says it (else only the stream as a whole does)."""
    return type_from_text(channel_says or stream_says) or ChannelType.MISC, bool(channel_says)


def _channel_unit(
    stated: _StatedUnits, name: str, kind: ChannelType, sent: str, *, lenient: bool
) -> tuple[Unit, float]:
    if (overruled := stated.overruling(name, kind)) is not None:
        return overruled
    si_unit = _SI_UNIT.get(kind, Unit.NONE)
    understood = (si_unit, float(f"1e{sent}")) if _POWER_OF_TEN.fullmatch(sent) else parse_unit(sent)
    if understood is not None and (understood[0] is not Unit.NONE or si_unit is Unit.NONE):
        stated.check_agreement(name, sent, understood)
        return understood
    if lenient and si_unit is Unit.NONE:  # an accelerometer in g, a trigger line: no decoder scales them
        return Unit.NONE, 1.0
    return stated.for_unknown(name, sent)


def _position(entry: XMLElement | None) -> tuple[float, float, float] | None:
    """Sensor position in metres, or None."""
    if entry is None:
        return None

    def said(*keys: str) -> str:
        *above, last = keys
        inner = entry
        for key in above:
            inner = inner.child(key)
        return _text(inner, last)

    return sensor_position(said)


def _text(entry: XMLElement | None, key: str) -> str:
    return "" if entry is None else str(entry.child_value(key)).strip()


def _children(parent: XMLElement, name: str) -> Iterator[XMLElement]:
    child = parent.child(name)
    while not child.empty():
        yield child
        child = child.next_sibling(name)
