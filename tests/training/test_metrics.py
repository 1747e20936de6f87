from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from rtdecode.similarity import standardise, unit_length
from training.metrics import (
    auc,
    hubness,
    mean_over_repetitions,
    noise_ceiling,
    pairwise_accuracy,
    pearson,
    prototype_contrast,
    ranks_within,
    top_k,
    top_k_of_size,
    truth_ranks,
)


@settings(max_examples=30, deadline=None)
@given(n=st.integers(3, 40), dim=st.integers(1, 8), seed=st.integers(0, 1000))
def test_pearson_is_the_mean_over_dimensions(n: int, dim: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(n, dim)), rng.normal(size=(n, dim)) * 3 + 100
    expected = np.mean([stats.pearsonr(a[:, k], b[:, k]).statistic for k in range(dim)])
    assert pearson(a, b) == pytest.approx(expected)
    assert pearson(a.astype(np.float32) * 2 - 1, a) == pytest.approx(1.0)


def test_pearson_of_dimensions_that_never_vary() -> None:
    rng = np.random.default_rng(0)
    targets = rng.normal(size=(20, 3))
    predictions = targets.copy()
    predictions[:, 0] = 0.1
    assert pearson(predictions, targets) == pytest.approx(2 / 3)
    targets[:, 1] = 0.3
    assert pearson(predictions, targets) == pytest.approx(1 / 2)
    assert np.isnan(pearson(predictions, np.full((20, 3), 0.1)))


def test_ranks_are_over_the_whole_gallery() -> None:
    rng = np.random.default_rng(1)
    gallery = rng.normal(size=(1500, 16)) * rng.uniform(0.1, 10, 16) + 5
    mean, sd = gallery.mean(axis=0), gallery.std(axis=0)
    truth = rng.integers(0, 1500, size=2000)
    shrunken = mean + 0.01 * (gallery[truth] - mean) + 0.004 * sd * rng.normal(size=(2000, 16))
    ranks = truth_ranks(shrunken, gallery, truth, mean, sd)
    unit = unit_length(standardise(gallery, mean, sd))
    for trial in (0, 7, 1999):
        scores = unit @ ((shrunken[trial] - mean) / sd)
        assert ranks[trial] == 1 + np.count_nonzero(scores > scores[truth[trial]])
    assert top_k(ranks, 1) > 0.8
    assert top_k(ranks, 5) >= top_k(ranks, 1)
    assert top_k(ranks, 1500) == 1.0


def test_a_decoder_that_always_says_the_same_finds_nothing() -> None:
    gallery = np.random.default_rng(0).normal(size=(50, 4))
    mean, sd = gallery.mean(axis=0), gallery.std(axis=0)
    ranks = truth_ranks(np.tile(mean, (10, 1)), gallery, np.arange(10), mean, sd)
    assert (ranks == 50).all()


def test_contrast_tells_two_prototypes_apart_and_how_surely() -> None:
    first, second = np.array([1.0, 0.0, 3.0]), np.array([-1.0, 0.0, 1.0])
    mean, sd = (first + second) / 2, np.array([1.0, 0.5, 1.0])
    trials = mean + np.outer([1.0, 0.25, 0.0, -0.5], (first - second) / 2)
    contrast = prototype_contrast(trials, first, second, mean, sd)
    np.testing.assert_allclose(contrast, np.array([1.0, 0.25, 0.0, -0.5]) * np.sqrt(8), atol=1e-12)


@settings(max_examples=50, deadline=None)
@given(data=st.data(), n_a=st.integers(1, 15), n_b=st.integers(1, 15))
def test_auc_is_the_chance_of_the_right_order(data: st.DataObject, n_a: int, n_b: int) -> None:
    scores = np.array(data.draw(st.lists(st.integers(0, 6), min_size=n_a + n_b, max_size=n_a + n_b)), float)
    positive = np.arange(n_a + n_b) < n_a
    pairs = scores[positive][:, None] - scores[~positive]
    assert auc(scores, positive) == pytest.approx(np.mean((pairs > 0) + 0.5 * (pairs == 0)))


def test_auc_of_one_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="both kinds"):
        auc(np.arange(3.0), np.ones(3, bool))


def test_scores_of_different_trials_are_refused() -> None:
    with pytest.raises(ValueError, match="n at least 2"):
        pearson(np.zeros((3, 2)), np.zeros((4, 2)))


@settings(max_examples=30, deadline=None)
@given(n_gallery=st.integers(2, 12), data=st.data())
def test_top_k_of_smaller_galleries_is_the_mean_over_all_of_them(n_gallery: int, data: st.DataObject) -> None:
    size = data.draw(st.integers(1, n_gallery))
    k = data.draw(st.integers(1, n_gallery))
    rank = data.draw(st.integers(1, n_gallery))
    others = itertools.combinations(range(1, n_gallery), size - 1)  # by rank, the true one taken out
    expected = np.mean([sum(other < rank for other in drawn) < k for drawn in others])
    assert top_k_of_size(np.array([rank]), n_gallery, size, k) == pytest.approx(expected)


def test_top_k_of_the_whole_gallery_is_top_k() -> None:
    found = np.array([1, 3, 7, 20])
    assert top_k_of_size(found, 20, 20, 5) == pytest.approx(top_k(found, 5))
    assert top_k_of_size(found, 20, 1, 1) == 1.0
    with pytest.raises(ValueError, match="galleries of 21"):
        top_k_of_size(found, 20, 21, 1)


def test_pairwise_accuracy_of_chance_is_a_half() -> None:
    assert pairwise_accuracy(np.arange(1, 12), 11) == pytest.approx(0.5)
    assert pairwise_accuracy(np.array([1, 1]), 11) == 1.0


def test_ranks_within_a_category_leave_other_categories_out() -> None:
    rng = np.random.default_rng(0)
    gallery = rng.normal(size=(30, 6))
    categories = ["cat"] * 10 + ["dog"] * 20
    mean, sd = gallery.mean(axis=0), gallery.std(axis=0)
    predictions = gallery[[3, 15]] + 0.8 * rng.normal(size=(2, 6))
    found, sizes = ranks_within(predictions, gallery, np.array([3, 15]), mean, sd, categories)
    assert sizes.tolist() == [10, 20]
    cats = truth_ranks(predictions[:1], gallery[:10], np.array([3]), mean, sd)
    dogs = truth_ranks(predictions[1:], gallery[10:], np.array([5]), mean, sd)
    assert found.tolist() == [cats[0], dogs[0]]


def test_an_image_that_is_answered_to_anything_is_a_hub() -> None:
    rng = np.random.default_rng(0)
    gallery = rng.normal(size=(40, 20))
    mean, sd = np.zeros(20), np.ones(20)
    assert hubness(gallery, gallery, mean, sd, k=1) == 0.0
    assert hubness(gallery + 3 * gallery[0], gallery, mean, sd, k=1) > 2


def test_repetitions_are_averaged_and_stimuli_with_fewer_left_out() -> None:
    values = np.arange(6.0)[:, None]
    means, names = mean_over_repetitions(values, list("abaabc"), 2, np.random.default_rng(0))
    assert names == ["a", "b"]
    assert means[1, 0] == 2.5
    assert means[0, 0] in (1.0, 1.5, 2.5)


def test_the_noise_ceiling_is_the_share_that_the_stimulus_explains() -> None:
    rng = np.random.default_rng(0)
    stimuli = np.repeat(np.arange(2000), 4)
    signal = rng.normal(size=(2000, 3))[stimuli]
    responses = signal * [1.0, 0.5, 0.0] + rng.normal(size=(8000, 3))
    names = stimuli.astype(str).tolist()
    np.testing.assert_allclose(noise_ceiling(responses, names), [0.5, 0.2, 0.0], atol=0.03)
    np.testing.assert_allclose(noise_ceiling(responses, names, k=4), [0.8, 0.5, 0.0], atol=0.05)
    with pytest.raises(ValueError, match="twice or more"):
        noise_ceiling(responses[::4], names[::4])
