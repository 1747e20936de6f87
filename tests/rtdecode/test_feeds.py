"""A source may fall silent, come late, go away or come back changed: a person is told, nothing is guessed."""

from __future__ import annotations

import math
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from lab import RATE_HZ, Lab, listen, wait_for_state

from rtdecode.contracts import AlarmCode, AlarmMessage, EmbeddingMessage, StreamState, VerdictMessage
from rtdecode.engine import Engine
from rtdecode.feeds import SignalFeed
from rtdecode.service import Service
from rtdecode.sources.lsl import SignalInlet

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from rtdecode.bus.wire import Received


def next_alarm(heard: Iterator[Received], code: AlarmCode, *, active: bool) -> AlarmMessage:
    return next(
        message
        for message in (received.message for received in heard)
        if isinstance(message, AlarmMessage) and (message.code, message.active) == (code, active)
    )


def next_embedding(heard: Iterator[Received]) -> EmbeddingMessage:
    return next(r.message for r in heard if isinstance(r.message, EmbeddingMessage))


def wait_received(service: Service, n: int) -> None:
    """Liblsl tells nobody when samples have arrived, so there is nothing to wait on."""
    feed = next(feed for feed in service._feeds if isinstance(feed, SignalFeed))
    pause = threading.Event()
    while feed._signal.waiting() < n:
        pause.wait(0.02)


def test_a_silent_stream_raises_an_alarm_that_ends_when_samples_come_again(lab: Lab, decoder: Path) -> None:
    with ExitStack() as stack:
        service = stack.enter_context(Service(lab.config(decoder, stale_s=0.3)))
        heard = listen(stack, service, "alarm")
        service.connect()
        lab.send(10)
        alarm = next_alarm(heard, AlarmCode.STALE, active=True)
        assert alarm.subject == "eeg"
        assert "newest sample is" in alarm.text
        status = service.status()
        assert status.streams["eeg"].state is StreamState.STALE
        assert (status.streams["eeg"].age_s or 0) > 0.3
        assert len(status.alarms) == 1
        lab.catch_up()
        next_alarm(heard, AlarmCode.STALE, active=False)
        assert service.status().alarms == ()


def test_a_stream_that_never_sent_raises_the_alarm_of_a_silent_one(lab: Lab, decoder: Path) -> None:
    with ExitStack() as stack:
        service = stack.enter_context(Service(lab.config(decoder, stale_s=0.3)))
        heard = listen(stack, service, "alarm")
        service.connect()
        alarm = next_alarm(heard, AlarmCode.STALE, active=True)
        assert "has sent nothing since it was connected" in alarm.text
        stream = service.status().streams["eeg"]
        assert (stream.state, stream.age_s) == (StreamState.STALE, None)
        assert "has sent nothing" in stream.reason
        lab.catch_up()
        next_alarm(heard, AlarmCode.STALE, active=False)
        assert service.status().streams["eeg"].state is not StreamState.STALE


def test_a_stream_that_comes_back_with_other_channels_is_refused_until_it_fits(
    lab: Lab, decoder: Path
) -> None:
    with ExitStack() as stack:
        service = stack.enter_context(Service(lab.config(decoder)))
        heard = listen(stack, service, "alarm", "embedding")
        service.connect()
        lab.send(50)
        lab.unplug()
        next_alarm(heard, AlarmCode.LOST, active=True)
        lab.plug_in(["CH0", "CH1", "other"])
        alarm = next_alarm(heard, AlarmCode.REFUSED, active=True)
        assert "channels missing: CH2" in alarm.text
        wait_for_state(service, "refused")
        lab.unplug()
        lab.plug_in(["CH0", "more", "CH2", "CH1"])  # in another order and with one more: fits by name
        next_alarm(heard, AlarmCode.REFUSED, active=False)
        wait_for_state(service, "live")
        lab.n_samples = 0
        lab.mark(10, "back")
        lab.send(200)
        message = next_embedding(heard)
        assert (message.label, message.segment, message.onset_sample) == ("back", 1, 10)
        assert service.status().streams["eeg"].reconnects == 1


@pytest.mark.parametrize("comes_back", [False, True])
def test_a_stop_while_a_clock_is_measured_ends_the_connecting(
    lab: Lab, decoder: Path, monkeypatch: pytest.MonkeyPatch, comes_back: bool
) -> None:
    asked = threading.Event()

    def never(self: SignalInlet, timeout_s: float) -> None:
        asked.set()

    with ExitStack() as stack:
        service = stack.enter_context(Service(lab.config(decoder)))
        heard = listen(stack, service, "alarm")
        if comes_back:
            service.connect()
            lab.send(50)
            lab.unplug()
            next_alarm(heard, AlarmCode.LOST, active=True)
        monkeypatch.setattr("rtdecode.feeds._FIRST_OFFSET_S", math.inf)
        monkeypatch.setattr(SignalInlet, "time_correction", never)
        if comes_back:
            lab.plug_in()
            assert asked.wait(30)
        else:
            thread = stack.enter_context(ThreadPoolExecutor(1))
            connecting = thread.submit(service.connect)
            assert asked.wait(30)
            service.request_stop()
            connecting.result(30)
    stream = service.status().streams["eeg"]
    assert (stream.state, stream.reconnects) == (StreamState.CONNECTING, 0)


@pytest.mark.parametrize("pull", [4096, 25], ids=["few channels", "as of 272 channels"])
def test_a_backlog_is_thrown_away_and_counted(
    lab: Lab, decoder: Path, monkeypatch: pytest.MonkeyPatch, pull: int
) -> None:
    """Of many channels one pull brings a tenth of a second, however much waits."""
    lab.start -= 6.0  # what it sends at once was taken by now
    monkeypatch.setattr("rtdecode.sources.lsl._LARGEST_CHUNK_BYTES", 8 * 3 * pull)
    asleep, awake = threading.Event(), threading.Event()
    feed = Engine.feed

    def sleepy_feed(self: Engine, *arguments: object) -> None:
        feed(self, *arguments)  # type: ignore[arg-type]
        asleep.set()
        assert awake.wait(30)

    with ExitStack() as stack:
        service = stack.enter_context(Service(lab.config(decoder, max_lag_s=1.0)))
        heard = listen(stack, service, "alarm", "embedding", "verdict")
        service.connect()
        monkeypatch.setattr(Engine, "feed", sleepy_feed)
        lab.send(1)
        assert asleep.wait(30)
        lab.mark(200, "lost")
        lab.send(int(3 * RATE_HZ))
        wait_received(service, int(3 * RATE_HZ))
        awake.set()
        alarm = next_alarm(heard, AlarmCode.FLUSHED, active=True)
        assert f"{int(3 * RATE_HZ)} samples" in alarm.text
        lab.mark(lab.n_samples + 30, "fresh")
        lab.send(200)
        verdicts = {}
        for received in heard:
            if isinstance(received.message, VerdictMessage):
                verdicts[received.message.label] = received.message.verdict.value
            if len(verdicts) == 2:
                break
        assert verdicts == {"lost": "gap", "fresh": "emitted"}
        assert service.status().streams["eeg"].flushed_samples == int(3 * RATE_HZ)
    assert service.status().accounts.n_open == 0
