from __future__ import annotations

import numpy as np
import pytest

from rtdecode.sources.marker_text import marker_text, one_hot_texts


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
