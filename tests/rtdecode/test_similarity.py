from __future__ import annotations

from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from rtdecode.contracts import EmbeddingSpace, Head, HeadRole
from rtdecode.gallery import Gallery, GalleryDescription, Retriever
from rtdecode.similarity import ranks, standardise, unit_length
from training.metrics import truth_ranks


def test_dimensions_without_spread_are_left_out_of_similarity() -> None:
    mean, sd = np.array([1.0, 2.0, 0.0]), np.array([2.0, 0.0, 5e-324])
    np.testing.assert_allclose(standardise(np.array([[5.0, 9.0, 1e30]]), mean, sd), [[2.0, 0.0, 0.0]])
    np.testing.assert_allclose(unit_length(np.array([[3.0, 4.0], [0.0, 0.0]])), [[0.6, 0.8], [0.0, 0.0]])


def test_ties_count_against_the_decoder() -> None:
    scores = np.array([[0.5, 0.9, 0.5, 0.1], [0.2, 0.2, 0.2, 0.2], [0.5, 0.5 + 1e-8, 0.1, 0.1]])
    assert ranks(scores, [0, 1, 1]).tolist() == [3, 4, 2]


@settings(max_examples=30, deadline=None)
@given(n=st.integers(1, 30), copies=st.integers(1, 3), seed=st.integers(0, 1000))
def test_live_and_offline_ranks_are_the_same(n: int, copies: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    embeddings = np.tile(rng.normal(size=(n, 5)), (copies, 1)).astype(np.float32)
    mean, sd = rng.normal(size=5), np.array([1.0, 0.5, 0.0, 2.0, 0.1])
    space = EmbeddingSpace(
        encoder="e", weights_sha256="0" * 64, layer="l", pooling="p", preprocessing="none", dim=5
    )
    head = Head(
        name="image", role=HeadRole.RETRIEVAL, space=space, target_mean=tuple(mean), target_sd=tuple(sd)
    )
    names = tuple(f"s{i}" for i in range(len(embeddings)))
    gallery = Gallery(
        folder=Path("nowhere"),
        description=GalleryDescription(name="g", space=space, simulated=True),
        embeddings=embeddings,
        stimulus_ids=names,
        images=tuple(f"{name}.png" for name in names),
    )
    retriever = Retriever(gallery, head)
    predictions = rng.normal(size=(8, 5)).astype(np.float32)
    truth = rng.integers(len(names), size=8)
    live = [
        retriever.rank(one, 1, names[true]).truth_rank for one, true in zip(predictions, truth, strict=True)
    ]
    assert live == truth_ranks(predictions, embeddings, truth, mean, sd).tolist()
