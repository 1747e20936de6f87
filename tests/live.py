"""The live service in this process, fed by a recording over LSL."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from replay.player import LslPlayer
from replay.rehearsal import Answers
from rtdecode.bus.subscriber import Subscriber
from rtdecode.config import ServeConfig
from rtdecode.service import Service

if TYPE_CHECKING:
    from pathlib import Path

    from replay.recordings.recording import Recording


def serve(recording: Recording, decoder: Path, *, unit: str | None = None, **player: object) -> Answers:
    """Replay a recording over LSL to a service in this process, and collect all that it says.

    ``unit`` is what the service's configuration states of a stream whose channels have none.
    """
    playing = LslPlayer(recording, wait_timeout_s=30, grace_s=1, **player)
    config = ServeConfig(
        streams=[{"id": "eeg", "lsl": {"source_id": playing.source_id}, "unit": unit}],
        markers={"streams": [{"source_id": playing.marker_source_id}]},
        decoders=[{"path": decoder}],
        bus={"publish_port": 0, "subscribe_port": 0, "control_port": 0},
        service={"allow_speed": playing.speed != 1},
    )
    answers = Answers()
    with (
        Service(config) as service,
        Subscriber(service.endpoints.publish, ("embedding", "verdict", "marker")) as subscriber,
        ThreadPoolExecutor(1) as thread,
    ):
        assert subscriber.wait_joined(10)
        playing.announce()
        service.connect()
        run = thread.submit(playing.run)  # only now: a short recording must not be over before
        answers.collect(subscriber, len(recording.markers), retrieval=False, is_over=run.done)
        playing.stop()
        run.result()
    answers.accounts = service.status().accounts
    return answers
