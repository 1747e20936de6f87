"""Messages, and a broker on free ports with a clock that tests own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from rtdecode.bus import Broker
from rtdecode.contracts import (
    Accounts,
    ControlReply,
    ControlRequest,
    EmbeddingMessage,
    Fate,
    HeadOutput,
    HeadRole,
    Quality,
    Request,
    Stamps,
    StatusMessage,
    StreamStatus,
    Verdict,
    VerdictMessage,
)

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def request_of_marker() -> Request:
    return Request(stream="eeg", segment=0, origin="marker", index=3, decoder="ridge")


@pytest.fixture
def status() -> StatusMessage:
    accounts = Accounts(markers={Fate.ACCEPTED: 4}, requests={Verdict.EMITTED: 3}, n_open=1)
    return StatusMessage(
        simulated=True,
        state="live",
        accounts=accounts,
        streams={"eeg": StreamStatus(state="live")},
        providers={},
        delays={},
    )


@pytest.fixture
def verdict(request_of_marker: Request) -> VerdictMessage:
    return VerdictMessage(
        simulated=True,
        request=request_of_marker,
        label="face/1",
        stimulus_id="face_1",
        verdict=Verdict.EMITTED,
    )


@pytest.fixture
def embedding(request_of_marker: Request) -> EmbeddingMessage:
    """Two heads, of 3 and 2 dimensions."""
    return EmbeddingMessage(
        simulated=True,
        request=request_of_marker,
        label="face/1",
        stimulus_id="face_1",
        decoder_sha256="0" * 64,
        segment=0,
        stream_delay_s=0.0,
        marker_delay_s=0.012,
        onset_sample=1200,
        residual_us=-120.5,
        stamps=Stamps(
            marker_host="stimulus-pc",
            data_host="amplifier-pc",
            marker_source=1.0,
            marker_corrected=1.25,
            marker_arrival=1.5,
            data_source=1.75,
            data_corrected=2.0,
            data_arrival=2.25,
            inference_start=2.5,
            inference_end=2.75,
        ),
        quality=Quality(),
        heads=(
            HeadOutput(name="clip", role=HeadRole.RETRIEVAL, dim=3),
            HeadOutput(name="pixels", role=HeadRole.RECONSTRUCTION, dim=2),
        ),
    )


@pytest.fixture
def payload() -> list[np.ndarray]:
    """What belongs to ``embedding``."""
    return [np.array([1.0, -2.0, 3.5], np.float32), np.array([0.0, 1e-30], np.float32)]


class Clock:
    """Counts its readings."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def broker(clock: Clock, status: StatusMessage) -> Iterator[Broker]:
    def answer(request: ControlRequest) -> ControlReply:
        match request.op:
            case "status":
                return ControlReply(ok=True, status=status)
            case "stop":
                return ControlReply(ok=False, error="busy recording")
            case "decoders":
                raise RuntimeError("no decoders in this test")

    with Broker("127.0.0.1", 0, 0, 0, answer, clock=clock) as running:
        yield running
