"""A gallery is complete or refused; search in it is exact, calibrated by the head, and deterministic."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from rtdecode.contracts import EmbeddingSpace, Head, HeadRole
from rtdecode.errors import MismatchError, UserError
from rtdecode.gallery import Gallery, GalleryDescription, RepetitionMeans, Retriever, write_gallery

EMBEDDINGS = np.random.default_rng(1).standard_normal((6, 4)).astype(np.float32)


def space(dim: int = 4, **fields: str) -> EmbeddingSpace:
    described = {"encoder": "tiny", "layer": "last", "pooling": "mean", "preprocessing": "none", **fields}
    return EmbeddingSpace(weights_sha256="a" * 64, dim=dim, **described)


def description(dim: int = 4) -> GalleryDescription:
    return GalleryDescription(name="objects", space=space(dim), simulated=True)


def head(mean: np.ndarray, sd: np.ndarray, **fields: str) -> Head:
    return Head(
        name="clip",
        role=HeadRole.RETRIEVAL,
        space=space(len(mean), **fields),
        target_mean=tuple(mean.tolist()),
        target_sd=tuple(sd.tolist()),
    )


def in_memory(embeddings: np.ndarray) -> Gallery:
    n, dim = embeddings.shape
    return Gallery(
        folder=Path("gallery"),
        description=description(dim),
        embeddings=embeddings.astype(np.float32),
        stimulus_ids=tuple(f"s{index}" for index in range(n)),
        images=tuple(f"thumbnails/{index}.png" for index in range(n)),
    )


@pytest.fixture
def embeddings() -> np.ndarray:
    return EMBEDDINGS.copy()


@pytest.fixture
def folder(tmp_path: Path, embeddings: np.ndarray) -> Path:
    path = tmp_path / "objects"
    write_gallery(
        path,
        description(),
        embeddings,
        [f"s{index}" for index in range(6)],
        thumbnails=(Image.new("RGB", (8, 8), (40 * index, 0, 0)) for index in range(6)),
        categories=["red", "red", "red", "blue", "blue", "blue"],
    )
    return path


def test_what_was_written_is_read_back(folder: Path, embeddings: np.ndarray) -> None:
    gallery = Gallery.open(folder)
    assert gallery.description == description()
    np.testing.assert_array_equal(gallery.embeddings, embeddings)
    assert gallery.stimulus_ids == ("s0", "s1", "s2", "s3", "s4", "s5")
    assert gallery.categories == ("red", "red", "red", "blue", "blue", "blue")
    assert len(gallery) == 6
    with Image.open(gallery.image_path(3)) as image:
        assert image.getpixel((0, 0)) == (120, 0, 0)


def test_thumbnails_and_categories_may_be_absent(tmp_path: Path, embeddings: np.ndarray) -> None:
    write_gallery(tmp_path / "bare", description(), embeddings, list("abcdef"))
    gallery = Gallery.open(tmp_path / "bare")
    assert gallery.categories is None
    assert not gallery.image_path(0).exists()


def test_a_gallery_is_replaced_whole_or_not_at_all(folder: Path, embeddings: np.ndarray) -> None:
    def broken() -> object:
        yield Image.new("RGB", (8, 8))
        raise RuntimeError("renderer failed")

    with pytest.raises(RuntimeError, match="renderer failed"):
        write_gallery(folder, description(), -embeddings, list("abcdef"), thumbnails=broken())  # type: ignore[arg-type]
    np.testing.assert_array_equal(Gallery.open(folder).embeddings, embeddings)
    write_gallery(folder, description(), -embeddings, list("abcdef"))
    np.testing.assert_array_equal(Gallery.open(folder).embeddings, -embeddings)
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]  # nothing left over


def test_leftovers_of_a_crash_do_not_hinder_a_later_writing(folder: Path, embeddings: np.ndarray) -> None:
    leftover = folder.with_name(f".{folder.name}.replaced")
    leftover.mkdir()
    (leftover / "something").write_text("")
    write_gallery(folder, description(), -embeddings, list("abcdef"))
    np.testing.assert_array_equal(Gallery.open(folder).embeddings, -embeddings)


def test_other_folders_are_not_overwritten(tmp_path: Path, embeddings: np.ndarray) -> None:
    (tmp_path / "thesis.tex").write_text("important")
    with pytest.raises(UserError, match="not a gallery"):
        write_gallery(tmp_path, description(), embeddings, list("abcdef"))
    assert (tmp_path / "thesis.tex").read_text() == "important"


@pytest.mark.parametrize("n_thumbnails", [5, 7])
def test_one_thumbnail_for_each_image(tmp_path: Path, embeddings: np.ndarray, n_thumbnails: int) -> None:
    pictures = [Image.new("RGB", (8, 8))] * n_thumbnails
    with pytest.raises(ValueError, match="zip"):
        write_gallery(tmp_path / "g", description(), embeddings, list("abcdef"), thumbnails=pictures)
    assert list(tmp_path.iterdir()) == []


def write_index(folder: Path, **columns: list[object]) -> None:
    good: dict[str, list[object]] = {
        "stimulus_id": [f"s{index}" for index in range(6)],
        "image": [f"thumbnails/{index}.png" for index in range(6)],
    }
    kept = {name: column for name, column in {**good, **columns}.items() if column}
    pq.write_table(pa.table(kept), folder / "index.parquet")


def write_description(folder: Path, **fields: object) -> None:
    data = json.loads((folder / "gallery.json").read_text())
    (folder / "gallery.json").write_text(json.dumps({**data, **fields}))


def save(folder: Path, embeddings: np.ndarray) -> None:
    np.save(folder / "embeddings.npy", embeddings, allow_pickle=True)


def with_value(value: float) -> np.ndarray:
    changed = EMBEDDINGS.copy()
    changed[2, 1] = value
    return changed


FAULTS = {
    "no description": (lambda f: (f / "gallery.json").unlink(), "is not a gallery"),
    "no embeddings": (lambda f: (f / "embeddings.npy").unlink(), "embeddings.npy"),
    "no index": (lambda f: (f / "index.parquet").unlink(), "index.parquet"),
    "description not JSON": (lambda f: (f / "gallery.json").write_text("{"), "gallery.json"),
    "description is binary": (lambda f: (f / "gallery.json").write_bytes(b"\xff\xfe"), "gallery.json"),
    "unknown key": (lambda f: write_description(f, colour="red"), "colour: unknown key"),
    "newer schema": (lambda f: write_description(f, schema_version=2), "schema_version"),
    "text for a flag": (lambda f: write_description(f, simulated="yes"), "simulated"),
    "wrong dimension": (lambda f: save(f, EMBEDDINGS[:, :3]), "3 dimensions, the space 4"),
    "one-dimensional": (lambda f: save(f, EMBEDDINGS[0]), "two-dimensional"),
    "double precision": (lambda f: save(f, EMBEDDINGS.astype(float)), "float32"),
    "empty": (lambda f: save(f, EMBEDDINGS[:0]), "no images"),
    "too few rows": (lambda f: save(f, EMBEDDINGS[:5]), "6 rows of stimulus_id for 5"),
    "not a number": (lambda f: save(f, with_value(np.nan)), "'s2' is not finite"),
    "infinite": (lambda f: save(f, with_value(np.inf)), "'s2' is not finite"),
    "pickled": (
        lambda f: save(f, np.array([{}])),
        "cannot read .*embeddings.npy",
    ),
    "not an array": (lambda f: (f / "embeddings.npy").write_bytes(b"PK\x03\x04"), "cannot read"),
    "cut off": (
        lambda f: (f / "embeddings.npy").write_bytes((f / "embeddings.npy").read_bytes()[:-7]),
        "cannot read .*embeddings.npy",
    ),
    "index not parquet": (
        lambda f: (f / "index.parquet").write_text("a,b"),
        "cannot read .*index.parquet",
    ),
    "no identifiers": (lambda f: write_index(f, stimulus_id=[]), "no column 'stimulus_id'"),
    "identifiers twice": (lambda f: write_index(f, stimulus_id=[*"abcdea"]), "'a' is there twice"),
    "empty identifier": (lambda f: write_index(f, stimulus_id=[*"abcde", ""]), "is empty"),
    "no identifier": (lambda f: write_index(f, stimulus_id=[*"abcde", None]), "text in every row"),
    "identifiers are numbers": (lambda f: write_index(f, stimulus_id=[*range(6)]), "text in every row"),
    "categories are numbers": (lambda f: write_index(f, category=[*range(6)]), "text in every row"),
    **{
        f"image {path!r}": (
            lambda f, path=path: write_index(f, image=[path] + ["ok.png"] * 5),
            "not a relative path inside",
        )
        for path in ("../x.png", "a/../../x", "/etc/passwd", "C:/x.png", r"..\x.png", "", ".", "a\0b")
    },
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_gallery_is_refused_in_one_line(fault: str, folder: Path) -> None:
    damage, message = FAULTS[fault]
    damage(folder)
    with pytest.raises(UserError, match=message) as caught:
        Gallery.open(folder)
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)


def test_a_link_out_of_the_folder_is_not_followed(folder: Path, tmp_path: Path) -> None:
    gallery = Gallery.open(folder)
    (tmp_path / "secret.png").write_bytes(b"")
    (folder / gallery.images[0]).unlink()
    try:
        (folder / gallery.images[0]).symlink_to(tmp_path / "secret.png")
    except OSError:
        pytest.skip("links may not be made here")
    with pytest.raises(UserError, match="leads out of the folder"):
        gallery.image_path(0)


vectors = st.integers(1, 12).flatmap(
    lambda n: hnp.arrays(np.float32, (n, 3), elements=st.integers(-3, 3).map(float))
)


@given(vectors, st.data())
@settings(max_examples=100)
def test_ranks_are_those_of_the_cosine_in_standardised_space(
    embeddings: np.ndarray, data: st.DataObject
) -> None:
    """Small integers, so that ties and zero vectors abound."""
    mean, sd = np.array([0.5, -1.0, 0.25]), np.array([0.5, 2.0, 1.0])
    query = data.draw(hnp.arrays(np.float32, 3, elements=st.integers(-3, 3).map(float)))
    k = data.draw(st.integers(1, 15))
    n = len(embeddings)
    truth = data.draw(st.integers(0, n - 1))

    ranking = Retriever(in_memory(embeddings), head(mean, sd)).rank(query, k, f"s{truth}")

    z = (embeddings - mean) / sd
    z /= np.maximum(np.linalg.norm(z, axis=1, keepdims=True), 1e-12)
    q = (query - mean) / sd
    scores = z @ (q / max(np.linalg.norm(q), 1e-12))
    assert len(ranking.hits) == min(k, n)
    named = [int(hit.stimulus_id[1:]) for hit in ranking.hits]
    np.testing.assert_allclose([hit.score for hit in ranking.hits], scores[named], atol=1e-6)
    np.testing.assert_allclose(scores[named], np.sort(scores)[::-1][:k], atol=1e-6)
    assert ranking.truth_rank is not None
    # Images of equal score are before it, whatever their place in the gallery.
    assert ranking.truth_rank == (scores > scores[truth] - 1e-5).sum()
    assert truth not in named[ranking.truth_rank :]


def test_equal_scores_keep_the_order_of_the_gallery() -> None:
    embeddings = np.tile(np.array([[1.0, 2.0, 3.0, 4.0]]), (40, 1))
    embeddings[7] = [-4.0, 1.0, 0.0, 2.0]
    retriever = Retriever(in_memory(embeddings), head(np.zeros(4), np.ones(4)))
    query = np.array([1.0, 2.0, 3.0, 4.0], np.float32)
    ranking = retriever.rank(query, 40, "s30")
    equal = [index for index in range(40) if index != 7]
    assert [hit.stimulus_id for hit in ranking.hits] == [f"s{index}" for index in [*equal, 7]]
    assert ranking.truth_rank == 39
    assert ranking == retriever.rank(query, 40, "s30")


def test_a_shrunken_prediction_finds_its_image() -> None:
    """Ridge shrinks towards the mean of the targets; raw, everything then looks like that mean."""
    rng = np.random.default_rng(2)
    mean, sd = 5.0 * rng.standard_normal(32), rng.uniform(0.1, 2.0, 32)
    targets = mean + sd * rng.standard_normal((200, 32))
    retriever = Retriever(in_memory(targets), head(mean, sd))
    predictions = (mean + 0.1 * (targets - mean)).astype(np.float32)
    assert all(
        retriever.rank(prediction, 1, f"s{index}").truth_rank == 1
        for index, prediction in enumerate(predictions)
    )


def test_the_gallery_s_own_statistics_play_no_part(embeddings: np.ndarray) -> None:
    statistics = head(np.full(4, 0.1), np.full(4, 0.7))
    query = embeddings[4] + 0.1
    alone = Retriever(in_memory(embeddings[3:5]), statistics).rank(query, 2)
    among = Retriever(in_memory(np.concatenate([embeddings[3:5], embeddings + 100])), statistics).rank(
        query, 2
    )
    assert [hit.score for hit in alone.hits] == pytest.approx([hit.score for hit in among.hits], abs=1e-6)


def test_dimensions_that_never_varied_are_left_out(embeddings: np.ndarray) -> None:
    sd = np.array([1.0, 0.0, 2.0, 5e-324])
    query = embeddings[2].copy()
    expected = Retriever(in_memory(embeddings), head(np.zeros(4), sd)).rank(query, 6)
    query[[1, 3]] = 1e30
    assert Retriever(in_memory(embeddings), head(np.zeros(4), sd)).rank(query, 6) == expected
    assert expected.hits[0].stimulus_id == "s2"
    with pytest.raises(MismatchError, match="did not vary"):
        Retriever(in_memory(embeddings), head(np.zeros(4), np.zeros(4)))


def test_a_prediction_of_the_mean_itself_scores_zero(embeddings: np.ndarray) -> None:
    ranking = Retriever(in_memory(embeddings), head(np.ones(4), np.ones(4))).rank(
        np.ones(4, np.float32), 6, "s3"
    )
    assert {hit.score for hit in ranking.hits} == {0.0}
    assert ranking.truth_rank == len(embeddings)


@pytest.mark.parametrize("truth", [None, "elsewhere"])
def test_an_unknown_truth_has_no_rank(embeddings: np.ndarray, truth: str | None) -> None:
    ranking = Retriever(in_memory(embeddings), head(np.zeros(4), np.ones(4))).rank(embeddings[0], 3, truth)
    assert ranking.truth_rank is None


def test_another_space_is_refused_field_by_field(embeddings: np.ndarray) -> None:
    with pytest.raises(MismatchError) as caught:
        Retriever(in_memory(embeddings), head(np.zeros(3), np.ones(3), layer="first"))
    text = str(caught.value)
    assert 'layer is "last" in the gallery, "first" in the decoder' in text
    assert "dim is 4 in the gallery, 3 in the decoder" in text
    assert "pooling" not in text
    assert "\n" not in text


def test_means_are_those_of_all_repetitions_so_far(embeddings: np.ndarray) -> None:
    means = RepetitionMeans()
    for index, embedding in enumerate(embeddings):
        means.add("other", -embedding)
        mean, n = means.add("face", embedding)
        assert n == index + 1
        np.testing.assert_allclose(mean, embeddings[: index + 1].astype(float).mean(axis=0), rtol=1e-12)


def test_means_remember_a_bounded_number_of_stimuli(embeddings: np.ndarray) -> None:
    means = RepetitionMeans(capacity=2)
    for stimulus, expected in [("a", 1), ("b", 1), ("a", 2), ("c", 1), ("a", 3), ("b", 1), ("c", 1)]:
        assert means.add(stimulus, embeddings[0])[1] == expected


def test_a_gallery_put_together_wrongly_in_memory_is_refused(embeddings: np.ndarray) -> None:
    gallery = in_memory(embeddings)
    with pytest.raises(UserError, match="5 rows of category"):
        replace(gallery, categories=("x",) * 5)
