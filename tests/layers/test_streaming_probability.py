"""The streaming estimate, against a loop of its formula and against known chances."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from tfrs_decay.layers import StreamingProbability


def by_a_loop(draws, rate):
    """The formula, one draw after the other, without hashes: probabilities by item."""
    last, gap = {}, {}
    for now, item in enumerate(draws, start=1):
        since = now - last.get(item, 0)
        gap[item] = (1 - rate) * gap[item] + rate * since if item in gap else since
        last[item] = now
    return {item: 1 / average for item, average in gap.items()}


@pytest.mark.parametrize("batch", [1, 7, 60])
@pytest.mark.parametrize("kind", [str, int])
def test_it_is_the_formula_however_draws_are_batched(batch, kind):
    draws = np.random.default_rng(0).integers(0, 9, 60)
    layer = StreamingProbability(1 << 16, learning_rate=0.2)
    for at in range(0, 60, batch):
        layer(tf.constant(draws[at : at + batch].astype(kind)), training=True)
    expected = by_a_loop(draws.tolist(), 0.2)
    items = sorted(expected)
    got = layer(tf.constant(np.array(items).astype(kind)))
    np.testing.assert_allclose(got, [expected[one] for one in items], rtol=1e-5)


def test_zipf_within_a_tenth():
    rng = np.random.default_rng(1)
    chance = 1 / np.arange(1, 1001)
    chance /= chance.sum()
    layer = StreamingProbability(1 << 13, tables=3, learning_rate=0.005)
    learn = tf.function(lambda items: layer(items, training=True))
    for _ in range(150):
        learn(tf.constant(rng.choice(1000, 4096, p=chance)))
    # What comes up often enough for an average over two hundred times.
    often = np.flatnonzero(chance * 600 * 1024 > 1000)
    assert len(often) > 50
    error = layer(tf.constant(often)).numpy() / chance[often] - 1
    assert np.sqrt(np.mean(error**2)) < 0.1
    assert abs(error.mean()) < 0.02


def test_it_follows_an_item_that_becomes_popular():
    layer = StreamingProbability(64, learning_rate=0.1)
    for period in (10, 2):
        for _ in range(100):
            others = np.arange(period - 1) + 100
            layer(tf.constant(np.append(others, 7)), training=True)
        got = float(layer(tf.constant([7]))[0])
        assert got == pytest.approx(1 / period, rel=0.01)


def test_asking_changes_nothing_and_the_unseen_is_rare():
    layer = StreamingProbability(1 << 12)
    assert float(layer(tf.constant(["new"]))[0]) == 1.0
    layer(tf.constant(["a", "b", "a"]), training=True)
    before = layer.get_weights()
    got = layer(tf.constant(["new", "a", "b"])).numpy()
    assert got[0] == pytest.approx(1 / 4) and (got > 0).all() and (got <= 1).all()
    for one, other in zip(before, layer.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert layer(tf.zeros([0], tf.string), training=True).shape == (0,)


def test_more_tables_part_what_one_mixes_up():
    rng = np.random.default_rng(2)
    errors = []
    for tables in (1, 4):
        layer = StreamingProbability(400, tables=tables)
        for _ in range(30):
            layer(tf.constant(rng.integers(0, 400, 4000)), training=True)
        got = layer(tf.range(400)).numpy()
        errors.append(np.abs(got * 400 - 1).mean())
    assert errors[1] < 0.5 * errors[0]


def test_saves_and_loads(tmp_path):
    items = tf_keras.Input([], dtype=tf.string)
    layer = StreamingProbability(128, tables=3, learning_rate=0.3)
    model = tf_keras.Model(items, layer(items))
    layer(tf.constant(["a", "b", "a"]), training=True)
    model.save(tmp_path / "model.keras")
    again = tf_keras.models.load_model(tmp_path / "model.keras")
    asked = tf.constant(["a", "b", "c"])
    np.testing.assert_array_equal(again(asked), model(asked))
    assert again.layers[-1].get_config() == layer.get_config()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"buckets": 0}, "buckets=0 must be 1 or more"),
        ({"tables": 0}, "tables=0 must be 1 or more"),
        ({"learning_rate": 1.0}, "learning_rate=1.0 must lie above 0 and below 1"),
    ],
)
def test_what_is_out_of_range_is_named(options, message):
    with pytest.raises(ValueError, match=message):
        StreamingProbability(**options)


@pytest.mark.parametrize("items", [[1.0], [["a"]]])
def test_what_is_no_list_of_items_is_named(items):
    with pytest.raises(ValueError, match=r"items are .* of the shape .*: give \[n\]"):
        StreamingProbability(8)(tf.constant(items))
