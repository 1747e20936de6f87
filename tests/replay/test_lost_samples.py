"""A short run of the count of wrong windows; ``tests/benchmarks/lost_samples.py`` runs a long one."""

from __future__ import annotations

import pytest
from benchmarks.lost_samples import count


@pytest.mark.parametrize(
    ("faults", "share"),
    [
        (["drop:share=0.0005", "bursts:n=12,scatter_ms=3"], 0.8),
        (["drop:share=0.002", "bursts:n=12,scatter_ms=3"], 0.5),
        (["drop:share=0.002", "jitter:sd_ms=0.5"], 0.7),
        (["bursts:n=12,scatter_ms=3"], 0.95),
    ],
    ids=["bursts", "bursts-more-lost", "jitter", "nothing-lost"],
)
def test_no_window_lacks_a_sample_or_is_off_by_more_than_one(faults: list[str], share: float) -> None:
    found = count(faults, range(10))
    assert (found.torn, found.off) == (0, 0)
    assert found.emitted > share * found.asked
