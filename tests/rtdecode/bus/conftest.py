"""Messages, and a broker on free ports with a clock that tests own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from messages import REQUEST, embedding_message

from rtdecode.bus import Broker
from rtdecode.contracts import (
    Accounts,
    ControlReply,
    ControlRequest,
    EmbeddingMessage,
    Fate,
    StatusMessage,
    StreamStatus,
    Verdict,
    VerdictMessage,
)

if TYPE_CHECKING:
    from collections.abc import Iterator


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
def verdict() -> VerdictMessage:
    return VerdictMessage(
        simulated=True, request=REQUEST, label="face/1", stimulus_id="face_1", verdict=Verdict.EMITTED
    )


@pytest.fixture
def embedding() -> EmbeddingMessage:
    """Two heads, of 3 and 2 dimensions."""
    return embedding_message()


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
