"""The precomputed tower: vectors by id, unknown ids, saving, and bad input by name."""

from __future__ import annotations

import json
import zipfile

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
import tf_keras

from tfrs_decay.decay import Constant
from tfrs_decay.layers import PrecomputedTower, TimeDecayPooling

IDS = ["a", "b", "c"]
VECTORS = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, -9.0]], np.float32)
MEAN = [3.0, -1.0]
ASKED = tf.constant([["c", "new", ""], ["a", "a", "c"]])


def tower(**options):
    return PrecomputedTower(IDS, VECTORS, **options)


def test_vectors_are_those_given_and_unknown_is_zeros():
    got = tower()(ASKED).numpy()
    expected = [[VECTORS[2], [0, 0], [0, 0]], [VECTORS[0], VECTORS[0], VECTORS[2]]]
    np.testing.assert_array_equal(got, expected)
    assert tower().known(ASKED).numpy().tolist() == [[True, False, False], [True] * 3]
    assert tower()(tf.constant("b")).shape == (2,)
    assert tower(dim=5)(tf.zeros([0, 4], tf.string)).shape == (0, 4, 5)


@pytest.mark.parametrize("unknown", ["mean", "learned"])
def test_unknown_is_a_vector_and_padding_is_not(unknown):
    layer = tower(unknown=unknown)
    np.testing.assert_array_equal(layer(ASKED)[0], [VECTORS[2], MEAN, [0, 0]])
    assert layer.compute_mask(ASKED).numpy().tolist() == [
        [True, True, False],
        [True] * 3,
    ]
    assert not layer.known(ASKED).numpy()[0, 1]


def test_the_projection_is_a_product_without_bias():
    layer = tower(dim=3, unknown="mean")
    (kernel,) = (weight.numpy() for weight in layer.trainable_weights)
    assert kernel.shape == (2, 3)
    expected = np.array([VECTORS[2], MEAN, [0, 0]]) @ kernel
    np.testing.assert_allclose(layer(ASKED)[0], expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(layer.project([VECTORS[1]]), [VECTORS[1] @ kernel], 1e-5)


def test_the_mask_reaches_the_pooling_that_follows():
    pool = TimeDecayPooling(Constant())
    pooled = pool(tower()(ASKED), timestamps=[[0, 0, 0]] * 2, query_time=[9, 9])
    np.testing.assert_allclose(pooled[0], VECTORS[2], rtol=1e-6)


def test_the_projection_is_trained_and_the_vectors_are_not():
    layer = tower(dim=3, unknown="learned")
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(tf.constant(["a", "a", "new"])))
    unknown, kernel = layer.trainable_weights
    by_kernel, by_unknown = tape.gradient(loss, [kernel, unknown])
    # Of a sum of x @ W: the sum of the x, which is 2 a and the unknown one.
    expected = np.repeat((2 * VECTORS[0] + MEAN)[:, None], 3, axis=1)
    np.testing.assert_allclose(by_kernel, expected, rtol=1e-6)
    np.testing.assert_allclose(by_unknown, kernel.numpy().sum(1), rtol=1e-5)
    assert [weight.shape for weight in layer.non_trainable_weights] == [(3, 2)]


def test_the_callers_array_is_copied():
    mine = VECTORS.copy()
    layer = PrecomputedTower(IDS, mine)
    mine[:] = 0
    np.testing.assert_array_equal(layer(tf.constant(IDS)), VECTORS)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_half_precision_keeps_the_vectors_whole(policy):
    layer = PrecomputedTower(IDS, VECTORS / 3, dim=2, unknown="mean", dtype=policy)
    assert layer.non_trainable_weights[0].dtype == tf.float32
    got = layer(ASKED)
    assert got.dtype.name == policy.removeprefix("mixed_")
    (kernel,) = (weight.numpy() for weight in layer.trainable_weights)
    expected = np.array([VECTORS[2], MEAN, [0, 0]]) / 3 @ kernel
    np.testing.assert_allclose(tf.cast(got[0], tf.float32), expected, atol=0.05)


def test_the_vectors_are_float32_whatever_the_dtype():
    large = PrecomputedTower(["a"], [[1e5, 2.0]], unknown="mean", dtype="float16")
    assert large.vectors.tolist() == [[1e5, 2.0]]
    assert large._unknown_vector.numpy().tolist() == [1e5, 2.0]
    assert large(tf.constant(["a"])).dtype == tf.float16


@pytest.mark.parametrize("unknown", ["zeros", "mean", "learned"])
@pytest.mark.parametrize("folder", ["model.keras", "model"])
def test_saves_and_loads_with_equal_values(tmp_path, folder, unknown):
    ids = tf_keras.Input([None], dtype=tf.string)
    model = tf_keras.Model(ids, tower(dim=3, unknown=unknown)(ids))
    before = model(ASKED).numpy()
    assert np.abs(before).sum() > 0
    model.save(tmp_path / folder)
    again = tf_keras.models.load_model(tmp_path / folder)
    np.testing.assert_array_equal(again(ASKED), before)


def test_vectors_are_among_the_weights_and_not_in_the_config(tmp_path):
    ids = tf_keras.Input([None], dtype=tf.string)
    vectors = np.random.default_rng(0).normal(size=[3, 1000])
    model = tf_keras.Model(ids, PrecomputedTower(IDS, vectors)(ids))
    model.save(tmp_path / "model.keras")
    with zipfile.ZipFile(tmp_path / "model.keras") as archive:
        assert archive.getinfo("config.json").file_size < 3_000
    model.save_weights(tmp_path / "model.weights.h5")
    other = tf_keras.Model(ids, PrecomputedTower(IDS, width=1000)(ids))
    assert not other(ASKED).numpy().any()
    other.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_array_equal(other(ASKED), model(ASKED))


def test_config_round_trip():
    config = tower(dim=4, unknown="mean", name="image").get_config()
    json.dumps(config)
    assert PrecomputedTower.from_config(config).get_config() == config


@pytest.mark.parametrize("suffix", ["npz", "parquet"])
def test_reads_a_file(tmp_path, suffix):
    path = tmp_path / f"v.{suffix}"
    if suffix == "npz":
        np.savez(path, ids=IDS, vectors=VECTORS)
    else:
        table = pd.DataFrame({"item": IDS, "vector": list(VECTORS)})
        table.sample(frac=1, random_state=1).to_parquet(path)
    layer = PrecomputedTower.read(path, dim=2, unknown="mean", name="image")
    assert (layer.name, layer.dim, layer.unknown) == ("image", 2, "mean")
    other = tower(dim=2, unknown="mean")
    other.set_weights([layer.get_weights()[0], *other.get_weights()[1:]])
    np.testing.assert_allclose(layer(ASKED), other(ASKED), rtol=1e-6)


@pytest.mark.parametrize("unknown", ["zeros", "mean", "learned"])
def test_more_items_leave_the_others_as_they_are(unknown):
    layer = tower(dim=3, unknown=unknown)
    more = layer.add_items(["new"], [[7.0, 8.0]])
    old = tf.constant([["c", "never", ""], ["a", "a", "b"]])
    np.testing.assert_array_equal(more(old), layer(old))
    np.testing.assert_array_equal(
        more.embed_places(tf.constant([3, -1], tf.int64))[0],
        more.project(tf.constant([[7.0, 8.0], [0, 0]]))[0],
    )
    assert not layer.known(tf.constant("new"))
    more.trainable_weights[-1].assign(tf.zeros([2, 3]))
    assert layer(old).numpy().any()  # they share nothing


@pytest.mark.parametrize(
    ("ids", "vectors", "message"),
    [
        (["a", "b", "a"], VECTORS, "ids holds 'a' 2 times: ids are unique"),
        (["a", "", "c"], VECTORS, "ids holds '': the empty id"),
        (IDS[:2], VECTORS, "2 ids and 3 vectors: give a vector for each id"),
        (IDS, [[1.0], [2.0]], "3 ids and 2 vectors"),
        ([], np.zeros([0, 2]), "ids is empty"),
        (IDS, [1.0, 2.0, 3.0], r"vectors has the shape \(3,\): give \[n, width\]"),
        (IDS, np.zeros([3, 0]), r"vectors has the shape \(3, 0\)"),
        (IDS, np.zeros([3, 2, 2]), r"vectors has the shape \(3, 2, 2\)"),
        (
            IDS,
            [[1.0, 2.0], [1.0, 2.0], [1.0]],
            r"unequal width: that of 'a' has the shape \(2,\), that of 'c' \(1,\)",
        ),
        (IDS, [[1.0], [1.0, 2.0], [[1.0], 2.0]], r"unequal width: .* 'b' \(2,\)"),
        (IDS, [[1.0], [[1.0], 2.0], [1.0]], "vector of 'b' is not a list of numbers"),
        (IDS, [[1.0], None, [1.0]], "vectors holds None for 'b'"),
        (IDS, [[1, 2], [np.nan, 2], [1, np.inf]], r"2 of 3 .*not finite.* of 'b'"),
        (IDS, [[1, 2], [1, 1e39], [1, 2]], r"1 of 3 .*not finite in float32.* of 'b'"),
        (IDS, [["1"], ["2"], ["3"]], "vectors are <U1: give numbers"),
        (IDS, VECTORS > 0, "vectors are bool: give numbers"),
        (IDS, VECTORS + 1j, "vectors are complex64: give numbers"),
        (IDS, None, "width=None must be 1 or more where vectors are left out"),
    ],
)
def test_bad_input_is_named(ids, vectors, message):
    with pytest.raises(ValueError, match=message):
        PrecomputedTower(ids, vectors)


def test_ids_that_are_no_strings_are_named():
    with pytest.raises(TypeError, match="ids holds None, a NoneType"):
        PrecomputedTower(["a", None, "c"], VECTORS)
    with pytest.raises(TypeError, match="ids='abc' is one string: give a list"):
        PrecomputedTower("abc", VECTORS)
    with pytest.raises(ValueError, match="item ids are int32: give strings"):
        tower()(tf.constant([1]))
    with pytest.raises(ValueError, match="item ids hold None, a NoneType: give strin"):
        tower()(["a", None])
    with pytest.raises(ValueError, match="item ids are ragged"):
        tower()(tf.ragged.constant([["a"], []]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dim": 0}, "dim=0 must be 1 or more"),
        ({"unknown": "random"}, "unknown='random' is not one of"),
        ({"width": 7}, "width=7, and vectors are 2 wide"),
    ],
)
def test_a_bad_choice_is_named(options, message):
    with pytest.raises(ValueError, match=message):
        tower(**options)


def test_vectors_of_another_width_are_named():
    with pytest.raises(ValueError, match=r"shape \(1, 3\): give \[..., 2\]"):
        tower().project(tf.zeros([1, 3]))
    with pytest.raises(ValueError, match="vectors are 3 wide, and this tower's 2"):
        tower().add_items(["new"], [[1, 2, 3]])
    with pytest.raises(ValueError, match=r"1 of the ids have a vector already, .*'b'"):
        tower().add_items(["new", "b"], [[1, 2]] * 2)


def test_a_file_of_bad_vectors_is_named(tmp_path):
    np.savez(tmp_path / "v.npz", ids=IDS, vectors=VECTORS * np.nan)
    with pytest.raises(ValueError, match=r"v.npz: 3 of 3 vectors are not finite"):
        PrecomputedTower.read(tmp_path / "v.npz")
    pd.DataFrame({"item": ["a", "a"], "vector": [[1.0], [2.0]]}).to_parquet(
        tmp_path / "v.parquet"
    )
    with pytest.raises(ValueError, match=r"v.parquet: ids holds 'a' 2 times"):
        PrecomputedTower.read(tmp_path / "v.parquet")
