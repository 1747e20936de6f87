from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from rtdecode.contracts import EmbeddingSpace
from rtdecode.errors import UserError
from training.encoders import cache
from training.encoders.cache import EmbeddingCache, default_folder

SPACE = EmbeddingSpace(
    encoder="made:up/one", weights_sha256="0" * 64, layer="1", pooling="mean", preprocessing="none", dim=5
)

WRITER = """
import hashlib, sys
from pathlib import Path
import numpy as np
from rtdecode.contracts import EmbeddingSpace
from training.encoders.cache import EmbeddingCache
folder, space, first, last = sys.argv[1:]
cache = EmbeddingCache(Path(folder), EmbeddingSpace.model_validate_json(space))
for batch in range(int(first), int(last)):
    names = [hashlib.sha256(f"{batch}-{k}".encode()).digest() for k in range(4)]
    cache.add(names, np.full((4, 5), batch, dtype=np.float32))
    print(batch, flush=True)
"""


def _writer(folder: Path, first: int, last: int) -> subprocess.Popen[str]:
    arguments = [str(folder), SPACE.model_dump_json(), str(first), str(last)]
    return subprocess.Popen([sys.executable, "-c", WRITER, *arguments], stdout=subprocess.PIPE, text=True)


def _values(opened: EmbeddingCache) -> list[int]:
    """First number of each embedding, sorted."""
    return sorted(int(embedding[0]) for embedding in opened._known.values())


def test_what_was_added_is_found_again_in_its_space_only(tmp_path: Path) -> None:
    images = [bytes([k]) * 32 for k in range(3)]
    embeddings = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
    EmbeddingCache(tmp_path, SPACE).add(images, embeddings)
    again = EmbeddingCache(tmp_path, SPACE)
    assert len(again) == 3
    for image, embedding in zip(images, embeddings, strict=True):
        np.testing.assert_array_equal(again.find(image), embedding)
    assert again.find(bytes(32 * [9])) is None
    for change in ({"weights_sha256": "1" * 64}, {"layer": "2"}, {"preprocessing": "other"}):
        assert len(EmbeddingCache(tmp_path, SPACE.model_copy(update=change))) == 0


def test_a_damaged_file_is_dropped_and_the_others_are_kept(tmp_path: Path) -> None:
    opened = EmbeddingCache(tmp_path, SPACE)
    opened.add([b"a" * 32], np.zeros((1, 5), dtype=np.float32))
    opened.add([b"b" * 32], np.ones((1, 5), dtype=np.float32))
    torn, whole = sorted(opened.folder.glob("*.npy"))
    torn.write_bytes(torn.read_bytes()[:-3])
    assert len(EmbeddingCache(tmp_path, SPACE)) == 1
    assert not torn.exists()
    assert whole.exists()


def test_two_processes_add_at_once(tmp_path: Path) -> None:
    writers = [_writer(tmp_path, 0, 30), _writer(tmp_path, 15, 45)]
    for writer in writers:
        assert writer.communicate(timeout=100)[0]
        assert writer.returncode == 0
    opened = EmbeddingCache(tmp_path, SPACE)
    assert _values(opened) == sorted(4 * list(range(45)))
    assert {path.suffix for path in opened.folder.iterdir()} == {".npy", ".json"}


def test_a_kill_costs_the_batch_in_work_only(tmp_path: Path) -> None:
    writer = _writer(tmp_path, 0, 1_000_000)
    assert writer.stdout is not None
    for _ in range(20):
        told = int(writer.stdout.readline())
    writer.kill()
    rest = writer.communicate(timeout=100)[0].split("\n")[:-1]  # the last line may be cut
    told = max([told, *map(int, rest)])
    values = _values(EmbeddingCache(tmp_path, SPACE))
    assert set(range(told + 1)) <= set(values)
    assert values == sorted(4 * sorted(set(values)))


def test_a_place_that_cannot_be_written_is_told_before_long_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write"):
        EmbeddingCache(tmp_path / "file", SPACE)


def test_caches_lie_where_the_system_keeps_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/mine")
    monkeypatch.setenv("LOCALAPPDATA", "/mine")
    for platform in ("linux", "win32"):
        monkeypatch.setattr(cache.sys, "platform", platform)
        assert default_folder() == Path("/mine/rtdecode/embeddings")
    monkeypatch.setattr(cache.sys, "platform", "darwin")
    assert default_folder() == Path.home() / "Library" / "Caches" / "rtdecode" / "embeddings"
