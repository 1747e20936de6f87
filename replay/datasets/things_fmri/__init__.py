"""THINGS-fMRI: three people, 8,640 THINGS images each at 3 T (Hebart 2023)."""

from replay.datasets.things_fmri.about import ABOUT, EXPECTED, Expected
from replay.datasets.things_fmri.dataset import ThingsFmri

__all__ = ["ABOUT", "EXPECTED", "Expected", "ThingsFmri"]
