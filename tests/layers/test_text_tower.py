"""The text tower, around a tiny random BERT in TF-Hub form."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_hub as hub
import tf_keras

from tfrs_decay.layers import TextTower

TEXTS = ["red lantern", "", "blue mug with a very long description of itself", "red"]


def tower(encoder, **options):
    return TextTower(encoder.preprocessor, encoder.encoder, **options)


def plain(encoder, text, output="pooled_output"):
    """One text through TF-Hub alone: nothing shared, cut or pooled."""
    inputs = hub.KerasLayer(str(encoder.preprocessor))(tf.constant([text]))
    outputs = hub.KerasLayer(str(encoder.encoder))(inputs)
    return outputs[output].numpy()[0], inputs["input_mask"].numpy()[0]


def test_a_batch_equals_each_text_alone(tiny_encoder):
    got = tower(tiny_encoder)(tf.constant(TEXTS)).numpy()
    expected = [plain(tiny_encoder, text)[0] for text in TEXTS]
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_duplicates_and_any_shape_give_the_same_vectors(tiny_encoder):
    text = tower(tiny_encoder, dim=3)
    grid = [["red", "", "red"], ["mug", "red", ""]]
    got = text(tf.constant(grid)).numpy()
    assert got.shape == (2, 3, 3)
    for row, texts in zip(got, grid, strict=True):
        np.testing.assert_allclose(row, text(tf.constant(texts)), atol=1e-6)
    assert text(tf.constant("red")).shape == (3,)
    assert text(tf.zeros([0, 5], tf.string)).shape == (0, 5, 3)


def test_each_distinct_text_is_encoded_once(tiny_encoder):
    text = tower(tiny_encoder)
    text.build()
    seen = []
    inner = text._encode.call
    text._encode.call = lambda inputs, **others: (
        seen.append(inputs["input_mask"].shape) or inner(inputs, **others)
    )
    text(tf.constant([["red", "mug", "red"]] * 50))
    # Two texts; cut to [CLS] and the letters of the longer one and [SEP].
    assert [shape[0] for shape in seen] == [2]
    assert seen[0][1] < 16


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_poolings_by_hand(tiny_encoder, pooling):
    got = tower(tiny_encoder, pooling=pooling)(tf.constant(["the red mug"])).numpy()[0]
    tokens, mask = plain(tiny_encoder, "the red mug", "sequence_output")
    kept = tokens[mask == 1]
    np.testing.assert_allclose(
        got, kept[0] if pooling == "cls" else kept.mean(0), atol=1e-5
    )


def test_encode_all_is_encode_in_any_order(tiny_encoder):
    text = tower(tiny_encoder)
    many = TEXTS * 3
    shown = []
    got = text.encode_all(
        many, batch_size=3, progress=lambda it: shown.extend(it) or shown
    )
    np.testing.assert_allclose(got, text.encode(tf.constant(many)), atol=1e-5)
    assert len(shown) == 2  # four distinct texts in batches of three
    assert text.encode_all([]).shape == (0, 16)


def step(text):
    """Takes one step of gradient descent on all trainable weights."""
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(text(tf.constant(["red lantern", "a mug, 2"])) ** 3)
    gradients = tape.gradient(loss, text.trainable_weights)
    tf_keras.optimizers.SGD(1.0).apply_gradients(
        zip(gradients, text.trainable_weights, strict=True)
    )


def test_frozen_trains_the_projection_alone(tiny_encoder):
    text = tower(tiny_encoder, dim=3)
    text(tf.constant(["red"]))
    assert [weight.shape for weight in text.trainable_weights] == [(16, 3)]
    before = text.encode(tf.constant(TEXTS)).numpy()
    step(text)
    np.testing.assert_array_equal(text.encode(tf.constant(TEXTS)), before)


def test_fine_tuning_moves_the_encoder(tiny_encoder):
    text = tower(tiny_encoder, dim=3, fine_tune=True)
    text(tf.constant(["red"]))
    weights = [weight.numpy() for weight in text.trainable_weights]
    assert len(weights) > 20
    step(text)
    moved = [
        np.abs(after.numpy() - before).max() > 0
        for before, after in zip(weights, text.trainable_weights, strict=True)
    ]
    assert all(moved)


@pytest.mark.parametrize("fine_tune", [False, True])
@pytest.mark.parametrize("folder", ["model.keras", "model"])
def test_saves_and_loads_within_a_model(tiny_encoder, tmp_path, folder, fine_tune):
    texts = tf_keras.Input([], dtype=tf.string)
    text = tower(tiny_encoder, dim=3, fine_tune=fine_tune)
    model = tf_keras.Model(texts, text(texts))
    step(text)
    before = model(tf.constant(TEXTS)).numpy()
    model.save(tmp_path / folder)
    again = tf_keras.models.load_model(tmp_path / folder)
    np.testing.assert_allclose(again(tf.constant(TEXTS)), before, atol=1e-6)


def test_a_saved_frozen_encoder_is_not_saved_once_more(tiny_encoder, tmp_path):
    texts = tf_keras.Input([], dtype=tf.string)
    sizes = {}
    for fine_tune in (False, True):
        text = tower(tiny_encoder, dim=3, fine_tune=fine_tune)
        path = tmp_path / f"{fine_tune}.weights.h5"
        tf_keras.Model(texts, text(texts)).save_weights(path)
        sizes[fine_tune] = path.stat().st_size
    assert sizes[False] < sizes[True] / 2


def test_config_round_trip(tiny_encoder):
    text = tower(tiny_encoder, dim=3, pooling="mean", name="titles")
    config = text.get_config()
    assert TextTower.from_config(config).get_config() == config


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pooling": "max"}, "pooling='max' is not one of"),
        ({"dim": 0}, "dim=0 must be 1 or more"),
    ],
)
def test_a_bad_choice_is_named(tiny_encoder, options, message):
    with pytest.raises(ValueError, match=message):
        tower(tiny_encoder, **options)


def test_numbers_are_no_texts(tiny_encoder):
    with pytest.raises(ValueError, match="texts are int32: give strings"):
        tower(tiny_encoder)(tf.constant([1]))


def test_a_folder_without_a_model_is_named(tiny_encoder, tmp_path):
    absent = tmp_path / "nothing"
    with pytest.raises(
        FileNotFoundError,
        match=r"encoder='.*nothing'.*RoBERTa.*tfrs-decay encoder .*pass OUT/encoder\.",
    ):
        TextTower(tiny_encoder.preprocessor, absent)
    with pytest.raises(FileNotFoundError, match=r"preproc.*pass OUT/preprocessor\."):
        TextTower(absent, tiny_encoder.encoder)


def test_a_handle_that_cannot_be_fetched_says_how_to_get_a_local_one(tiny_encoder):
    # .invalid can be registered by nobody (RFC 2606): it fails with a network too.
    handle = "https://tfhub.invalid/google/bert/4"
    with pytest.raises(RuntimeError, match=rf"encoder='{handle}'.*tfrs-decay encoder"):
        TextTower(tiny_encoder.preprocessor, handle)


def test_an_encoder_that_lacks_the_output_is_named(tiny_encoder):
    text = TextTower(tiny_encoder.preprocessor, tiny_encoder.preprocessor)
    text._preprocess, text._encode = text._encode, lambda inputs, **_: {"other": 1}
    with pytest.raises(ValueError, match=r"gives \['other'\].*reads 'pooled_output'"):
        text.encode(tf.constant(["red"]))
