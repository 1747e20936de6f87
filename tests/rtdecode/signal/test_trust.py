"""When samples are trusted; times are in sample periods."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from rtdecode.signal.stamp_line import Line
from rtdecode.signal.trust import Trust

RATE_HZ = 256.0
BLOCK = 13

noises = st.sampled_from([math.inf, 0.02, 0.1, 0.2, 0.35, 0.5, 0.8])
"""Of single stamps, in sample periods; infinite where neighbours are off alike."""


def line(noise: float) -> Line:
    spread = 1.0 if noise == math.inf else noise
    return Line(0.0, 0.0, error_s=0.02, spread_s=spread, noise_s=noise, n_stamps=500)


@given(
    blocks=st.lists(st.tuples(noises, st.booleans()), min_size=3, max_size=40),
    seed=st.integers(0, 1000),
)
def test_it_remembers_when_each_sample_was_trusted_also_while_the_noise_changes(
    blocks: list[tuple[float, bool]], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    trust = Trust(RATE_HZ, 1.0, 10_000)
    trust.judge(line(0.02))
    trust.begin([0.0] * BLOCK)
    come, since = 0, [0]  # of each number of samples, how many had come when so many were trusted
    for noise, is_late in blocks:
        trust.judge(line(noise))
        since += [come] * (trust.certain + 1 - len(since))
        spread = 1.0 if noise == math.inf else noise
        excess = rng.normal(0.0, spread, BLOCK)
        if is_late:  # for a while, by more than a sample
            excess[4:9] += 4.0 + 3.0 * spread
        for value in excess.tolist():
            if not trust.watch([value]):
                return
            come += 1
            since += [come] * (trust.certain + 1 - len(since))
            for samples in range(max(1, len(since) - 40), len(since)):
                assert trust.known(samples) == since[samples]
    assert [trust.known(samples) for samples in range(1, len(since))] == since[1:]
