"""BOLD5000: 4 people, 4,916 images of scenes and objects at 3 T, one each 10 s (Chang 2019).

Raw volumes and fMRIPrep's (OpenNeuro ds001499), one run and one event table for each 37 trials; and
version 2 of the fitted responses, one 4-D NIfTI file a session. 113 images were shown more than once: they
are the test images.
"""

from __future__ import annotations

from replay.datasets.bold5000.about import ABOUT, PUBLISHED, Published
from replay.datasets.bold5000.dataset import Bold5000

__all__ = ["ABOUT", "PUBLISHED", "Bold5000", "Published"]
