"""Sensor positions of a cap whose file does not tell them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rtdecode.contracts import ChannelType

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rtdecode.contracts import Channel


def placed(channels: Sequence[Channel], montage: str) -> tuple[Channel, ...]:
    """Channels with the positions of a montage: EEG channels that it has, and that have none yet.

    Parameters
    ----------
    channels
        The channels.
    montage
        Name of one of MNE's montages, such as ``easycap-M1`` or ``biosemi64``.
    """
    import mne

    scheme = mne.channels.make_standard_montage(montage)
    names = [
        channel.name
        for channel in channels
        if channel.type is ChannelType.EEG and channel.position_m is None and channel.name in scheme.ch_names
    ]
    if not names:
        return tuple(channels)
    info = mne.create_info(names, 1.0, "eeg")
    info.set_montage(scheme, verbose="error")
    position_m = {one["ch_name"]: tuple(np.asarray(one["loc"][:3], float).tolist()) for one in info["chs"]}
    return tuple(
        channel.model_copy(update={"position_m": position_m.get(channel.name, channel.position_m)})
        for channel in channels
    )
