from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from rtdecode.gap_log import GapLog

if TYPE_CHECKING:
    import pytest


def test_gaps_are_told_at_once_and_then_counted_for_ten_seconds(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    gaps, told = GapLog("eeg", 3), []
    for segment, now in ((3, 0.0), (4, 1.0), (5, 2.0), (7, 10.9), (7, 11.0), (7, 40.0), (8, 41.0)):
        gaps.follow(segment, now)
        told.append(len(caplog.records))
    assert told == [0, 1, 1, 1, 2, 2, 3]
    assert ["1 gap," in r.getMessage() for r in caplog.records] == [True, False, True]
    assert "stream eeg: 3 gaps, " in caplog.records[1].getMessage()
    assert "segment 7 begins" in caplog.records[1].getMessage()
