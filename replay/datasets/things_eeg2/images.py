"""Which images were shown: ``image_metadata.npy``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from replay.datasets.dataset import Stimulus
from replay.datasets.numpy_pickle import StoredArray, read_pickled
from rtdecode.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

IMAGE_METADATA = "image_metadata.npy"
_FOLDERS = {"training": "training_images", "test": "test_images"}
_KEYS = {"training": "train", "test": "test"}
_CONCEPT = re.compile(r"(?:\d+_)?([^\\/.:][^\\/:]*)")
_FILE = re.compile(r"([^\\/.:][^\\/:]*)\.(?:jpg|jpeg|png)")


@dataclass(frozen=True, slots=True)
class Images:
    """Images by part; event i + 1 shows image i."""

    training: tuple[Stimulus, ...]
    test: tuple[Stimulus, ...]

    def of(self, part: str) -> tuple[Stimulus, ...]:
        """Images of ``training`` or ``test``."""
        return self.training if part == "training" else self.test


def read_images(path: Path) -> Images:
    """Read the table of images.

    Raises
    ------
    UserError
        If the file is missing, damaged or hostile, or does not list files and concepts.
    """
    content = read_pickled(path)
    if not isinstance(content, dict):
        raise UserError(f"{path}: holds no table of images; get it again from where it was published")
    return Images(*(_stimuli(path, content, part) for part in ("training", "test")))


def _stimuli(path: Path, content: dict[Any, Any], part: str) -> tuple[Stimulus, ...]:
    keys = [f"{_KEYS[part]}_img_{what}" for what in ("files", "concepts")]
    files, concepts = (_texts(content.get(key)) for key in keys)
    if files is None or concepts is None or len(files) != len(concepts):
        raise UserError(f"{path}: holds no lists {' and '.join(keys)} of one length; get it again")
    stimuli = []
    for file, folder in zip(files, concepts, strict=True):
        name, concept = _FILE.fullmatch(file), _CONCEPT.fullmatch(folder)
        if name is None or concept is None:
            raise UserError(f"{path}: {f'{folder}/{file}'[:60]!r} is no image of a concept; get it again")
        image = f"{_FOLDERS[part]}/{folder}/{file}"
        stimuli.append(Stimulus(name[1], image, concept[1], "test" if part == "test" else "train"))
    return tuple(stimuli)


def _texts(found: Any) -> list[str] | None:
    """List of texts, however it was stored."""
    try:
        items = found.open().tolist() if isinstance(found, StoredArray) else found
    except ValueError:  # characters that there are none of
        return None
    return items if isinstance(items, list) and all(isinstance(item, str) for item in items) else None
