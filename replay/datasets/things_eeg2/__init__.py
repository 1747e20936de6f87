"""THINGS-EEG2: 10 people, 16,540 THINGS images four times each (Gifford 2022, OSF 3jk45)."""

from replay.datasets.things_eeg2.dataset import ABOUT, ThingsEeg2

__all__ = ["ABOUT", "ThingsEeg2"]
