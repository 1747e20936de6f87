from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the extra 'train'")

from rtdecode.contracts import Channel, ChannelType, Unit
from rtdecode.errors import UserError
from training.networks.sensors import layout


def channel(name: str, position_m: tuple[float, float, float] | None) -> Channel:
    return Channel(name=name, type=ChannelType.EEG, unit=Unit.VOLT, position_m=position_m)


def test_the_map_is_the_head_seen_from_above() -> None:
    mne = pytest.importorskip("mne")
    places = mne.channels.make_standard_montage("biosemi64").get_positions()["ch_pos"]
    names = ["Cz", "Fpz", "Oz", "T7", "T8", "F3", "F4"]
    everywhere = list(places)
    flat = layout([channel(name, tuple(places[name])) for name in everywhere])
    assert flat.min() == 0
    assert flat.max() == pytest.approx(1)
    at = {name: flat[everywhere.index(name)] for name in names}
    assert at["Fpz"][1] > at["Cz"][1] > at["Oz"][1]
    assert at["T7"][0] < at["F3"][0] < at["Cz"][0] < at["F4"][0] < at["T8"][0]
    # as far as on the head: half a meridian to the front as to the back, within what a sphere is not
    assert np.ptp([np.linalg.norm(at[name] - at["Cz"]) for name in ("Fpz", "Oz", "T7", "T8")]) < 0.05


def test_a_channel_without_a_position_is_named() -> None:
    with pytest.raises(UserError, match="no sensor position of EXG1"):
        layout([channel("Cz", (0.0, 0.0, 0.1)), channel("EXG1", None)])


def test_few_sensors_and_one_in_the_middle_have_a_map() -> None:
    assert np.isfinite(layout([channel("Cz", (0.0, 0.0, 0.1))])).all()
    two = layout([channel("A", (-0.05, 0.0, 0.08)), channel("B", (0.05, 0.0, 0.08))])
    assert two[1, 0] - two[0, 0] == pytest.approx(1)
