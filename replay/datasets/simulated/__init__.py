"""Simulated subjects in four devices, whose truth is known.

An image embedding passes through a fixed map to latent features, shared over people up to a rotation; each
feature drives sources with the time courses and the geometry of the device; noise, jitter and artefacts are
added. Everything follows from one seed.
"""

from replay.datasets.simulated.eeg import EegSettings
from replay.datasets.simulated.fmri import Fmri3tSettings, Fmri7tSettings, FmriSettings
from replay.datasets.simulated.meg import MegSettings
from replay.datasets.simulated.settings import SubjectSettings
from replay.datasets.simulated.subject import SimulatedSubject

DEVICES: dict[str, type[SubjectSettings]] = {
    settings.name: settings for settings in (EegSettings, MegSettings, Fmri3tSettings, Fmri7tSettings)
}
"""Dials of each device, by the name that the command line has for it."""

__all__ = [
    "DEVICES",
    "EegSettings",
    "Fmri3tSettings",
    "Fmri7tSettings",
    "FmriSettings",
    "MegSettings",
    "SimulatedSubject",
    "SubjectSettings",
]
