"""Images of ImageNet by the numbers that the studies give them.

``3626115.019498`` means image 19498 of synset n03626115: eight digits before the point, six after it, of
which zeros at either end were lost. It is read as the text that it is.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from replay.datasets.dataset import Stimulus

if TYPE_CHECKING:
    from replay.datasets.kamitani.about import Experiment

_NUMBER = re.compile(r"0*(\d{1,8})\.(\d{1,6})")
_NAME = re.compile(r"n(\d{8})_(\d{1,6})(?:\.JPEG)?")


def image_name(text: str) -> str | None:
    """Name of the image of this number, or of this name; None where it is neither.

    >>> image_name("3626115.019498")
    'n03626115_19498'
    >>> image_name("2416519.01279")
    'n02416519_12790'
    >>> image_name("n03767745_109.JPEG")
    'n03767745_109'
    """
    if found := _NAME.fullmatch(text):
        return f"n{found[1]}_{int(found[2])}"
    if (found := _NUMBER.fullmatch(text)) and int(found[2]):
        return f"n{found[1].zfill(8)}_{int(found[2].ljust(6, '0'))}"
    return None


def synset(name: str) -> str:
    """What an image shows, WordNet's number.

    >>> synset("n03626115_19498")
    'n03626115'
    """
    return name.partition("_")[0]


def stimulus(image: str, experiment: Experiment) -> Stimulus:
    """Row of the table of stimuli for an image of an experiment."""
    return Stimulus(image, f"{experiment.folder}/{image}.JPEG", synset(image), experiment.split)
