"""The k best, with exclusions, against sorting by hand."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tfrs_decay.layers import top_k
from tfrs_decay.layers.top_k import LOWEST_SCORE, largest

SCORES = tf.constant([[0.1, 0.9, 0.5, 0.7], [4.0, 3.0, 2.0, 1.0]])


def test_best_first():
    scores, places = top_k(SCORES, 2)
    np.testing.assert_array_equal(places, [[1, 3], [0, 1]])
    np.testing.assert_allclose(scores, [[0.9, 0.7], [4.0, 3.0]])


def test_equal_scores_keep_the_catalogues_order():
    np.testing.assert_array_equal(top_k(tf.zeros([1, 4]), 3)[1], [[0, 1, 2]])


def test_excluded_items_never_come_back():
    # 3 of 4 excluded, one of them twice: one item is left, then nothing.
    scores, places = top_k(
        SCORES, 3, excluded=tf.constant([[1, 3, 1, 0], [-1, -1, 0, -1]])
    )
    np.testing.assert_array_equal(places, [[2, -1, -1], [1, 2, 3]])
    np.testing.assert_array_equal(scores[0, 1:], [LOWEST_SCORE] * 2)


def test_what_does_not_fit_is_named():
    with pytest.raises(ValueError, match="k=0 must be 1 or more"):
        top_k(SCORES, 0)
    with pytest.raises(ValueError, match=r"scores are float64 of shape \(2, 4\): give"):
        top_k(tf.cast(SCORES, tf.float64), 1)


@pytest.mark.parametrize("k", [1, 4, 10])
def test_more_than_there_are_is_filled_up(k):
    scores, places = top_k(SCORES, tf.constant(k))
    assert scores.shape == places.shape == (2, k)
    assert (places[:, 4:].numpy() == -1).all()
    assert (places[:, :4].numpy() >= 0).all()
    assert np.isfinite(scores).all()


@pytest.mark.parametrize(("n", "k"), [(1, 1), (16, 16), (17, 5), (100, 1), (333, 40)])
@pytest.mark.parametrize("kinds", [2, 50, 10_000])
def test_the_largest_of_wide_rows(n, k, kinds):
    """Blocks change nothing: not where numbers tie, nor where rows end amid one."""
    values = np.random.default_rng(n).integers(-kinds // 3, kinds, [7, n])
    values[3] = -1
    found = tf.function(largest)(tf.constant(values, tf.float32), k).numpy()
    assert found.shape[1] <= k
    for row, places in zip(values, found, strict=True):
        expected = np.argsort(-row, kind="stable")[:k]
        expected = expected[row[expected] > 0]
        assert places[: len(expected)].tolist() == expected.tolist()
        assert (places[len(expected) :] == -1).all()


def test_the_largest_of_nothing():
    assert largest(tf.zeros([0, 40]), 3).shape[0] == 0
    assert largest(tf.zeros([2, 40]), 3).shape == [2, 0]
