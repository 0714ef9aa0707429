"""Maximal marginal relevance against a loop over items."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from hypothesis import given, settings
from hypothesis import strategies as st
from independent_diversity import greedy

from tfrs_decay.layers import MaximalMarginalRelevance, top_k
from tfrs_decay.layers.top_k import LOWEST_SCORE

LOWEST = float(LOWEST_SCORE)
# Their cosines are -1, 0 and 1 to the last bit, so that ties are ties.
DIRECTIONS = np.concatenate([np.eye(3), -np.eye(3), np.zeros([1, 3])])


def assert_as_by_the_loop(scores, places, vectors, trade_off, pool, k):
    layer = MaximalMarginalRelevance(trade_off, pool)
    own, chosen = layer(
        tf.constant(scores, tf.float32),
        tf.constant(places),
        tf.constant(vectors, tf.float32),
        k,
    )
    assert own.dtype == tf.float32 and chosen.dtype == tf.int32
    assert own.shape == chosen.shape == (len(scores), k)
    for row in range(len(scores)):
        expected = greedy(scores[row], places[row], vectors, trade_off, pool, k)
        assert chosen[row].numpy().tolist() == expected
        of_item = dict(zip(places[row].tolist(), scores[row].tolist(), strict=True))
        of_item[-1] = LOWEST
        of_chosen = [of_item[one] for one in expected]
        np.testing.assert_allclose(own[row], of_chosen, rtol=1e-6)


@st.composite
def lists(draw):
    """Rows of a list, best first, with ties and with nothing at their ends."""
    n, items = draw(st.integers(1, 8)), 9
    kinds = st.lists(st.integers(0, 6), min_size=items, max_size=items)
    rows, scores = [], []
    for _ in range(draw(st.integers(1, 3))):
        left = draw(st.integers(0, n))
        missing = n - left
        order = draw(st.permutations(range(items)))
        some = draw(st.lists(st.integers(-9, 9), min_size=left, max_size=left))
        rows.append([*order[:left], *[-1] * missing])
        scores.append([*sorted(map(float, some), reverse=True), *[LOWEST] * missing])
    return np.array(scores), np.array(rows), DIRECTIONS[draw(kinds)]


@settings(deadline=None, max_examples=150)
@given(
    rows=lists(),
    # With these a trade-off is rounded nowhere, and ties are ties here as well.
    trade_off=st.sampled_from([0.0, 0.25, 0.5, 1.0]),
    pool=st.integers(1, 9),
    k=st.integers(1, 10),
)
def test_against_the_loop_over_random_lists_with_ties(rows, trade_off, pool, k):
    assert_as_by_the_loop(*rows, trade_off, pool, k)


@pytest.mark.parametrize("trade_off", [0.0, 0.2, 0.7, 0.95])
@pytest.mark.parametrize(("pool", "k"), [(30, 10), (30, 30), (12, 20), (1, 3)])
def test_against_the_loop_over_random_vectors(trade_off, pool, k):
    rng = np.random.default_rng(pool + k)
    scores = -np.sort(-rng.normal(5, 3, [20, 30]), axis=1)
    places = np.stack([rng.permutation(50)[:30] for _ in scores])
    assert_as_by_the_loop(scores, places, rng.normal(size=[50, 4]), trade_off, pool, k)


def test_a_list_by_hand():
    east, north, west = [2.0, 0.0], [0.0, 3.0], [-1.0, 0.0]
    layer = MaximalMarginalRelevance(0.5)
    scores = tf.constant([[4.0, 3.0, 2.0, 0.0]])
    vectors = tf.constant([east, east, north, west])
    # Relevances: 1, 3/4, 1/2, 0. Beside the first, the others have the cosines 1, 0 and
    # -1, so that they are worth -1/8, 1/4 and 1/2. The fourth is at a right angle to
    # the third, which is worth 1/4 still.
    own, places = layer(scores, tf.constant([[0, 1, 2, 3]]), vectors, 4)
    assert places.numpy().tolist() == [[0, 3, 2, 1]]
    assert own.numpy().tolist() == [[4.0, 0.0, 2.0, 3.0]]


def test_all_for_relevance_is_the_list_as_it_was():
    rng = np.random.default_rng(0)
    # Scores that differ in their last bits, and some that do not differ.
    scores = tf.constant(1e6 + rng.integers(0, 40, [50, 60]) / 16, tf.float32)
    plain = top_k(scores, 60)
    vectors = tf.constant(rng.normal(size=[60, 8]), tf.float32)
    for pool in (7, 100):
        layer = MaximalMarginalRelevance(1, pool)
        for one, other in zip(layer(*plain, vectors, 60), plain, strict=True):
            np.testing.assert_array_equal(one, other)


def test_the_scale_of_the_scores_does_not_matter():
    rng = np.random.default_rng(1)
    scores, places = top_k(tf.constant(rng.normal(size=[9, 40]), tf.float32), 40)
    vectors = tf.constant(rng.normal(size=[40, 8]), tf.float32)
    layer = MaximalMarginalRelevance(0.6, 30)
    _, expected = layer(scores, places, vectors, 20)
    _, found = layer(1000 * scores - 7, places, 3 * vectors, 20)
    np.testing.assert_array_equal(found, expected)
    assert (expected.numpy() != places[:, :20].numpy()).any()


def test_how_many_is_told_at_run_time_and_begins_alike():
    rng = np.random.default_rng(2)
    scores, places = top_k(tf.constant(rng.normal(size=[3, 9]), tf.float32), 9)
    vectors = tf.constant(rng.normal(size=[9, 2]), tf.float32)
    layer = MaximalMarginalRelevance(0.4, pool=6)
    graph = tf.function(
        layer,
        input_signature=[
            tf.TensorSpec([None, None]),
            tf.TensorSpec([None, None], tf.int32),
            tf.TensorSpec([None, None]),
            tf.TensorSpec([], tf.int32),
        ],
    )
    longest = graph(scores, places, vectors, 12)[1].numpy()
    assert (longest[:, 6:9] == places[:, 6:].numpy()).all()
    assert (longest[:, 9:] == -1).all()
    for k in range(1, 12):
        assert (graph(scores, places, vectors, k)[1].numpy() == longest[:, :k]).all()
    # A row does not depend on the others, and there may be none.
    alone = graph(scores[1:2], places[1:2], vectors, 12)[1].numpy()
    assert alone.tolist() == [longest[1].tolist()]
    assert graph(scores[:0], places[:0], vectors, 4)[1].shape == [0, 4]
    assert graph(scores[:, :0], places[:, :0], vectors, 4)[1].numpy().max() == -1


def test_a_layer_comes_back_from_its_config():
    layer = MaximalMarginalRelevance(0.3, pool=5)
    again = tf_keras.layers.deserialize(tf_keras.layers.serialize(layer))
    assert (again.trade_off, again.pool) == (0.3, 5)
    assert again.weights == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1.2,), r"trade_off=1\.2 must lie in 0 to 1"),
        ((float("nan"),), r"trade_off=nan must lie in 0 to 1"),
        ((0.5, 0), r"pool=0 must be 1 or more"),
    ],
)
def test_what_makes_no_layer(arguments, message):
    with pytest.raises(ValueError, match=message):
        MaximalMarginalRelevance(*arguments)
