"""Neighbours in a graph: sums by hand, candidates, saving, and bad input by name."""

from __future__ import annotations

import json
import zipfile

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from tfrs_decay.layers import ItemNeighbours
from tfrs_decay.neighbours import Cost, Neighbours

ITEM = [[1, 2], [0, -1], [-1, -1], [3, 0]]
WEIGHT = [[0.5, -0.25], [1.0, 0.0], [0.0, 0.0], [2.0, 4.0]]
TABLE = Neighbours(ITEM, WEIGHT)
HISTORY = tf.constant([[0, 1, -1], [3, 3, 0], [2, -7, -1]])
EVENTS = tf.constant([[2.0, 3.0, 9.0], [1.0, 0.5, 4.0], [1.0, 1.0, np.nan]])
SCORES = [
    [3.0, 1.0, -0.5, 0.0],
    [1.5 * 4, 4 * 0.5, 4 * -0.25, 1.5 * 2],
    [0.0, 0.0, 0.0, 0.0],
]


def random_table(n, m, seed=0):
    rng = np.random.default_rng(seed)
    item = np.stack([rng.permutation(n)[:m] for _ in range(n)])
    item[rng.random(item.shape) < 0.2] = -1
    return Neighbours(item, np.where(item < 0, 0, rng.normal(size=item.shape)))


def test_scores_are_sums_over_the_history():
    scores = ItemNeighbours(TABLE)(HISTORY, EVENTS)
    assert scores.dtype == tf.float32
    np.testing.assert_allclose(scores, SCORES)


def test_candidates_have_the_scores_that_they_have_among_all():
    candidates = tf.constant([[2, 0, 0, -1], [3, -5, 1, 2], [0, 1, 2, 3]])
    scores = ItemNeighbours(TABLE)(HISTORY, EVENTS, candidates)
    np.testing.assert_allclose(
        scores, [[-0.5, 3.0, 3.0, 0.0], [3.0, 0.0, 2.0, -1.0], [0.0] * 4]
    )


@pytest.mark.parametrize("dtype", [tf.int32, tf.int64, tf.int16])
def test_against_a_dense_product(dtype):
    n, table = 50, random_table(50, 7)
    rng = np.random.default_rng(1)
    history = rng.integers(-2, n, [5, 11])
    weight = rng.random([5, 11])
    matrix, profile = np.zeros([n, n]), np.zeros([5, n])
    for i in range(n):
        for j, one in zip(table.item[i], table.weight[i], strict=True):
            if j >= 0:
                matrix[i, j] += one
    for row in range(5):
        for place, one in zip(history[row], weight[row], strict=True):
            if place >= 0:
                profile[row, place] += one
    expected = profile @ matrix
    layer = ItemNeighbours(table)
    places = tf.constant(history, dtype)
    scores = layer(places, tf.constant(weight, tf.float32))
    np.testing.assert_allclose(scores, expected, rtol=1e-5, atol=1e-5)
    candidates = rng.integers(0, n, [5, 20])
    of_candidates = layer(
        places, tf.constant(weight, tf.float32), tf.constant(candidates, dtype)
    )
    np.testing.assert_allclose(
        of_candidates, np.take_along_axis(scores.numpy(), candidates, 1), rtol=1e-6
    )


def test_rows_that_are_not_there():
    layer = ItemNeighbours(TABLE)
    no_rows = tf.zeros([0, 3], tf.int32)
    assert layer(no_rows, tf.zeros([0, 3])).shape == (0, 4)
    assert layer(no_rows, tf.zeros([0, 3]), tf.zeros([0, 2], tf.int32)).shape == (0, 2)
    no_events = layer(tf.zeros([2, 0], tf.int32), tf.zeros([2, 0]))
    np.testing.assert_array_equal(no_events, np.zeros([2, 4]))


def test_a_decay_in_front_of_it_learns():
    layer = ItemNeighbours(TABLE)
    weight = tf.constant([[2.0, 3.0, 9.0]])
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(weight)
        total = tf.reduce_sum(layer(HISTORY[:1], weight))
        of_two = tf.reduce_sum(layer(HISTORY[:1], weight, tf.constant([[2, 2]])))
    # A sum over all items: of an event's row of the table. Padding has none.
    np.testing.assert_allclose(tape.gradient(total, weight), [[0.25, 1.0, 0.0]])
    np.testing.assert_allclose(tape.gradient(of_two, weight), [[-0.5, 0.0, 0.0]])
    assert layer.trainable_weights == []


@pytest.mark.parametrize("policy", ["mixed_float16", "float16", "float64"])
def test_numbers_are_float32_whatever_the_policy(policy):
    layer = ItemNeighbours(TABLE, dtype=policy)
    # float16 ends at 65,504.
    scores = layer(HISTORY[:1], tf.constant([[1e5, 0.1, 0.0]]))
    assert scores.dtype == tf.float32
    np.testing.assert_allclose(scores, [[0.1, 5e4, -2.5e4, 0.0]], rtol=1e-6)


def model_of(layer):
    item = tf_keras.Input([None], dtype=tf.int32)
    weight = tf_keras.Input([None])
    candidates = tf_keras.Input([None], dtype=tf.int32)
    return tf_keras.Model(
        [item, weight, candidates],
        [layer(item, weight), layer(item, weight, candidates)],
    )


ASKED = [HISTORY, EVENTS, tf.constant([[3, 1], [0, -1], [2, 2]])]


@pytest.mark.parametrize("folder", ["model.keras", "model"])
def test_saves_and_loads_with_equal_values(tmp_path, folder):
    model = model_of(ItemNeighbours(TABLE))
    before = [one.numpy() for one in model(ASKED)]
    assert np.abs(before[0]).sum() > 0
    model.save(tmp_path / folder)
    again = tf_keras.models.load_model(tmp_path / folder)
    for one, other in zip(again(ASKED), before, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_saved_model_needs_no_code_of_ours(tmp_path):
    module = tf.Module()
    module.layer = ItemNeighbours(TABLE)
    places = tf.TensorSpec([None, None], tf.int64)

    @tf.function(
        input_signature=[places, tf.TensorSpec([None, None], tf.float32), places]
    )
    def score(item, weight, candidates):
        return {"score": module.layer(item, weight, candidates)}

    tf.saved_model.save(module, str(tmp_path / "m"), signatures=score)
    signature = tf.saved_model.load(str(tmp_path / "m")).signatures["serving_default"]
    asked = {
        "item": tf.cast(HISTORY, tf.int64),
        "weight": EVENTS,
        "candidates": tf.constant([[3, 1]] * 3, tf.int64),
    }
    np.testing.assert_allclose(signature(**asked)["score"], np.array(SCORES)[:, [3, 1]])
    with pytest.raises(tf.errors.InvalidArgumentError, match="below n_items=4"):
        signature(**{**asked, "candidates": tf.constant([[4, 1]] * 3, tf.int64)})


def test_the_table_is_among_the_weights_and_not_in_the_config(tmp_path):
    table = random_table(300, 40)
    model = model_of(ItemNeighbours(table))
    model.save(tmp_path / "model.keras")
    with zipfile.ZipFile(tmp_path / "model.keras") as archive:
        assert archive.getinfo("config.json").file_size < 6_000
    model.save_weights(tmp_path / "model.weights.h5")
    layer = ItemNeighbours(n_items=300, m=40)
    other = model_of(layer)
    assert (layer.neighbours.item == -1).all()
    other.load_weights(tmp_path / "model.weights.h5")
    assert layer.neighbours.item.tolist() == table.item.tolist()
    assert layer.neighbours.weight.tolist() == table.weight.tolist()


def test_config_round_trip():
    config = ItemNeighbours(TABLE, name="ease").get_config()
    json.dumps(config)
    assert (config["n_items"], config["m"]) == (4, 2)
    again = ItemNeighbours.from_config(config)
    assert again.get_config() == config
    assert not again(HISTORY, EVENTS).numpy().any()


def test_another_table_takes_the_place_of_this_one():
    layer = ItemNeighbours(TABLE)
    score = tf.function(lambda item, weight: layer(item, weight))
    score(HISTORY, EVENTS)
    cost = Cost(
        seconds=1.0, kept_bytes=1, dense_bytes=1, fitted_items=4, kept_share=1.0
    )
    layer.refresh(Neighbours(ITEM, 2 * np.array(WEIGHT), cost))
    np.testing.assert_allclose(score(HISTORY, EVENTS), 2 * np.array(SCORES))
    with pytest.raises(ValueError, match=r"of 4 items with 1 neighbours, and this"):
        layer.refresh(TABLE.strongest(1))


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ([], {}, "n_items=None must be 1 or more where neighbours are left out"),
        ([], {"n_items": 4}, "m=None must be 1 or more where neighbours are left out"),
        ([], {"n_items": 4, "m": 0}, "m=0 must be 1 or more"),
        ([TABLE], {"n_items": 5}, "n_items=5, and the table's is 4: leave n_items out"),
        ([TABLE], {"m": 3}, "m=3, and the table's is 2: leave m out"),
    ],
)
def test_a_bad_shape_is_named(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        ItemNeighbours(*arguments, **options)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ([HISTORY[0], EVENTS], ValueError, r"item is int32 of the shape \(3,\): give"),
        (
            [EVENTS, EVENTS],
            ValueError,
            r"item is float32 .* integer places",
        ),
        ([HISTORY, HISTORY], ValueError, r"weight is int32 .* floats, \[batch, time\]"),
        (
            [HISTORY, EVENTS, EVENTS],
            ValueError,
            r"candidates is float32",
        ),
        ([tf.ragged.constant([[1], []]), EVENTS], ValueError, "item is ragged: .*-1"),
        (
            [HISTORY, tf.ragged.constant([[1.0], []])],
            ValueError,
            "weight is ragged: give it padded",
        ),
        (
            [tf.constant([[0, 4]]), tf.ones([1, 2])],
            tf.errors.InvalidArgumentError,
            "item holds places that are not below n_items=4",
        ),
        (
            [HISTORY, tf.ones([3, 2])],
            tf.errors.InvalidArgumentError,
            r"item and weight differ in shape",
        ),
        (
            [tf.constant([[0, 1]]), tf.constant([[1.0, np.nan]])],
            tf.errors.InvalidArgumentError,
            "weight must be finite where item is a place",
        ),
    ],
)
def test_bad_input_is_named(arguments, error, message):
    with pytest.raises(error, match=message):
        ItemNeighbours(TABLE)(*arguments)


def test_places_that_int32_cannot_hold_do_not_wrap_around():
    far = tf.constant([[-(2**32) + 1, 0]], tf.int64)
    scores = ItemNeighbours(TABLE)(far, tf.ones([1, 2]))
    np.testing.assert_allclose(scores, [[0.0, 0.5, -0.25, 0.0]])
