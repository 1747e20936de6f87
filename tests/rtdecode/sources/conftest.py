"""Outlets of this process, under a source_id of their own."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence

import pylsl
import pytest

MakeInfo = Callable[..., pylsl.StreamInfo]


@pytest.fixture
def source_id() -> str:
    return f"test-{uuid.uuid4().hex}"


@pytest.fixture
def make_info(source_id: str) -> MakeInfo:
    """Description of a signal stream, with as much said of its channels as the test wants."""

    def make(
        labels: Sequence[str] | None = ("Fz", "Cz"),
        units: Sequence[str] | str | None = "uV",
        types: Sequence[str] | str | None = "EEG",
        *,
        n_channels: int | None = None,
        name: str = "Amp",
        stream_type: str = "EEG",
        rate_hz: float = 250.0,
        value_format: str = "float32",
    ) -> pylsl.StreamInfo:
        n = n_channels or len(labels or units or types or ("only",))
        info = pylsl.StreamInfo(name, stream_type, n, rate_hz, value_format, source_id)
        if labels is None and units is None and types is None:
            return info
        channels = info.desc().append_child("channels")
        for index in range(n if labels is None else len(labels)):
            channel = channels.append_child("channel")
            for key, values in (("label", labels), ("unit", units), ("type", types)):
                if values is not None:
                    value = values if isinstance(values, str) else values[index]
                    channel.append_child_value(key, value)
        return info

    return make
