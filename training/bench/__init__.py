"""Measures the live service: how soon, at what cost, and for how long without a fault."""

from training.bench.commands import bench

__all__ = ["bench"]
