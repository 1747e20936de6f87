from __future__ import annotations

import pytest

from rtdecode.contracts import Fate
from rtdecode.gate import MarkerGate
from rtdecode.signal.markers import Marker


def marker(label: str, stamp: float = 0.0, source: str = "m") -> Marker:
    return Marker(source=source, label=label, stamp=stamp, time=stamp, arrival=stamp)


def test_without_a_table_a_label_is_its_stimulus() -> None:
    admission = MarkerGate().admit(marker("cat"))
    assert (admission.fate, admission.index, admission.stimulus_id) == (Fate.ACCEPTED, 0, "cat")


def test_only_accepted_markers_are_counted() -> None:
    gate = MarkerGate(ignore=["resp*"])
    fates = [gate.admit(marker(label, i)) for i, label in enumerate(["a", "response/1", "b"])]
    assert [a.fate for a in fates] == [Fate.ACCEPTED, Fate.IGNORED, Fate.ACCEPTED]
    assert [a.index for a in fates] == [0, None, 1]


def test_the_same_marker_again_is_a_duplicate() -> None:
    gate = MarkerGate()
    gate.admit(marker("a", 1.0))
    assert gate.admit(marker("a", 1.0)).fate is Fate.DUPLICATE


@pytest.mark.parametrize("other", [marker("b", 1.0), marker("a", 1.5), marker("a", 1.0, "other")])
def test_markers_that_differ_in_anything_are_not_duplicates(other: Marker) -> None:
    gate = MarkerGate()
    gate.admit(marker("a", 1.0))
    assert gate.admit(other).fate is Fate.ACCEPTED
