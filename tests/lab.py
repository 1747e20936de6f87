"""A lab that sends when told to, and listening to the service that it is for."""

from __future__ import annotations

import threading
import uuid
from typing import TYPE_CHECKING

import numpy as np
import pylsl

from rtdecode.bus.subscriber import Subscriber
from rtdecode.config import ServeConfig

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import ExitStack
    from pathlib import Path

    from rtdecode.bus.wire import Received
    from rtdecode.service import Service

RATE_HZ = 256.0

AGE_S = 20.0
"""How old the very first sample is when it is sent."""


class Lab:
    """An amplifier and an experiment that send when told to."""

    def __init__(self) -> None:
        self.source_id = f"lab-{uuid.uuid4().hex}"
        self.age_s = AGE_S
        self.plug_in()
        self.experiment = pylsl.StreamOutlet(
            pylsl.StreamInfo("experiment", "Markers", 1, 0, "string", f"{self.source_id}-markers")
        )

    def plug_in(self, names: Sequence[str] = ("CH0", "CH1", "CH2")) -> None:
        info = pylsl.StreamInfo("amplifier", "EEG", len(names), RATE_HZ, "float32", self.source_id)
        channels = info.desc().append_child("channels")
        for name in names:
            node = channels.append_child("channel")
            for key, value in (("label", name), ("type", "EEG"), ("unit", "V")):
                node.append_child_value(key, value)
        self.amplifier: pylsl.StreamOutlet | None = pylsl.StreamOutlet(info)
        # Samples are sent as soon as a test wants them, and none may be stamped before it could be taken.
        self.start = pylsl.local_clock() - self.age_s
        self.n_samples = 0
        # Nor may they come back older than they were: that would be a clock that was set back meanwhile.
        self.age_s /= 2

    def unplug(self) -> None:
        self.amplifier = None

    def send(self, n: int) -> None:
        assert self.amplifier is not None
        samples = np.zeros((n, self.amplifier.channel_count), np.float32)
        samples[:, 0] = np.arange(self.n_samples, self.n_samples + n)
        self.n_samples += n
        self.amplifier.push_chunk(samples, self.start + (self.n_samples - 1) / RATE_HZ)

    def catch_up(self) -> None:
        """Start afresh: the newest of ten samples is stamped now."""
        self.start = pylsl.local_clock() - (self.n_samples + 9) / RATE_HZ
        self.send(10)

    def mark(self, sample: int, label: str) -> None:
        self.experiment.push_sample([label], self.start + sample / RATE_HZ)

    def config(self, *decoders: Path, stride_ms: float | None = None, **service: object) -> ServeConfig:
        return ServeConfig(
            streams=[{"id": "eeg", "lsl": {"source_id": self.source_id}}],
            markers={"streams": [{"source_id": f"{self.source_id}-markers"}]},
            decoders=[{"path": decoder, "stride_ms": stride_ms} for decoder in decoders],
            bus={"publish_port": 0, "subscribe_port": 0, "control_port": 0},
            service={"stale_s": 5 * AGE_S, **service},
        )


def listen(stack: ExitStack, service: Service, *kinds: str) -> Iterator[Received]:
    """All messages until the service says that it has stopped."""
    subscriber = stack.enter_context(Subscriber(service.endpoints.publish, (*kinds, "status")))
    assert subscriber.wait_joined(10)
    return iter(lambda: subscriber.receive(30), None)


def wait_for_state(service: Service, state: str) -> None:
    """Liblsl tells nobody when it notices that a sender went or came, so there is nothing to wait on."""
    pause = threading.Event()
    while service.status().streams["eeg"].state != state:
        pause.wait(0.02)
