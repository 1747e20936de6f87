"""What is found in a window is what looking at all of its raw samples would find, whatever the chunks."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtdecode.signal.quality import NO_FINDINGS, Findings, Holder, Screening

RATE_HZ = 200.0  # blocks of 10 samples
LIMIT = 10.0


def screening(n_channels: int = 1, rate_hz: float = RATE_HZ, capacity: int = 400) -> Screening:
    names = [f"c{channel}" for channel in range(n_channels)]
    return Screening(names, rate_hz, capacity, np.full(n_channels, LIMIT))


def looked_at(samples: npt.NDArray[np.float64], put_in: npt.NDArray[np.bool_]) -> Findings:
    """The definition: findings in a window of raw samples, some of which were put in."""
    found: dict[str, list[str]] = {"nan": [], "flat": [], "railed": [], "out_of_range": []}
    for channel, column in enumerate(samples[~put_in].T):
        name = f"c{channel}"
        numbers = column[np.isfinite(column)].astype(np.float32)
        if len(numbers) < len(column):
            found["nan"].append(name)
        if not len(numbers):
            continue
        low, high = numbers.min(), numbers.max()
        stands = max((numbers == low).sum(), (numbers == high).sum())
        if low == high:
            if len(numbers) > 1:
                found["flat"].append(name)
        elif stands >= 5 and stands > 0.05 * len(samples):
            found["railed"].append(name)
        if high - low > LIMIT:
            found["out_of_range"].append(name)
    return Findings(**{what: tuple(names) for what, names in found.items()})


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    borders=st.lists(st.integers(0, 300), max_size=20),
    bridges=st.lists(st.tuples(st.integers(0, 300), st.integers(1, 25)), max_size=2),
    windows=st.lists(st.tuples(st.integers(0, 299), st.integers(1, 200)), min_size=1, max_size=10),
    rate_hz=st.sampled_from([1.0, RATE_HZ, 5000.0]),
    has_nan=st.booleans(),
)
def test_findings_are_those_of_the_windows_raw_samples(
    seed: int,
    borders: list[int],
    bridges: list[tuple[int, int]],
    windows: list[tuple[int, int]],
    rate_hz: float,
    has_nan: bool,
) -> None:
    rng = np.random.default_rng(seed)
    # Noise, few values, a rail, dead now and then, large: each channel has something to be found.
    raw = rng.normal(size=(300, 5))
    raw[:, 1] = rng.integers(0, 12, 300)
    raw[:, 2] = np.minimum(raw[:, 2], rng.uniform(0.5, 2.5))
    raw[rng.integers(0, 200) :, 3] = -3.25
    raw[:, 4] *= 2.5
    if has_nan:
        raw[rng.random((300, 5)) < 0.01] = rng.choice([np.nan, np.inf, -np.inf])
    put_in = np.zeros(300, np.bool_)
    for start, n in bridges:
        put_in[start : start + n] = True

    holder, screen = Holder(5), screening(5, rate_hz, 300)
    told: dict[tuple[int, int], Findings] = {}
    cuts = sorted({0, 300, *borders, *np.flatnonzero(np.diff(put_in)) + 1})
    for start, stop in pairwise(cuts):
        if put_in[start]:
            screen.append(np.ones((stop - start, 5)), None, is_bridge=True)
        else:
            screen.append(*holder.process(raw[start:stop]))
        for first, n in windows:  # as early as possible, and again when more has come
            if first + n <= stop:
                findings = screen.findings(first, first + n)
                assert told.setdefault((first, first + n), findings) == findings
    for (first, last), findings in told.items():
        assert findings == looked_at(raw[first:last], put_in[first:last])


def test_old_samples_make_room_for_new_ones() -> None:
    screen = screening(capacity=100)
    samples = np.random.default_rng(0).normal(size=(5000, 1))
    samples[4950:, 0] = 1.0
    for start in range(0, 5000, 7):
        chunk = samples[start : start + 7]
        screen.append(chunk, None)
        stop = start + len(chunk)
        if stop >= 100:
            none = np.zeros(100, np.bool_)
            assert screen.findings(stop - 100, stop) == looked_at(samples[stop - 100 : stop], none)


@pytest.mark.parametrize(
    ("samples", "findings"),
    [
        ([1.0, 2, 3, 2, 1, 2, 3, 2, 1, 2], NO_FINDINGS),
        ([1.0] * 10, Findings(flat=("c0",))),
        ([1.0] * 9 + [np.nan], Findings(nan=("c0",), flat=("c0",))),
        ([np.nan] * 10, Findings(nan=("c0",))),
        ([1.0, 9, 9, 9, 9, 9, 2, 3, 4, 5], Findings(railed=("c0",))),
        ([1.0, 9, 9, 9, 9, 8, 2, 3, 4, 5], NO_FINDINGS),
        ([5.0, 1, 1, 1, 1, 1, 2, 3, 4, 5], Findings(railed=("c0",))),
        ([5.0, 3, 3, 3, 3, 3, 2, 1, 4, 5], NO_FINDINGS),
        ([0.0, 10.0] * 2, NO_FINDINGS),
        ([0.0, 10.1] * 2, Findings(out_of_range=("c0",))),
        ([1.0], NO_FINDINGS),
    ],
)
def test_each_kind_of_oddity_is_told_from_the_others(samples: list[float], findings: Findings) -> None:
    screen = screening()
    screen.append(*Holder(1).process(np.array(samples)[:, None]))
    assert screen.findings(0, len(samples)) == findings


@given(borders=st.lists(st.integers(0, 8), max_size=6))
def test_the_last_number_is_held_and_zero_before_the_first(borders: list[int]) -> None:
    nan, inf = np.nan, np.inf
    samples = np.array([[nan, 1], [nan, inf], [3, nan], [nan, 4], [5, 5], [-inf, 6], [7, nan], [nan, nan]])
    holder = Holder(2)
    parts = [holder.process(part) for part in np.split(samples, sorted(borders))]
    numbers = np.concatenate([part for part, _ in parts])
    np.testing.assert_array_equal(numbers, [[0, 1], [0, 1], [3, 1], [3, 4], [5, 5], [5, 6], [7, 6], [7, 6]])
    held = np.concatenate([np.zeros(part.shape, np.bool_) if at is None else at for part, at in parts])
    np.testing.assert_array_equal(held, ~np.isfinite(samples))


def test_samples_that_are_numbers_are_not_copied() -> None:
    samples = np.ones((4, 2))
    numbers, held = Holder(2).process(samples)
    assert numbers is samples
    assert held is None
