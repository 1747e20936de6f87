"""Images of BOLD5000, by the names that tables and lists give them."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from replay.datasets.dataset import Stimulus

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_REPEATED = "rep_"
_ENDING = r"\.(?:jpe?g|png|tiff?|bmp)"
_COCO = re.compile(rf"COCO_\w+?_0*(\d+){_ENDING}", re.IGNORECASE)
_IMAGENET = re.compile(rf"((n\d{{8}})_\d+){_ENDING}", re.IGNORECASE)
_SCENE = re.compile(rf"([A-Za-z][\w' ()-]*?)\d*{_ENDING}", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Image:
    """An image that was shown.

    Parameters
    ----------
    stimulus_id
        Number in COCO, or the file's name without its ending.
    source
        ``coco``, ``imagenet`` or ``scenes``.
    file
        Path under ``Presented_Stimuli``.
    concept_id
        WordNet's number, or the kind of scene; empty for COCO.
    is_repeated
        Whether it is marked as shown more than once.
    """

    stimulus_id: str
    source: str
    file: str
    concept_id: str
    is_repeated: bool


def find_image(name: str, kind: str = "") -> Image | None:
    """Image of this name, as tables and lists write it; None where it is none.

    >>> find_image("rep_n01641577_1229.JPEG")
    Image(stimulus_id='n01641577_1229', source='imagenet', file='ImageNet/n01641577_1229.JPEG', \
concept_id='n01641577', is_repeated=True)

    Parameters
    ----------
    name
        Its name; blanks around it do not count.
    kind
        What the table says of it, ``rep_coco`` for one; the name alone tells the source.
    """
    name = name.strip()
    is_repeated = name.startswith(_REPEATED) or kind.strip().startswith(_REPEATED)
    name = name.removeprefix(_REPEATED)
    if found := _COCO.fullmatch(name):
        return Image(found[1], "coco", f"COCO/{name}", "", is_repeated)
    if found := _IMAGENET.fullmatch(name):
        return Image(found[1], "imagenet", f"ImageNet/{name}", found[2], is_repeated)
    if found := _SCENE.fullmatch(name):
        stem = name.rpartition(".")[0]
        return Image(stem, "scenes", f"Scene/{name}", found[1], is_repeated)
    return None


def source_of(kind: str) -> str:
    """Source that a table's ``ImgType`` names.

    >>> source_of("rep_scenes")
    'scenes'
    """
    return kind.strip().removeprefix(_REPEATED)


def repeated(shown: Iterable[Sequence[Image]]) -> frozenset[str]:
    """Stimuli that are marked as repeated, or that a subject saw more than once.

    Parameters
    ----------
    shown
        What each subject saw.
    """
    found: set[str] = set()
    for images in shown:
        times = Counter(image.stimulus_id for image in images)
        found |= {image.stimulus_id for image in images if image.is_repeated or times[image.stimulus_id] > 1}
    return frozenset(found)


def stimulus(image: Image, test: frozenset[str]) -> Stimulus:
    """Row of the table of stimuli; ``test`` are the test stimuli."""
    split = "test" if image.stimulus_id in test else "train"
    return Stimulus(image.stimulus_id, image.file, image.concept_id, split)
