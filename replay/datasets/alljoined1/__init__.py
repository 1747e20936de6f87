"""Alljoined1: eight people, 960 images of NSD four times a session (Xu 2024, OSF kqgs8)."""

from replay.datasets.alljoined1.dataset import ABOUT, Alljoined1

__all__ = ["ABOUT", "Alljoined1"]
