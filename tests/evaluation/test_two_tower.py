"""The recurrent peer: it knows the order of events, and nothing of their times."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
import tf_keras

from tfrs_decay.data import Items
from tfrs_decay.decay import Constant
from tfrs_decay.evaluation.two_tower import GRURetrieval
from tfrs_decay.layers import ItemTower, TimeDecayPooling

NOW = 1_700_000_000


def make():
    tf_keras.utils.set_random_seed(3)
    return GRURetrieval(
        ItemTower(Items(["a", "b", "c", "d"]), dim=4), TimeDecayPooling(Constant())
    )


def batch(histories, apart=60):
    width = max(1, *map(len, histories))
    item = [[*one, *[""] * (width - len(one))] for one in histories]
    time = NOW - apart * np.arange(width, 0, -1)
    return {
        "history_item": tf.constant(item, tf.string, [len(item), width]),
        "history_time": tf.constant(np.tile(time, [len(item), 1]), tf.int64),
        "history_length": tf.constant([len(one) for one in histories], tf.int64),
        "query_time": tf.constant([NOW] * len(item), tf.int64),
        "target_item": tf.constant(["a"] * len(item)),
    }


def test_order_matters_and_times_do_not():
    model = make()
    found = model(batch([["a", "b"], ["b", "a"]])).numpy()
    assert np.abs(found[0] - found[1]).max() > 1e-3
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-5)
    later = model(batch([["a", "b"], ["b", "a"]], apart=86_400)).numpy()
    np.testing.assert_array_equal(later, found)


def test_padding_unknown_items_and_nothing_at_all():
    model = make()
    alone = model(batch([["a"]])).numpy()
    padded = model(batch([["a"], ["a", "b"]])).numpy()
    np.testing.assert_allclose(padded[:1], alone, rtol=1e-5)
    unknown = model(batch([["a", "nobody knows"]])).numpy()
    np.testing.assert_allclose(unknown, alone, rtol=1e-5)
    assert not model(batch([[], ["a"]])).numpy()[0].any()


def test_it_learns():
    model = make()
    model.compile(tf_keras.optimizers.Adam(0.05))
    data = batch([["b", "c"], ["c", "b"], ["d"]])
    data["target_item"] = tf.constant(["a", "d", "c"])
    before = float(model.compute_loss(data))
    dataset = tf.data.Dataset.from_tensors(data).repeat(30)
    model.fit(dataset, verbose=0)
    assert float(model.compute_loss(data)) < 0.7 * before
