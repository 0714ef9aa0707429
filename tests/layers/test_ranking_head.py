"""The ranking head and its loss."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tfrs_decay.layers.ranking_head import MOST, RankingHead, listwise_loss


def test_features_are_brought_to_one_scale():
    rng = np.random.default_rng(0)
    rows = rng.normal([3.0, -100.0, 0.0], [2.0, 50.0, 0.0], [5_000, 3])
    head = RankingHead([], members=1)
    head.adapt(rows)
    kernel = np.array([[1.0], [0.1], [7.0]], np.float32)
    *_, mean, deviation = head.get_weights()
    np.testing.assert_allclose(deviation, [2, 50, 1], rtol=0.05)
    head.set_weights([kernel[None], mean, deviation])
    found = head(np.array([[[5.0, -50.0, 0.0], [1e9, -100.0, 0.0]]], np.float32))
    np.testing.assert_allclose(found, [[1.1, MOST]], atol=0.06)


def test_a_network_learns_what_a_sum_cannot():
    rng = np.random.default_rng(0)
    features = rng.normal(size=[64, 10, 2]).astype(np.float32)
    # The better of the two depends on the sign of the other one.
    wanted = features[..., 0] * features[..., 1] > 1.0
    there = np.ones([64, 10], bool)
    losses = {}
    for name, hidden in (("sum", []), ("network", [32, 32])):
        tf.random.set_seed(0)
        head = RankingHead(hidden, dropout=0.0)
        head.adapt(features.reshape(-1, 2))
        optimizer = tf.keras.optimizers.Adam(0.01)
        for _ in range(200):
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean(listwise_loss(head(features), wanted, there))
            gradients = tape.gradient(loss, head.trainable_variables)
            optimizer.apply_gradients(
                zip(gradients, head.trainable_variables, strict=True)
            )
        losses[name] = float(loss)
    assert losses["network"] < 0.5 * losses["sum"]


def test_the_score_is_the_mean_of_members_that_start_apart():
    head = RankingHead([8], members=3)
    features = np.random.default_rng(0).normal(size=[2, 5, 4]).astype(np.float32)
    every = head.of_members(features).numpy()
    assert every.shape == (3, 2, 5)
    assert (np.abs(np.diff(every, axis=0)) > 1e-4).any(axis=(1, 2)).all()
    np.testing.assert_allclose(head(features), every.mean(axis=0), rtol=1e-5)
    spread = head.of_members(features, training=True).numpy() - every
    assert spread.any(axis=(1, 2)).all()  # dropout


def test_the_loss_is_that_of_the_definition():
    scores = np.array([[1.0, 2.0, 0.5, 99.0], [0.0, 1.0, 2.0, 3.0]], np.float32)
    wanted = np.array([[True, False, True, True], [False] * 4])
    there = np.array([[True, True, True, False], [True] * 4])
    share = np.exp(scores[0, :3]) / np.exp(scores[0, :3]).sum()
    expected = [-np.log(share[[0, 2]]).mean(), 0.0]
    np.testing.assert_allclose(
        listwise_loss(tf.constant(scores), wanted, there), expected, rtol=1e-6
    )


def test_rows_without_candidates_have_no_gradient():
    scores = tf.Variable([[1.0, 2.0], [3.0, 4.0]])
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(
            listwise_loss(
                scores,
                tf.constant([[True, True], [True, False]]),
                tf.constant([[False, False], [True, True]]),
            )
        )
    gradient = tape.gradient(loss, scores).numpy()
    assert np.isfinite(gradient).all()
    assert not gradient[0].any() and gradient[1].any()


def test_it_is_written_down():
    head = RankingHead([5], dropout=0.2)
    head.adapt(np.random.default_rng(0).normal(size=[30, 4]))
    again = RankingHead.from_config(head.get_config())
    again.build([None, None, 4])
    again.set_weights(head.get_weights())
    features = np.ones([1, 2, 4], np.float32)
    np.testing.assert_array_equal(again(features), head(features))


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (np.zeros([3]), r"features have the shape \(3,\): give \[n, features\]"),
        (np.zeros([0, 4]), "with one candidate or more"),
        (np.zeros([3, 5]), "features are 5 a candidate, and the layer's are 4"),
        (np.array([[0, np.nan, 0, 0]]), r"features\[:, 1\] holds numbers that are not"),
    ],
)
def test_what_it_cannot_adapt_to(features, message):
    head = RankingHead()
    head.build([None, None, 4])
    with pytest.raises(ValueError, match=message):
        head.adapt(features)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden": [0]}, r"hidden=\[0\]: a layer has 1 unit or more"),
        ({"dropout": 1.0}, r"dropout=1\.0 must lie in 0 to below 1"),
        ({"members": 0}, r"members=0 must be 1 or more"),
    ],
)
def test_what_makes_no_head(options, message):
    with pytest.raises(ValueError, match=message):
        RankingHead(**options)
    with pytest.raises(ValueError, match=r"give \[batch, candidates, features\]"):
        RankingHead().build([None, 4])
