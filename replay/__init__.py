"""Recordings and datasets, on disk and as live streams."""
