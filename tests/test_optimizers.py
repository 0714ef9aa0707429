"""Weight decay of ids: what shrinks, by how much, and what stays."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from tfrs_decay.data import Items
from tfrs_decay.decay import Exponential
from tfrs_decay.layers import ItemTower, TimeDecayPooling
from tfrs_decay.models import DecayRetrieval
from tfrs_decay.optimizers import IdDecayAdam


def made():
    return DecayRetrieval(
        ItemTower(Items(["a", "b"]), dim=3, categories={"kind": ["x", "y"]}),
        TimeDecayPooling(Exponential("1d", trainable=True)),
        query_tower=tf_keras.layers.Dense(3),
    )


def step(optimizer, variables):
    optimizer.apply_gradients([(0 * one, one) for one in variables])


@pytest.mark.parametrize("loaded", [False, True])
def test_ids_shrink_and_nothing_else_does(tmp_path, loaded):
    model = made()
    model.compile(IdDecayAdam(0.1, weight_decay=0.2))
    if loaded:
        model.optimizer.build(model.trainable_variables)
        model.save(tmp_path / "model.keras")
        model = tf_keras.models.load_model(tmp_path / "model.keras")
    optimizer, variables = model.optimizer, model.trainable_variables
    before = [one.numpy() for one in variables]
    step(optimizer, variables)
    shrunk = [
        one.name
        for one, was in zip(variables, before, strict=True)
        if (one.numpy() != was).any()
    ]
    (name,) = shrunk
    assert "id_embedding" in name
    place = [one.name for one in variables].index(name)
    np.testing.assert_allclose(variables[place], 0.98 * before[place], rtol=1e-6)


@pytest.mark.parametrize("part", [0, 12])
def test_the_parts_of_a_table_that_is_split_shrink(part):
    # As a `tf.distribute` partitioner names them.
    table = tf.Variable([[1.0]], name=f"id_embedding/part_{part}")
    other = tf.Variable([[1.0]], name="id_embedding/kernel")
    step(IdDecayAdam(0.1, weight_decay=0.2), [table, other])
    np.testing.assert_allclose([table[0, 0], other[0, 0]], [0.98, 1.0], rtol=1e-6)


def test_what_has_no_ids_is_named():
    dense = tf_keras.layers.Dense(3)
    dense.build([None, 3])
    with pytest.raises(ValueError, match=r"weight_decay=0.2: none of the 2 variables"):
        step(IdDecayAdam(0.1, 0.2), dense.trainable_variables)
    with pytest.raises(
        ValueError, match=r"weight_decay=-1 must be finite and 0 or mor"
    ):
        IdDecayAdam(weight_decay=-1)
