from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from index_decoder import index_manifest, placed_channels, write_index_decoder

from rtdecode.config import QualitySettings, ServiceSettings
from rtdecode.connection import Connection, Job, StreamFacts
from rtdecode.contracts import Channel, Quality
from rtdecode.decoder import Decoder
from rtdecode.errors import MismatchError
from rtdecode.signal.clock_shifts import ClockShifts
from rtdecode.signal.markers import Marker

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

RATE_HZ = 256.0


def connect(
    decoders: Sequence[Decoder], channels: Sequence[Channel], bad: Sequence[str] = (), **options: object
) -> Connection:
    return Connection(
        "eeg",
        StreamFacts(channels=tuple(channels), rate_hz=RATE_HZ),
        decoders,
        triggers=(),
        marker_delay_s=0.0,
        settings=ServiceSettings(),
        quality=QualitySettings(),
        bad=bad,
        strides_ms=options.pop("strides_ms", {}),
        first_segment=0,
        shifts=ClockShifts(0.1),
    )


@pytest.fixture
def decoders(tmp_path: Path) -> list[Decoder]:
    """Two that do not share a track: they look at other channels."""
    found = []
    for name, n_channels in (("five", 5), ("six", 6)):
        manifest = index_manifest(
            name=name, channels=placed_channels(6)[:n_channels], on_missing="repair", max_missing=1
        )
        write_index_decoder(tmp_path / name, manifest)
        found.append(Decoder(tmp_path / name))
    return found


def jobs_at(connection: Connection, sample: int, n_channels: int, first: int = 0) -> list[Job]:
    times = np.arange(first, first + 100) / RATE_HZ
    time = sample / RATE_HZ
    connection.mark(Marker("m", "a", time, time, time, sample=sample), sample)
    samples = 1e-5 * np.random.default_rng(0).normal(size=(100, n_channels))
    connection.feed(samples, times, times, float(times[-1]))
    jobs = connection.take(0.0)
    assert all(isinstance(job, Job) for job in jobs)
    return jobs


def test_a_missing_channel_is_told_as_missing_not_as_flat(decoders: list[Decoder]) -> None:
    connection = connect(decoders[1:], placed_channels(6)[1:])
    (job,) = jobs_at(connection, 50, 5)
    assert job.quality == Quality(missing_channels=("CH0",))


def test_bindings_of_all_decoders_change_at_once(decoders: list[Decoder]) -> None:
    connection = connect(decoders, placed_channels(6))
    connection.rebind(connection.bindings(["CH5"]))
    five, six = jobs_at(connection, 50, 6)
    assert (five.decoder.name, five.binding.repair, five.quality.bad_channels) == ("five", None, ())
    assert six.binding.repair is not None
    assert six.quality.bad_channels == ("CH5",)
    with pytest.raises(MismatchError, match="declared bad: CH4, CH5"):
        connection.bindings(["CH4", "CH5"])
    (*_, six) = jobs_at(connection, 150, 6, first=100)
    assert six.quality.bad_channels == ("CH5",)


def test_strides_are_whole_samples_and_at_least_one(decoders: list[Decoder]) -> None:
    connection = connect(decoders[:1], placed_channels(5), strides_ms={"five": 0.001})
    times = np.arange(30) / RATE_HZ
    requests = connection.feed(np.zeros((30, 5)), times, times, 0.0)
    assert [request.index for request in requests] == list(range(30))
