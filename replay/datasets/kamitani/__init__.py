"""Two studies of one laboratory: DeepRecon (Shen 2019) and its older sibling GOD (Horikawa 2017).

Both showed the same 1,200 + 50 images of ImageNet, a block of volumes each, and were released alike: raw runs
in BIDS, and the mean response to each block in HDF5 files of bdpy.
"""

from __future__ import annotations

from replay.datasets.kamitani.about import DEEPRECON, GOD, Experiment, Study
from replay.datasets.kamitani.dataset import Kamitani

__all__ = ["DEEPRECON", "GOD", "Experiment", "Kamitani", "Study"]
