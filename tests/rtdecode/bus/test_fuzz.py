"""A short run of the fuzzer; ``tests/benchmarks/fuzz_wire.py`` runs a long one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from benchmarks.fuzz_wire import fuzz_decode, fuzz_raw, fuzz_sockets

if TYPE_CHECKING:
    from pathlib import Path


def test_damaged_messages_raise_nothing_but_wire_errors() -> None:
    result = fuzz_decode(20_000, seed=1)
    for outcome in ("accepted", "truncated", "oversized", "malformed", "topic"):
        assert result[outcome] > 0  # it reaches everything


def test_a_broker_under_fire_serves_healthy_peers() -> None:
    assert fuzz_sockets(1_000, seed=2)["worker_malformed"] > 0


@pytest.mark.parametrize("secured", [False, True])
def test_damaged_bytes_on_its_ports_disturb_no_healthy_peer(tmp_path: Path, secured: bool) -> None:
    fuzz_raw(200, seed=3, keys=tmp_path / "keys" if secured else None)
