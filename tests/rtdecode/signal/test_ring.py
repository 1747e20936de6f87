"""A ring gives back exactly what was put in, in one piece, or says that it cannot."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtdecode.signal.ring import LeftRingError, NotYetError, Ring


@settings(max_examples=200, deadline=None)
@given(
    capacity=st.integers(1, 20),
    chunks=st.lists(st.integers(0, 50), min_size=1, max_size=12),
    data=st.data(),
)
def test_every_window_held_is_a_contiguous_view_of_what_was_appended(
    capacity: int, chunks: list[int], data: st.DataObject
) -> None:
    table = np.arange(2 * sum(chunks), dtype=np.float32).reshape(-1, 2)
    ring = Ring(capacity, 2)
    n = 0
    for size in chunks:
        ring.append(table[n : n + size])
        n += size
        assert ring.end == n
        assert ring.first == max(0, n - capacity)
        start = data.draw(st.integers(ring.first, n))
        stop = data.draw(st.integers(start, n))
        view = ring.view(start, stop)
        np.testing.assert_array_equal(view, table[start:stop])
        assert view.flags.c_contiguous
        assert view.base is not None


def test_a_view_cannot_be_written_to() -> None:
    ring = Ring(4, 1)
    ring.append(np.ones((3, 1)))
    with pytest.raises(ValueError, match="read-only"):
        ring.view(0, 2)[0] = 2.0


def test_what_is_not_there_is_refused() -> None:
    ring = Ring(4, 1)
    with pytest.raises(NotYetError):
        ring.view(0, 1)
    ring.append(np.arange(6.0)[:, None])
    with pytest.raises(NotYetError):
        ring.view(3, 7)
    with pytest.raises(LeftRingError):
        ring.view(1, 4)
    assert ring.view(2, 6)[:, 0].tolist() == [2, 3, 4, 5]


def test_a_view_stays_intact_until_first_passes_its_start() -> None:
    ring = Ring(8, 1)
    ring.append(np.arange(8.0)[:, None])
    view = ring.view(3, 6)
    ring.append(np.full((3, 1), -1.0))
    assert ring.first == 3
    assert view[:, 0].tolist() == [3, 4, 5]
    ring.append(np.full((1, 1), -1.0))
    assert ring.first == 4
    assert view[:, 0].tolist() == [-1, 4, 5]


def test_a_ring_without_room_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one row"):
        Ring(0, 1)


def test_a_reader_in_another_thread_that_still_finds_its_rows_held_has_read_them_unharmed() -> None:
    ring = Ring(256, 64)
    ring.append(np.zeros((200, 64)))
    done = threading.Event()
    n_read, torn = 0, []

    def read() -> None:
        nonlocal n_read
        while not done.is_set():
            start = ring.end - 200
            try:
                rows = ring.view(start, start + 200).copy()
            except LeftRingError:
                continue
            if ring.first <= start:
                n_read += 1
                if (rows != rows[:, :1]).any() or (np.diff(rows[:, 0]) < 0).any():
                    torn.append(start)

    reader = threading.Thread(target=read)
    reader.start()
    for value in range(20_000):
        ring.append(np.full((1 + value % 40, 64), value))
    while reader.is_alive() and not n_read:
        pass
    done.set()
    reader.join()
    assert n_read
    assert not torn
