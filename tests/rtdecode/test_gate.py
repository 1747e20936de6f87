from __future__ import annotations

import json

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


def test_json_markers_are_known_by_their_key_and_what_cannot_be_read_is_ignored_with_the_reason() -> None:
    gate = MarkerGate(ignore=["fix*"], json_key="image")
    texts = ['{"image": "cat"}', '{"image": "fixation"}', "cat", '{"picture": "cat"}', '{"image": 7}']
    admissions = [gate.admit(marker(text, i)) for i, text in enumerate(texts)]
    assert [(a.label, a.fate, a.stimulus_id) for a in admissions] == [
        ("cat", Fate.ACCEPTED, "cat"),
        ("fixation", Fate.IGNORED, None),
        ("cat", Fate.IGNORED, None),
        ('{"picture": "cat"}', Fate.IGNORED, None),
        ("7", Fate.ACCEPTED, "7"),
    ]
    assert [a.reason for a in admissions[1:4]] == [
        "ignored by rule",
        "is no JSON",
        "is no JSON object with the key 'image'",
    ]


def test_the_same_json_again_is_a_duplicate_however_it_is_written() -> None:
    gate = MarkerGate(json_key="image")
    gate.admit(marker('{"image": "cat"}', 1.0))
    assert gate.admit(marker('{ "image" : "cat", "retry": 1 }', 1.0)).fate is Fate.DUPLICATE


def test_codes_of_a_trigger_channel_are_no_json() -> None:
    gate = MarkerGate(json_key="image")
    assert gate.admit(marker("7", 1.0), is_code=True).stimulus_id == "7"
    assert gate.admit(marker("7", 2.0)).fate is Fate.IGNORED


@pytest.mark.parametrize("text", ["x" * 2_000_000, json.dumps({"image": "x" * 2_000_000})])
def test_a_text_too_long_to_be_a_name_is_ignored_and_cut(text: str) -> None:
    admission = MarkerGate(json_key="image" if text.startswith("{") else None).admit(marker(text))
    assert (admission.fate, len(admission.label)) == (Fate.IGNORED, 1000)
    assert admission.reason == "has 2000000 characters, a marker has at most 1000"
