"""The Natural Scenes Dataset: eight people, up to 30,000 trials each at 7 T (Allen 2022)."""

from replay.datasets.nsd.about import ABOUT, EXPECTED, Expected
from replay.datasets.nsd.dataset import Nsd

__all__ = ["ABOUT", "EXPECTED", "Expected", "Nsd"]
