"""Public datasets as they lie on disk, with few trials: names, keys, shapes and types are the real ones'."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from replay.datasets.report import Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from replay.datasets.dataset import Dataset
    from replay.datasets.report import Report


@dataclass(frozen=True, kw_only=True)
class Miniature:
    """A copy on disk, the images that were shown, and the dataset that expects as few trials.

    ``subject``, ``session`` and ``run`` name a recording to replay, ``speed`` times as fast as recorded;
    ``variant`` and ``mask`` are what ``rtdecode data prepare`` needs to be told, ``unit`` what the live
    service does.
    """

    root: Path
    dataset: Dataset
    images: Path
    subject: str
    session: str | None = None
    run: str | None = None
    variant: str | None = None
    mask: Path | None = None
    unit: str | None = None
    speed: float = 1.0

    def validate(self, *subjects: str) -> Report:
        return self.dataset.validate(self.root, subjects or (self.subject,), lambda: None, self.variant)

    def problems(self, *subjects: str) -> list[tuple[str, Kind, str]]:
        """What is found that was not published so: path, kind and text of each."""
        found = self.validate(*subjects).findings
        return [(item.path, item.kind, item.text) for item in found if item.kind is not Kind.KNOWN]


def edit(path: Path, change: Callable[[list[str]], Sequence[str]]) -> None:
    """Change the rows of a table; the first of them is the header."""
    rows = path.read_text().splitlines()
    path.write_text("".join(f"{row}\n" for row in change(rows)), newline="\n")


def write_pictures(folder: Path, names: Iterable[str]) -> None:
    """Pictures that an encoder can tell apart, at these paths under a folder."""
    for number, name in enumerate(sorted(set(names))):
        rng = np.random.default_rng(number)
        coarse = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(coarse).resize((64, 64)).save(path)
