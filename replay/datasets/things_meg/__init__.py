"""THINGS-MEG: four people, 22,248 THINGS images once each, in CTF MEG (Hebart 2023, OpenNeuro ds004212)."""

from replay.datasets.things_meg.about import ABOUT
from replay.datasets.things_meg.dataset import ThingsMeg

__all__ = ["ABOUT", "ThingsMeg"]
