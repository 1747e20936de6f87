from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtdecode.config import ServeConfig
from rtdecode.contracts import ChannelType, Unit
from rtdecode.errors import UserError
from rtdecode.sources.metadata import parse_unit, stream_channels

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("text", "unit", "factor"),
    [
        ("V", Unit.VOLT, 1.0),
        ("volts", Unit.VOLT, 1.0),
        ("Volt", Unit.VOLT, 1.0),
        ("mV", Unit.VOLT, 1e-3),
        ("millivolts", Unit.VOLT, 1e-3),
        ("uV", Unit.VOLT, 1e-6),
        ("UV", Unit.VOLT, 1e-6),
        ("\N{MICRO SIGN}V", Unit.VOLT, 1e-6),
        ("\N{GREEK SMALL LETTER MU}V", Unit.VOLT, 1e-6),
        ("microvolts", Unit.VOLT, 1e-6),
        ("Microvolt", Unit.VOLT, 1e-6),
        (" nV ", Unit.VOLT, 1e-9),
        ("T", Unit.TESLA, 1.0),
        ("fT", Unit.TESLA, 1e-15),
        ("picotesla", Unit.TESLA, 1e-12),
        ("T/m", Unit.TESLA_PER_METRE, 1.0),
        ("fT/cm", Unit.TESLA_PER_METRE, 1e-13),
        ("fT/mm", Unit.TESLA_PER_METRE, 1e-12),
        ("none", Unit.NONE, 1.0),
        ("1", Unit.NONE, 1.0),
    ],
)
def test_units_are_understood_as_people_write_them(text: str, unit: Unit, factor: float) -> None:
    assert parse_unit(text) == (unit, factor)


@pytest.mark.parametrize(
    "text", ["", "MV", "PT", "FIFFB_ISOTRAK", "counts", "a.u.", "V/m", "uV/sqrt(Hz)", "107"]
)
def test_what_is_not_certain_is_not_understood(text: str) -> None:
    assert parse_unit(text) is None


@given(st.text(max_size=8))
def test_any_text_is_either_a_unit_or_none(text: str) -> None:
    parsed = parse_unit(text)
    assert parsed is None or (isinstance(parsed[0], Unit) and 0 < parsed[1] <= 1)


def test_channels_carry_si_units_and_factors(make_info) -> None:
    info = make_info(["Fz", "M1", "G1", "STI"], ["uV", "fT", "fT/cm", ""], ["EEG", "MEG", "MEG", "stim"])
    channels, scale = stream_channels(info)
    assert [channel.name for channel in channels] == ["Fz", "M1", "G1", "STI"]
    assert [channel.type for channel in channels] == [
        ChannelType.EEG,
        ChannelType.MAG,
        ChannelType.GRAD,
        ChannelType.STIM,
    ]
    assert [channel.unit for channel in channels] == [
        Unit.VOLT,
        Unit.TESLA,
        Unit.TESLA_PER_METRE,
        Unit.NONE,
    ]
    assert scale == (1e-6, 1e-15, 1e-13, 1.0)


def test_a_channel_without_a_type_has_that_of_the_stream(make_info) -> None:
    channels, _ = stream_channels(make_info(types=None, stream_type="EEG"))
    assert {channel.type for channel in channels} == {ChannelType.EEG}


def test_powers_of_ten_are_of_the_unit_of_the_type(make_info) -> None:
    info = make_info(["E", "M", "G", "S"], ["-6", "0", "-13", "0"], ["eeg", "mag", "grad", "stim"])
    channels, scale = stream_channels(info)
    assert [channel.unit for channel in channels] == [
        Unit.VOLT,
        Unit.TESLA,
        Unit.TESLA_PER_METRE,
        Unit.NONE,
    ]
    assert scale == (1e-6, 1.0, 1e-13, 1.0)


@pytest.mark.parametrize("sent", ["", "FIFFB_ISOTRAK", "none", "1", "counts"])
def test_an_unknown_unit_is_refused_unless_stated(make_info, sent: str) -> None:
    info = make_info(units=sent)
    with pytest.raises(UserError, match=r"^stream 'Amp': channel 'Fz' announces .*state it .*unit = \"uV\"$"):
        stream_channels(info)
    channels, scale = stream_channels(info, unit="uV")
    assert {channel.unit for channel in channels} == {Unit.VOLT}
    assert scale == (1e-6, 1e-6)


def test_a_stream_that_says_nothing_of_its_channels_needs_everything_stated(make_info) -> None:
    info = make_info(None, None, None, n_channels=2, stream_type="")
    with pytest.raises(UserError, match="names 0 of its 2 channels"):
        stream_channels(info)
    with pytest.raises(UserError, match="announces no unit"):
        stream_channels(info, channel_names=["a", "b"])
    channels, scale = stream_channels(info, channel_names=["a", "b"], unit="mV")
    assert [(channel.name, channel.unit) for channel in channels] == [("a", Unit.VOLT), ("b", Unit.VOLT)]
    assert scale == (1e-3, 1e-3)


def test_auxiliary_channels_in_foreign_units_do_not_refuse_the_stream(make_info) -> None:
    channels, scale = stream_channels(make_info(["Fz", "acc"], ["uV", "g"], ["EEG", "ACC"]))
    assert (channels[1].type, channels[1].unit, scale[1]) == (ChannelType.MISC, Unit.NONE, 1.0)


def test_a_stated_unit_that_contradicts_the_stream_is_refused(make_info) -> None:
    with pytest.raises(UserError, match="announces unit 'uV', the configuration states another"):
        stream_channels(make_info(units="uV"), unit="V")


def test_units_stated_by_type_or_name_overrule_the_stream(make_info) -> None:
    info = make_info(["Fz", "Cz"], "V", "EEG")
    assert stream_channels(info, unit={"eeg": "uV"})[1] == (1e-6, 1e-6)
    assert stream_channels(info, unit={"Cz": "nV"})[1] == (1.0, 1e-9)
    assert stream_channels(info, unit={"Cz": "nV", "eeg": "uV"})[1] == (1e-6, 1e-9)
    with pytest.raises(UserError, match="no channel and no channel type 'Oz'"):
        stream_channels(info, unit={"Oz": "uV"})


def test_units_advised_by_the_error_can_be_stated_in_the_configuration(make_info, tmp_path: Path) -> None:
    info = make_info(["Fz", "Cz"], "uV", "EEG")
    with pytest.raises(UserError) as caught:
        stream_channels(info, unit="V")
    advised = re.search(r"unit = \{ .* \}", str(caught.value))
    assert advised is not None
    path = tmp_path / "serve.toml"
    path.write_text(
        f'[[streams]]\nid = "eeg"\nlsl = {{ type = "EEG" }}\n{advised[0]}\n'
        '[[markers.streams]]\ntype = "Markers"\n[[decoders]]\npath = "decoder.onnx"\n'
    )
    stated = ServeConfig.load(path).streams[0].unit
    assert stream_channels(info, unit=stated)[1] == (1e-6, 1e-6)


def test_a_stated_unit_that_is_none_is_refused(make_info) -> None:
    with pytest.raises(UserError, match=r"states unit 'furlong'.*not understood"):
        stream_channels(make_info(), unit="furlong")


def test_stated_names_must_be_one_a_channel(make_info) -> None:
    with pytest.raises(UserError, match="has 2 channels, the configuration names 3"):
        stream_channels(make_info(), channel_names=["a", "b", "c"])
    channels, _ = stream_channels(make_info(), channel_names=["a", "b"])
    assert [channel.name for channel in channels] == ["a", "b"]


def test_duplicated_and_missing_labels_are_refused(make_info) -> None:
    with pytest.raises(UserError, match="more than one channel named 'Fz'"):
        stream_channels(make_info(["Fz", "Fz"]))
    with pytest.raises(UserError, match="names 1 of its 2 channels"):
        stream_channels(make_info(["Fz", " "]))
    with pytest.raises(UserError, match="names 1 of its 2 channels"):
        stream_channels(make_info(["Fz"], n_channels=2))


@pytest.mark.parametrize(
    ("unit", "sent", "position"),
    [
        (None, (0.01, -0.05, 0.08), (0.01, -0.05, 0.08)),
        ("mm", (10.0, -50.0, 80.0), (0.01, -0.05, 0.08)),
        ("cm", (1.0, -5.0, 8.0), (0.01, -0.05, 0.08)),
        (None, (10.0, -50.0, 80.0), None),
        ("inch", (0.01, 0.02, 0.03), None),
        (None, (0.0, 0.0, 0.0), None),
        (None, (float("nan"), 0.0, 0.1), None),
        (None, ("here", 0.0, 0.1), None),
    ],
)
def test_positions_are_metres_or_left_out(make_info, unit, sent, position) -> None:
    info = make_info(["Fz"])
    location = info.desc().child("channels").child("channel").append_child("location")
    for axis, value in zip("XYZ", sent, strict=True):
        location.append_child_value(axis, str(value))
    if unit:
        location.append_child_value("unit", unit)
    found = stream_channels(info)[0][0].position_m
    assert (found is None) if position is None else np.allclose(found, position, rtol=1e-12)
