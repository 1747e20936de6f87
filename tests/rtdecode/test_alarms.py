from __future__ import annotations

from rtdecode.alarms import Alarms
from rtdecode.contracts import AlarmCode, AlarmMessage


class Desk:
    """Alarms, and what was told of them."""

    def __init__(self) -> None:
        self.told: list[AlarmMessage] = []
        self.alarms = Alarms(self.told.append, lambda: True)

    def lines(self) -> list[tuple[str, bool]]:
        return [(message.text, message.active) for message in self.told]


def test_an_alarm_is_told_once_when_it_begins_and_once_when_it_ends() -> None:
    desk = Desk()
    desk.alarms.begin(AlarmCode.STALE, "eeg", "silent for 2 s")
    desk.alarms.begin(AlarmCode.STALE, "eeg", "silent for 3 s")
    assert desk.alarms.active() == ("silent for 3 s",)
    desk.alarms.end(AlarmCode.STALE, "eeg", "samples come again")
    desk.alarms.end(AlarmCode.STALE, "eeg", "samples come again")
    assert desk.alarms.active() == ()
    assert desk.lines() == [("silent for 2 s", True), ("samples come again", False)]
    assert all(message.simulated for message in desk.told)


def test_alarms_of_different_subjects_and_codes_are_apart() -> None:
    desk = Desk()
    desk.alarms.begin(AlarmCode.STALE, "eeg", "a")
    desk.alarms.begin(AlarmCode.STALE, "meg", "b")
    desk.alarms.begin(AlarmCode.LOST, "eeg", "c")
    desk.alarms.end(AlarmCode.STALE, "eeg", "d")
    assert desk.alarms.active() == ("b", "c")


def test_what_happens_at_one_moment_is_told_each_time_and_never_active() -> None:
    desk = Desk()
    for _ in range(2):
        desk.alarms.once(AlarmCode.FLUSHED, "eeg", "thrown away")
    assert desk.lines() == [("thrown away", True)] * 2
    assert desk.alarms.active() == ()
