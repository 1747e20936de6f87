"""What the channel labels, type words and units in a file's header mean."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

from rtdecode.contracts import ChannelType, Unit
from rtdecode.errors import UserError
from rtdecode.sources.metadata import parse_unit

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_WORDS = {
    "eeg": ChannelType.EEG,
    "mag": ChannelType.MAG,
    "grad": ChannelType.GRAD,
    "ref_meg": ChannelType.REF_MEG,
    "eog": ChannelType.EOG,
    "heog": ChannelType.EOG,
    "veog": ChannelType.EOG,
    "heogl": ChannelType.EOG,
    "heogr": ChannelType.EOG,
    "veogb": ChannelType.EOG,
    "ecg": ChannelType.ECG,
    "ekg": ChannelType.ECG,
    "emg": ChannelType.EMG,
    "stim": ChannelType.STIM,
    "sti": ChannelType.STIM,
    "status": ChannelType.STIM,
    "trig": ChannelType.STIM,
    "trigger": ChannelType.STIM,
    "marker": ChannelType.STIM,
    "markers": ChannelType.STIM,
    "misc": ChannelType.MISC,
    "aux": ChannelType.MISC,
    "acc": ChannelType.MISC,
    "gyro": ChannelType.MISC,
    "voxel": ChannelType.VOXEL,
}


def type_from_text(text: str) -> ChannelType | None:
    """Channel type that a label or type field names, None if it names none.

    Any word of the text counts, a number at its end does not: ``"EOG1"``, ``"EEG Fp1"``, ``"Right AUX"``.
    """
    for word in re.findall(r"[A-Za-z_]+", text.casefold()):
        if (found := _WORDS.get(word)) is not None:
            return found
    return None


def stated_unit(units: str | None) -> tuple[Unit, float] | None:
    """SI unit and factor that the caller states for channels whose file does not say.

    Raises
    ------
    UserError
        If the text is no unit.
    """
    if units is None:
        return None
    if (parsed := parse_unit(units)) is None:
        raise UserError(f"unit {units!r} is not understood; write one such as 'V', 'uV', 'fT', 'T/m' or '1'")
    return parsed


def unknown_unit(path: Path, channel: str, text: str) -> UserError:
    """Error for a channel whose unit the file does not tell."""
    says = f"has unit {text!r}, which is not understood" if text else "has no unit"
    return UserError(f"{path}: channel {channel!r} {says}; state what it is (units, --units), e.g. uV")


def cannot_open(path: Path, error: OSError) -> UserError:
    """Error for a file that the system does not let us read."""
    return UserError(f"{path}: cannot be read ({error.strerror or error}); check the file's permissions")


def unique_names(names: Iterable[str]) -> list[str]:
    """Channel names, with ``-0``, ``-1`` … at the end of those that appear more than once."""
    names = list(names)
    total, seen = Counter(names), Counter[str]()
    unique = []
    for name in names:
        unique.append(f"{name}-{seen[name]}" if total[name] > 1 else name)
        seen[name] += 1
    return unique
