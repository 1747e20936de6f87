from __future__ import annotations

import contextlib
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtdecode.sources.marker_text import json_text, marker_text, one_hot_texts


@pytest.mark.parametrize(
    ("values", "text"),
    [
        (["face/07"], "face/07"),
        ([" house\n"], "house"),
        ([b"Stra\xdfe"], "Straße"),
        (["Straße".encode()], "Straße"),
        ([""], ""),
        ([" ", ""], ""),
        (["stimulus", "", " 12 "], "stimulus/12"),
        ([np.float32(0.1)], "0.1"),
        ([np.float32(7)], "7"),
        ([np.float64(0.1)], "0.1"),
        ([np.float64(1e6)], "1000000"),
        ([np.int8(-3)], "-3"),
        ([np.float32(np.nan)], "nan"),
    ],
)
def test_text_is_the_shortest_that_says_it(values: list[str | bytes | np.generic], text: str) -> None:
    assert marker_text(values) == text


def test_one_hot_samples_name_their_channels() -> None:
    assert one_hot_texts(np.array([0.0, 1.0, 2.0]), ["a", "b", "c"]) == ["b", "c"]


@pytest.mark.parametrize(
    ("text", "key", "said"),
    [
        ('{"stimulus": "face/07"}', "stimulus", "face/07"),
        ('{"stimulus": " house "}', "stimulus", "house"),
        ('{"event": {"image": {"file": "Straße.jpg"}}, "n": 3}', "event.image.file", "Straße.jpg"),
        ('{"code": 7}', "code", "7"),
        ('{"code": 7.0}', "code", "7"),
        ('{"code": 0.1}', "code", "0.1"),
        ('{"code": -3}', "code", "-3"),
        ('{"go": true}', "go", "true"),
        ('{"a": "\\ud83d\\ude00"}', "a", "😀"),
    ],
)
def test_a_json_marker_says_what_its_key_holds(text: str, key: str, said: str) -> None:
    assert json_text(text, key) == said


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("face", "is no JSON"),
        ("", "is no JSON"),
        ('{"a": {"b": 1}', "is no JSON"),
        ('{"a": {"b": NaN}}', "is no JSON"),
        ("[" * 100_000, "is no JSON"),
        ('{"a": {"b": ' + 5000 * "9" + "}}", "is no JSON"),
        ("7", "no JSON object with the key 'a.b'"),
        ('["a"]', "no JSON object with the key 'a.b'"),
        ('{"a": "b"}', "no JSON object with the key 'a.b'"),
        ('{"b": 1}', "no JSON object with the key 'a.b'"),
        ('{"a": {}}', "no JSON object with the key 'a.b'"),
        ('{"a": {"b": null}}', "says nothing"),
        ('{"a": {"b": " "}}', "says nothing"),
        ('{"a": {"b": ["face"]}}', "says nothing"),
        ('{"a": {"b": 1e999}}', "says nothing"),
        ('{"a": {"b": "\\ud83d"}}', "says nothing"),  # half a character, which could not be published
    ],
)
def test_what_is_no_such_json_marker_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        json_text(text, "a.b")


@given(st.text(max_size=40) | st.recursive(st.none() | st.text(), st.lists).map(json.dumps))
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert json_text(text, "a")
