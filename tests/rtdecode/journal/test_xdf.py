from __future__ import annotations

import io
import logging
from typing import TYPE_CHECKING

import numpy as np
import pyxdf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from rtdecode.journal import xdf

if TYPE_CHECKING:
    import pytest

STARTED = "2026-01-01T00:00:00.000+00:00"
STAMPS = st.floats(-1e9, 1e9)


def load(content: bytes, **options: object) -> dict:
    streams, _ = pyxdf.load_xdf(
        io.BytesIO(content), dejitter_timestamps=False, synchronize_clocks=False, **options
    )
    return {stream["info"]["stream_id"]: stream for stream in streams}


@settings(deadline=None)
@given(data=st.data(), value_format=st.sampled_from(sorted(xdf.DTYPES)), n_channels=st.integers(1, 5))
def test_numbers_of_every_format_come_back_as_they_were(
    data: st.DataObject, value_format: str, n_channels: int
) -> None:
    sizes = data.draw(st.lists(st.sampled_from([0, 1, 2, 255, 256, 300]), min_size=1, max_size=4))
    content = xdf.MAGIC + xdf.file_header(STARTED)
    content += xdf.stream_header(
        7, name="a", kind="EEG", n_channels=n_channels, rate_hz=0.0, value_format=value_format
    )
    chunks = []
    for n in sizes:
        values = data.draw(npst.arrays(xdf.DTYPES[value_format], (n, n_channels)))
        stamps = data.draw(npst.arrays(np.float64, n, elements=STAMPS))
        chunks.append((stamps, values))
        content += xdf.samples(7, stamps, values, value_format) + xdf.boundary()
    stream = load(content)[7]
    np.testing.assert_array_equal(stream["time_stamps"], np.concatenate([stamps for stamps, _ in chunks]))
    np.testing.assert_array_equal(stream["time_series"], np.concatenate([values for _, values in chunks]))


@settings(deadline=None)
@given(said=st.lists(st.text(max_size=300), min_size=1), stamps=st.lists(STAMPS, min_size=1))
def test_texts_come_back_as_they_were(said: list[str], stamps: list[float]) -> None:
    content = xdf.MAGIC + xdf.file_header(STARTED)
    content += xdf.stream_header(1, name="m", kind="Markers", n_channels=1, rate_hz=0, value_format="string")
    pairs = list(zip(stamps, said, strict=False))
    content += b"".join(xdf.text(1, stamp, one) for stamp, one in pairs)
    stream = load(content)[1]
    assert stream["time_series"] == [[one] for _, one in pairs]
    assert stream["time_stamps"].tolist() == [stamp for stamp, _ in pairs]


@settings(deadline=None)
@given(name=st.text(st.characters(), max_size=20), unit=st.text(max_size=5))
def test_whatever_a_stream_is_called_its_header_can_be_read(name: str, unit: str) -> None:
    content = xdf.MAGIC + xdf.file_header(STARTED)
    content += xdf.stream_header(
        1,
        name=name,
        kind="EEG",
        n_channels=1,
        rate_hz=1000 / 3,
        value_format="float32",
        source_id=name,
        host=name,
        description=[("channels", [("channel", [("label", name), ("unit", unit)])])],
    )
    content += xdf.stream_footer(1, first=0.1, last=2.0, n_samples=3)
    stream = load(content)[1]
    assert float(stream["info"]["nominal_srate"][0]) == 1000 / 3
    if name.isprintable() and name.strip() == name and name:
        assert stream["info"]["name"] == [name]
        assert stream["info"]["desc"][0]["channels"][0]["channel"][0]["label"] == [name]
    assert stream["footer"]["info"]["sample_count"] == ["3"]


def test_clock_offsets_bring_two_streams_to_one_clock() -> None:
    content = xdf.MAGIC + xdf.file_header(STARTED)
    for number, offset in ((1, 0.0), (2, 5.0)):
        content += xdf.stream_header(
            number, name=str(number), kind="EEG", n_channels=1, rate_hz=10.0, value_format="double64"
        )
        for at in (100.0, 105.0, 110.0):
            content += xdf.clock_offset(number, at, offset)
        content += xdf.samples(number, np.arange(100, 110, 0.1) - offset, np.zeros((100, 1)), "double64")
    streams, _ = pyxdf.load_xdf(io.BytesIO(content), dejitter_timestamps=False)
    np.testing.assert_allclose(streams[0]["time_stamps"], streams[1]["time_stamps"], atol=1e-9)


def test_a_file_cut_in_its_last_chunk_opens_in_pyxdf(caplog: pytest.LogCaptureFixture) -> None:
    content = xdf.MAGIC + xdf.file_header(STARTED)
    content += xdf.stream_header(1, name="a", kind="EEG", n_channels=2, rate_hz=10.0, value_format="int16")
    for chunk in range(3):
        content += xdf.samples(1, np.arange(2.0), np.full((2, 2), chunk), "int16") + xdf.boundary()
    complete = len(content)
    content += xdf.samples(1, np.arange(2.0), np.full((2, 2), 3), "int16")
    caplog.set_level(logging.CRITICAL)
    for cut in range(complete + 4, len(content) + 1):  # pyxdf cannot do without a chunk's tag
        values = load(content[:cut])[1]["time_series"]
        # Of the last chunk it may make up what is missing.
        assert values[:6, 0].tolist() == [0, 0, 1, 1, 2, 2]
