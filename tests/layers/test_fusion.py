"""Fusion: each kind written out, missing parts, gradients."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tfrs_decay.layers.fusion import Fusion

WIDTHS = {"text": 3, "id": 3}
TEXT = np.array([[1.0, 2.0, 3.0], [0.5, -1.0, 0.0]], np.float32)
ID = np.array([[0.1, 0.0, -0.2], [1.0, 1.0, 1.0]], np.float32)


def built(kind, widths=WIDTHS):
    layer = Fusion(kind, widths, dim=3)
    layer.build()
    rng = np.random.default_rng(0)
    layer.set_weights([rng.normal(size=one.shape) for one in layer.get_weights()])
    return layer


def by_hand(layer, text, learned):
    together = np.concatenate([text, learned], axis=-1)
    if layer.kind == "sum":
        return text + learned
    if layer.kind == "concat":
        (kernel,) = layer.get_weights()
        return together @ kernel
    kernel, bias = layer.get_weights()
    gates = 1 / (1 + np.exp(-(together @ kernel + bias)))
    return gates[..., :3] * text + gates[..., 3:] * learned


@pytest.mark.parametrize("kind", ["sum", "concat", "gated"])
def test_each_kind_by_hand(kind):
    layer = built(kind)
    got = layer({"id": tf.constant(ID), "text": tf.constant(TEXT)})
    np.testing.assert_allclose(got, by_hand(layer, TEXT, ID), rtol=1e-5, atol=1e-6)
    grid = layer({"text": tf.constant(TEXT[None]), "id": tf.constant(ID[None])})
    np.testing.assert_allclose(grid[0], got, rtol=1e-6)
    one = layer({"text": tf.constant(TEXT[0]), "id": tf.constant(ID[0])})
    np.testing.assert_allclose(one, got[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["sum", "concat", "gated"])
def test_a_missing_part_is_zeros_and_nothing_is_nothing(kind):
    layer = built(kind)
    expected = by_hand(layer, TEXT, np.zeros_like(ID))
    got = layer({"text": tf.constant(TEXT)})
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)
    assert not layer({"id": tf.zeros([2, 3])}).numpy().any()


def test_a_concatenation_takes_any_widths():
    layer = built("concat", {"image": 5, "id": 2})
    got = layer({"image": tf.ones([4, 5]), "id": tf.ones([4, 2])})
    np.testing.assert_allclose(got, [layer.get_weights()[0].sum(0)] * 4, rtol=1e-5)


def test_gates_start_in_the_direction_of_the_sum():
    layer = Fusion("gated", WIDTHS, dim=3)
    got = layer({"text": tf.constant(TEXT), "id": tf.constant(ID)})
    np.testing.assert_allclose(got, (TEXT + ID) / 2, rtol=1e-6)


@pytest.mark.parametrize("kind", ["concat", "gated"])
def test_all_weights_and_parts_are_trained(kind):
    layer = built(kind)
    parts = {"text": tf.Variable(TEXT), "id": tf.Variable(ID)}
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer({name: tf.identity(p) for name, p in parts.items()}))
    wanted = [*layer.trainable_weights, *parts.values()]
    for gradient in tape.gradient(loss, wanted):
        assert np.abs(gradient.numpy()).max() > 0


def test_config_round_trip_keeps_the_order():
    layer = Fusion("concat", {"b": 2, "a": 1}, dim=3, name="fusion")
    config = layer.get_config()
    again = Fusion.from_config(config)
    assert again.get_config() == config
    assert list(again.widths) == ["b", "a"]


def test_what_is_no_kind_and_no_part_is_named():
    with pytest.raises(ValueError, match="kind='summ' is not one of"):
        Fusion("summ", WIDTHS, dim=3)
    for parts in ({"image": tf.constant(TEXT)}, {}):
        with pytest.raises(ValueError, match=r"parts has the names .*: give one or"):
            built("gated")(parts)
