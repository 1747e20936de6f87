"""How soon answers come."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence


def percentiles_ms(seconds: Sequence[float] | np.ndarray) -> dict[str, float]:
    """Median, 95th and 99th percentile and maximum of durations in seconds, as milliseconds."""
    found = 1e3 * np.percentile(seconds, [50, 95, 99, 100])
    return dict(zip(("p50", "p95", "p99", "max"), found.tolist(), strict=True))
