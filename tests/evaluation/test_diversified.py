"""Diversified lists: against a loop, and in the figures of a shop of five items."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from independent_diversity import greedy

from tfrs_decay.data import basket_queries
from tfrs_decay.evaluation import Diversified, evaluate, top_items
from tfrs_decay.layers import MaximalMarginalRelevance

# a and b point alike, and so do c and d; e is at a right angle to all.
VECTORS = np.array([[1.0, 0, 0], [2, 0, 0], [0, 1, 0], [0, 3, 0], [0, 0, 1]])


def alike(queries):
    """Ranks a, b, c, d, e for everyone; the best has 4 more than the last."""
    return np.tile([5.0, 4.0, 3.0, 2.0, 1.0], (len(queries), 1))


alike.personal = False


@pytest.fixture
def events(make_events):
    rows = [("u", 1, "a"), ("u", 2, "c"), ("v", 1, "e"), ("v", 2, "b"), ("w", 1, "d")]
    return make_events(*rows)


@pytest.fixture
def random_lists():
    rng = np.random.default_rng(4)
    # In eighths, so that scores are equal here and there.
    scores = rng.integers(0, 60, [25, 40]) / 8
    scores[3:6, 5:] = -np.inf
    top = top_items(scores, 30, excluded=rng.random(scores.shape) < 0.3)
    return np.take_along_axis(scores, top, axis=1), top, rng.normal(size=[40, 4])


@pytest.mark.parametrize("trade_off", [0.0, 0.3, 0.9, 1.0])
@pytest.mark.parametrize("pool", [1, 7, 30, 100])
def test_as_by_the_loop_and_as_by_the_layer(random_lists, trade_off, pool):
    scores, top, vectors = random_lists
    model = Diversified(alike, vectors, trade_off=trade_off, pool=pool)
    found = model.reordered(top, scores)
    layer = MaximalMarginalRelevance(trade_off, pool)
    for row in range(len(top)):
        finite = np.isfinite(scores[row]) & (top[row] >= 0)
        n = int(finite.sum())
        # What is at -inf stays behind, in its order.
        expected = greedy(scores[row, :n], top[row, :n], vectors, trade_off, pool, n)
        assert found[row, :n].tolist() == expected
        assert found[row, n:].tolist() == top[row, n:].tolist()
        by_layer = layer(
            tf.constant(scores[None, row, :n], tf.float32),
            tf.constant(top[None, row, :n]),
            tf.constant(vectors, tf.float32),
            n,
        )[1]
        assert by_layer[0].numpy().tolist() == expected
    if trade_off == 1:
        np.testing.assert_array_equal(found, top)


def test_figures_of_diversified_lists_by_hand(events):
    queries = basket_queries(events)  # u wants c, v wants b
    scorers = {
        "plain": alike,
        "half": Diversified(alike, VECTORS, trade_off=0.5),
        "of two": Diversified(alike, VECTORS, trade_off=0.5, pool=2),
    }
    plain, half, of_two = evaluate(scorers, queries, events, k=3).values()
    assert plain.lists.tolist() == [[0, 1, 2]] * 2
    # Relevances 1, 3/4, 1/2, 1/4, 0: beside a, b has 3/8 - 1/2; after c, d as little.
    assert half.lists.tolist() == [[0, 2, 4]] * 2
    assert (plain.recall(2).tolist(), half.recall(2).tolist()) == ([0, 1], [1, 0])
    assert plain.diversity(VECTORS).tolist() == pytest.approx([2 / 3] * 2)
    assert half.diversity(VECTORS).tolist() == pytest.approx([1, 1])
    assert half.distinct_lists() == 1
    assert not half.personal
    # With a pool of two there is nothing else to pick.
    assert of_two.lists.tolist() == plain.lists.tolist()


def test_seen_items_are_left_out_before_lists_are_reordered(events):
    queries = basket_queries(events).with_new_targets(events)
    half = Diversified(alike, VECTORS, trade_off=0.5, pool=4)
    figures = evaluate({"half": half}, queries, events, k=4, exclude_seen=True)["half"]
    # u had a: of b, c, d, e, relevances 1, 2/3, 1/3, 0. v had e: of a, b, c, d.
    assert figures.lists.tolist() == [[1, 2, 4, 3], [0, 2, 1, 3]]
    assert figures.lists_with_seen.tolist() == [[0, 2, 1, 3]] * 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"trade_off": -0.1}, r"trade_off=-0\.1 must lie in 0 to 1"),
        ({"pool": 0}, r"pool=0 must be 1 or more"),
        ({"vectors": VECTORS[0]}, r"vectors is float64 of shape \(3,\)"),
        ({"vectors": VECTORS * np.nan}, r"vectors holds nan"),
    ],
)
def test_what_makes_no_model(arguments, message):
    arguments = {"vectors": VECTORS, "trade_off": 0.5, **arguments}
    with pytest.raises(ValueError, match=message):
        Diversified(alike, **arguments)


def test_what_cannot_be_weighed_is_refused(events):
    queries = basket_queries(events)
    model = Diversified(lambda queries: alike(queries) * np.inf, VECTORS, trade_off=0.5)
    with pytest.raises(ValueError, match=r"scores holds 10 that are inf: .* finite"):
        evaluate({"model": model}, queries, events)
    model = Diversified(alike, VECTORS[:4], trade_off=0.5)
    with pytest.raises(ValueError, match=r"4 items have a vector, .* item 4"):
        evaluate({"model": model}, queries, events)
