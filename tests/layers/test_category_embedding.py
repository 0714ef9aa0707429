"""Categories: known, out of the vocabulary, missing."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tfrs_decay.layers.category_embedding import CategoryEmbedding


def test_each_value_has_a_row_and_the_strange_share_one():
    layer = CategoryEmbedding(["lamps", "mugs"], 3, stddev=1.0)
    got = layer(tf.constant([["mugs", "new", ""], ["lamps", "other", "mugs"]])).numpy()
    (table,) = layer.get_weights()
    assert table.shape == (3, 3)
    assert not table[0].any()  # says nothing until it is trained
    layer.set_weights([table + 1])
    again = layer(tf.constant([["mugs", "new", ""], ["lamps", "other", "mugs"]]))
    np.testing.assert_array_equal(got[1], table[[1, 0, 2]])
    np.testing.assert_array_equal(again[0], [table[2] + 1, [1, 1, 1], [0, 0, 0]])
    assert layer.rows_of(["mugs", "new", "", None]).tolist() == [2, 0, -1, -1]


def test_a_missing_value_trains_nothing():
    layer = CategoryEmbedding(["lamps"], 2, stddev=1.0)
    layer.build()
    (table,) = layer.trainable_weights
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(tf.constant(["", "new", "new"])))
    gradient = tf.convert_to_tensor(tape.gradient(loss, table))
    np.testing.assert_array_equal(gradient, [[2, 2], [0, 0]])


def test_numbers_are_no_values_and_config_comes_back():
    layer = CategoryEmbedding(["lamps"], 2, stddev=0.5, name="category_kind")
    config = layer.get_config()
    assert CategoryEmbedding.from_config(config).get_config() == config
    with pytest.raises(ValueError, match="values are int32: give strings"):
        layer(tf.constant([1]))
