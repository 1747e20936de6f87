from __future__ import annotations

import math
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import pylsl
import pytest

from rtdecode.errors import UserError
from rtdecode.sources.base import ClockReading, StreamLostError
from rtdecode.sources.clock_offsets import SLEW, ClockOffset, ClockOffsets
from rtdecode.sources.lsl import LslClock, SignalInlet, StreamQuery, resolve

LONG_S = 30.0


class Remote:
    """An inlet of another machine whose clock is ``offset_s`` behind, as far as anyone can tell."""

    def __init__(
        self, offset_s: float | None = 12.5, hostname: str = "other", uncertainty_s: float = 1e-4
    ) -> None:
        self.name = "Amp"
        self.hostname = hostname
        self.offset_s = offset_s
        self.uncertainty_s = uncertainty_s
        self.lost = False
        self.asked_twice = threading.Event()
        self.threads: set[str] = set()
        self._n = 0

    def time_correction(self, timeout_s: float) -> ClockReading | None:
        self.threads.add(threading.current_thread().name)
        self._n += 1
        if self._n > 2:
            self.asked_twice.set()
        if self.lost:
            raise StreamLostError("gone")
        if not timeout_s or self.offset_s is None:
            return None
        return ClockReading(self.offset_s, self.uncertainty_s)


def test_the_offset_is_measured_at_once_and_on_a_thread_of_its_own() -> None:
    remote = Remote()
    with ClockOffsets(period_s=3600) as offsets:
        offset = offsets.watch(remote)
        assert offset.wait(LONG_S).seconds == offset.seconds == 12.5
    assert remote.threads == {"clock offsets"}


def test_the_offset_is_kept_up_to_date() -> None:
    remote = Remote()
    with ClockOffsets(period_s=0.001) as offsets:
        offset = offsets.watch(remote)
        offset.wait(LONG_S)
        remote.offset_s = 12.75
        remote.asked_twice.clear()
        remote._n = 0
        assert remote.asked_twice.wait(LONG_S)
        assert offset.seconds == 12.75


def test_a_later_inlet_is_measured_without_waiting_for_the_next_round() -> None:
    with ClockOffsets(period_s=3600) as offsets:
        offsets.watch(Remote()).wait(LONG_S)
        assert offsets.watch(Remote(-1.0)).wait(LONG_S).seconds == -1.0


def test_a_lost_stream_keeps_its_last_offset_and_is_asked_no_more() -> None:
    remote, other = Remote(), Remote()
    with ClockOffsets(period_s=0.001) as offsets:
        offset = offsets.watch(remote)
        offset.wait(LONG_S)
        remote.lost = True
        offsets.watch(other)
        assert other.asked_twice.wait(LONG_S)
        assert offset.seconds == 12.5


def test_a_stream_lost_before_the_first_measurement_says_so() -> None:
    remote = Remote()
    remote.lost = True
    with (
        ClockOffsets() as offsets,
        pytest.raises(StreamLostError, match="lost before its clock was measured"),
    ):
        offsets.watch(remote).wait(LONG_S)


def test_a_clock_that_cannot_be_measured_says_what_to_do() -> None:
    with ClockOffsets() as offsets, pytest.raises(UserError, match=r"host 'other'.*UDP ports 16572-16604"):
        offsets.watch(Remote(None)).wait(0.01)


def test_who_waits_for_a_measurement_is_let_go_when_told_to_stop() -> None:
    remote, stop = Remote(None), threading.Event()
    with ClockOffsets(period_s=0.001) as offsets, ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(offsets.watch(remote).wait, math.inf, stop)
        assert remote.asked_twice.wait(LONG_S)
        stop.set()
        assert waiting.result(LONG_S) is None


def test_a_forgotten_inlet_is_asked_no_more() -> None:
    remote, other = Remote(), Remote()
    with ClockOffsets(period_s=0.001) as offsets:
        offset = offsets.watch(remote)
        offset.wait(LONG_S)
        offsets.forget(offset)
        offsets.watch(other).wait(LONG_S)
        asked = remote._n
        other.asked_twice.clear()
        assert other.asked_twice.wait(LONG_S)
        assert remote._n <= asked + 1  # a round that had begun


@pytest.mark.parametrize(
    ("measured", "uncertainty", "offset"),
    [
        (3e-5, 1e-4, 0.0),
        (-9e-4, 1e-4, 0.0),
        (5e-3, 8e-3, 0.0),  # the machine was busy while it was measured
        (5e-3, 1e-4, 5e-3),
        (0.5, 1e-4, 0.5),
        (-7200.0, 8e-3, -7200.0),
    ],
)
def test_a_sender_on_this_machine_has_no_offset(measured: float, uncertainty: float, offset: float) -> None:
    remote = Remote(measured, socket.gethostname(), uncertainty)
    with ClockOffsets() as offsets:
        assert offsets.watch(remote).wait(LONG_S).seconds == offset


def test_a_real_stream_of_this_machine_is_measured(make_info, source_id) -> None:
    outlet = pylsl.StreamOutlet(make_info())
    info = resolve(StreamQuery(source_id=source_id), LONG_S)
    assert info is not None
    inlet = SignalInlet(info, LslClock())
    with ClockOffsets() as offsets:
        assert offsets.watch(inlet).wait(LONG_S) == (0.0, 0.0)
        del outlet
    inlet.close()


def test_an_offset_is_led_to_a_new_measurement_without_a_jump() -> None:
    offset = ClockOffset(Remote())
    offset.reading = ClockReading(10.0, 1e-4)
    assert offset.steady(100.0) == 10.0
    offset.reading = ClockReading(10.003, 1e-4)
    assert offset.steady(100.0) == 10.0
    assert offset.steady(101.0) == pytest.approx(10.0 + SLEW)
    assert offset.steady(200.0) == 10.003
    offset.reading = ClockReading(9.999, 1e-4)
    assert offset.steady(201.0) == pytest.approx(10.003 - SLEW)


def test_a_clock_that_was_set_is_followed_at_once() -> None:
    offset = ClockOffset(Remote())
    offset.reading = ClockReading(10.0, 1e-4)
    offset.steady(100.0)
    offset.reading = ClockReading(-3000.0, 1e-4)
    assert offset.steady(100.01) == -3000.0


def test_an_error_that_ends_the_thread_is_told() -> None:
    told: list[BaseException] = []
    heard = threading.Event()

    def on_failure(error: BaseException) -> None:
        told.append(error)
        heard.set()

    def on_measured(*_: object) -> None:
        raise ValueError("disk")

    with ClockOffsets(on_measured=on_measured, on_failure=on_failure) as offsets:
        offsets.watch(Remote())
        assert heard.wait(LONG_S)
    assert [str(error) for error in told] == ["disk"]
