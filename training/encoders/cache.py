"""Embeddings on disk, by content of the picture and space of the encoder.

Each batch is a file of its own that is written whole and named by the hash of its content: any number of
processes may add at once, a kill costs the batch in work, and a file that was damaged is known as such.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rtdecode.errors import UserError
from rtdecode.output import check_writable, write_file

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from rtdecode.contracts import EmbeddingSpace

_SPACE = "space.json"


def default_folder() -> Path:
    """Where embeddings are kept unless ``[targets] cache`` names a place: among the user's caches."""
    if sys.platform == "win32":
        caches = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        caches = Path.home() / "Library" / "Caches"
    else:
        caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return caches / "rtdecode" / "embeddings"


class EmbeddingCache:
    """What was embedded before, in one space.

    Parameters
    ----------
    folder
        Holds a folder for each space.
    space
        Of the embeddings.

    Raises
    ------
    UserError
        If the folder cannot be read or written.
    """

    def __init__(self, folder: Path, space: EmbeddingSpace) -> None:
        described = space.model_dump_json(indent=2)
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", space.encoder).strip("-.")
        self.folder = folder / f"{name}-{hashlib.sha256(described.encode()).hexdigest()[:16]}"
        self._entry = np.dtype([("image", "u1", (32,)), ("embedding", "<f4", (space.dim,))])
        self._known: dict[bytes, NDArray[np.float32]] = {}
        check_writable(self.folder / _SPACE)
        if not (self.folder / _SPACE).is_file():
            write_file(self.folder / _SPACE, described + "\n")
        try:
            for path in sorted(self.folder.glob("*.npy")):
                self._known.update(self._read(path))
        except OSError as error:
            raise UserError(
                f"cannot read {self.folder}: {error.strerror}; set another cache under [targets]"
            ) from error

    def __len__(self) -> int:
        return len(self._known)

    def find(self, image: bytes) -> NDArray[np.float32] | None:
        """Embedding ``(dim,)`` of the picture with this sha256, where it is known."""
        return self._known.get(image)

    def add(self, images: Sequence[bytes], embeddings: NDArray[np.float32]) -> None:
        """Keep embeddings ``(n, dim)`` of pictures by their sha256.

        Raises
        ------
        UserError
            If they cannot be written.
        """
        entries = np.empty(len(images), dtype=self._entry)
        entries["image"] = np.frombuffer(b"".join(images), dtype=np.uint8).reshape(-1, 32)
        entries["embedding"] = embeddings
        packed = io.BytesIO()
        np.save(packed, entries, allow_pickle=False)
        path = self.folder / f"{hashlib.sha256(packed.getvalue()).hexdigest()}.npy"
        if not path.exists():  # else another process wrote the very same
            write_file(path, packed.getvalue())
        self._known.update(zip(images, embeddings, strict=True))

    def _read(self, path: Path) -> Iterator[tuple[bytes, NDArray[np.float32]]]:
        """Entries of a file; of a damaged one none, and it is removed."""
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != path.stem:
            path.unlink(missing_ok=True)
            return
        entries = np.load(io.BytesIO(content), allow_pickle=False)
        for image, embedding in zip(entries["image"], entries["embedding"], strict=True):
            yield image.tobytes(), embedding
