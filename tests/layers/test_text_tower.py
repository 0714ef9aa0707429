"""The text tower, around a tiny random BERT in TF-Hub form."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_hub as hub
import tf_keras

from tfrs_decay.layers import TextTower, hub_modules

TEXTS = ["red lantern", "", "blue mug with a very long description of itself", "red"]


def tower(encoder, **options):
    return TextTower(encoder.preprocessor, encoder.encoder, **options)


@pytest.fixture(scope="module")
def frozen(tiny_encoder):
    """A tower for tests that leave it as it is: they share it."""
    return tower(tiny_encoder)


@pytest.fixture(scope="module")
def plain(tiny_encoder):
    """One text through TF-Hub alone: nothing shared, cut or pooled."""
    preprocess = hub.KerasLayer(str(tiny_encoder.preprocessor))
    encode = hub.KerasLayer(str(tiny_encoder.encoder))

    def of(text):
        inputs = preprocess(tf.constant([text]))
        return encode(inputs), inputs["input_mask"].numpy()[0]

    return of


def test_a_batch_equals_each_text_alone(frozen, plain):
    got = frozen(tf.constant(TEXTS)).numpy()
    expected = [plain(text)[0]["pooled_output"][0] for text in TEXTS]
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
def test_poolings_by_hand(tiny_encoder, plain, pooling):
    got = tower(tiny_encoder, pooling=pooling)(tf.constant(["the red mug"])).numpy()[0]
    outputs, mask = plain("the red mug")
    kept = outputs["sequence_output"].numpy()[0][mask == 1]
    np.testing.assert_allclose(
        got, kept[0] if pooling == "cls" else kept.mean(0), atol=1e-5
    )


def test_encode_all_is_encode_in_any_order(frozen):
    text = frozen
    many = TEXTS * 3
    shown = []
    got = text.encode_all(
        many, batch_size=3, progress=lambda it: shown.extend(it) or shown
    )
    np.testing.assert_allclose(got, text.encode(tf.constant(many)), atol=1e-5)
    assert len(shown) == 2  # four distinct texts in batches of three
    assert text.encode_all([]).shape == (0, 16)


# Layers, lengths, fields, and encoders without a preprocessor


@pytest.mark.parametrize("layer", [0, 1, -1, -2])
def test_tokens_of_a_layer(tiny_encoder, plain, layer):
    got = tower(tiny_encoder, pooling="mean", layer=layer)(tf.constant(["red mug"]))
    outputs, mask = plain("red mug")
    kept = outputs["encoder_outputs"][layer][0][mask == 1]
    np.testing.assert_allclose(got[0], np.mean(kept, axis=0), atol=1e-5)


def test_a_layer_that_is_not_there_is_named(tiny_encoder):
    with pytest.raises(ValueError, match=r"layer=2: encoder=.* has 2 layers, 0 to 1"):
        tower(tiny_encoder, pooling="cls", layer=2).build()


def test_cut_to_a_length_of_ones_own(tiny_encoder, frozen):
    # A letter is a token here; [CLS] and [SEP] are two of the five.
    short = tower(tiny_encoder, max_length=5)
    got = short(tf.constant(["x y z a b c d", "x y z"])).numpy()
    np.testing.assert_allclose(got[0], got[1], atol=1e-6)
    # Longer than the preprocessor's own sixteen.
    words = " ".join("abcdefghijklmnopqrstuvwxyz")
    other = words[:-1] + "a"
    long = tower(tiny_encoder, max_length=40)
    pair = tf.constant([words, other])
    assert np.abs(np.diff(frozen(pair), axis=0)).max() < 1e-6
    assert np.abs(np.diff(long(pair), axis=0)).max() > 1e-3


def test_a_length_that_the_encoder_cannot_read_is_named(tiny_encoder):
    with pytest.raises(
        ValueError,
        match=r"encoder=.* cannot read .* max_length=65: .*expected a length up to 64",
    ):
        tower(tiny_encoder, max_length=65).build()


def test_an_encoder_that_does_not_read_strings_is_named(tiny_encoder):
    with pytest.raises(
        ValueError, match=r"cannot read strings, which .*find matching concrete func"
    ):
        TextTower(None, tiny_encoder.encoder).build()


def test_fields_stand_beside_each_other(tiny_encoder, frozen):
    one, two = frozen, tower(tiny_encoder, fields=2)
    grid = tf.constant([["red", "a mug"], ["red", ""], ["", "a mug"]])
    expected = np.concatenate([one(grid[:, 0]), one(grid[:, 1])], axis=1)
    np.testing.assert_allclose(two(grid), expected, atol=1e-5)
    assert two.hidden == 32
    np.testing.assert_allclose(two.encode_all(grid.numpy().astype(str)), expected, 1e-4)
    projected = tower(tiny_encoder, fields=2, dim=3)
    assert projected(tf.constant([[["red", "mug"]] * 5])).shape == (1, 5, 3)
    with pytest.raises(ValueError, match=r"shape \(3,\), and this .* 2 fields: give"):
        two(grid[:, 0][..., None][:, 0])
    with pytest.raises(ValueError, match=r"texts have the shape \(2,\): give \[n, 2\]"):
        two.encode_all(["red", "mug"])


def test_fields_whose_number_is_known_at_run_time(tmp_path):
    text = TextTower(None, saved(Lengths(), tmp_path / "sentences"), fields=2)
    call = tf.function(text, input_signature=[tf.TensorSpec([None, None], tf.string)])
    assert call(tf.constant([["a", "bc"]])).numpy().tolist() == [[1, 2, 3, 2, 4, 6]]
    with pytest.raises(tf.errors.InvalidArgumentError, match="this tower reads 2 fiel"):
        call(tf.constant([["a", "bc", "d"]]))
    unknown = tf.function(text, input_signature=[tf.TensorSpec(None, tf.string)])
    with pytest.raises(ValueError, match=r"shape <unknown>, and .*2 fields: give"):
        unknown(tf.constant([["a", "bc"]]))


class Lengths(tf.Module):
    """Strings to vectors, as the Universal Sentence Encoder gives them."""

    def __init__(self, name_of_output=None, dtype=tf.float32):
        super().__init__()
        self._scale = tf.Variable([1.0, 2.0, 3.0])
        self._name, self._dtype = name_of_output, dtype

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def __call__(self, texts):
        length = tf.cast(tf.strings.length(texts), tf.float32)
        vectors = tf.cast(length[:, None] * self._scale, self._dtype)
        return vectors if self._name is None else {self._name: vectors}


def saved(module, folder):
    tf.saved_model.save(module, str(folder))
    return folder


@pytest.mark.parametrize("name", [None, "default", "outputs", "anything"])
def test_an_encoder_that_reads_strings(tmp_path, name):
    text = TextTower(None, saved(Lengths(name), tmp_path / "sentences"))
    got = text(tf.constant([["abc", ""], ["a", "abc"]])).numpy()
    assert got.tolist() == [[[3, 6, 9], [0, 0, 0]], [[1, 2, 3], [3, 6, 9]]]
    assert text.hidden == 3
    assert text.encode_all(["ab", "ab"]).tolist() == [[2, 4, 6]] * 2
    assert TextTower.from_config(text.get_config()).get_config() == text.get_config()


def test_what_needs_tokens_needs_a_preprocessor(tmp_path):
    folder = saved(Lengths(), tmp_path / "sentences")
    for option in ({"pooling": "mean"}, {"max_length": 9}):
        with pytest.raises(ValueError, match="an encoder without a preprocessor gives"):
            TextTower(None, folder, **option)


def test_outputs_that_are_no_vectors_are_named(tiny_encoder, tmp_path):
    folder = saved(Lengths(dtype=tf.int32), tmp_path / "numbers")
    with pytest.raises(ValueError, match=r"'pooled_output' as int32 of shape \(1, 3\)"):
        TextTower(None, folder).build()
    with pytest.raises(ValueError, match=r"preprocessor=.* gives a \w*Tensor: one of"):
        TextTower(saved(Lengths(), tmp_path / "strings"), tiny_encoder.encoder).build()


# Graphs, precision and bad texts


def test_one_trace_for_every_number_and_length(tiny_encoder):
    text = tower(tiny_encoder, dim=3)
    text.build()
    traces = []

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.string)])
    def call(texts):
        traces.append(texts.shape)
        return text(texts)

    for texts in (
        [["red"]],
        [["a mug", "red"]] * 3,
        [["a long one of many words"] * 4],
    ):
        call(tf.constant(texts))
    assert len(traces) == 1


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision(tiny_encoder, frozen, policy):
    mixed = tower(tiny_encoder, dim=3, dtype=policy)
    mixed.build()
    expected = frozen(tf.constant(TEXTS)) @ mixed.trainable_weights[0]
    got = mixed(tf.constant(TEXTS))
    assert got.dtype == mixed.compute_dtype
    np.testing.assert_allclose(tf.cast(got, tf.float32), expected, atol=0.05)


def test_bytes_that_are_not_utf_8_are_a_replacement_character(frozen, tmp_path):
    got = frozen(tf.constant([b"red \xff\xfe mug", "red \ufffd\ufffd mug".encode()]))
    np.testing.assert_allclose(got[0], got[1], atol=1e-6)
    lengths = TextTower(None, saved(Lengths(), tmp_path / "sentences"))
    assert lengths(tf.constant([b"\xff"])).numpy()[0, 0] == len("\ufffd".encode())


def test_what_is_no_text_is_named(frozen):
    text = frozen
    with pytest.raises(ValueError, match=r"texts are ragged: give .*to_tensor\(''\)"):
        text(tf.ragged.constant([["red"], []]))
    assert np.isfinite(text(tf.constant(["x" * 10_000, "中 👍"]))).all()
    assert text([]).shape == (0, 16)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["red", None], "texts hold None, a NoneType: give strings, '' where there is"),
        (["red", 1], "texts hold 1, a int32: give strings"),
        (["red", float("nan")], "texts hold nan, a float32: give strings"),
        (np.array(["red", None], object), "texts hold None, a NoneType: give strings"),
        (np.array(["red", np.nan], object), "texts hold nan, a float: give strings"),
        (np.array([1.5]), "texts are float64: give strings"),
        (["red", "\ud800 mug"], r"texts hold '\\ud800 mug', which has no UTF-8"),
    ],
)
def test_what_is_no_string_is_named(frozen, texts, message):
    with pytest.raises(ValueError, match=message):
        frozen(texts)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["red", None], "texts hold None, a NoneType: give strings"),
        (["red", float("nan")], "texts hold nan, a float: give strings"),
        (["red", b"mug"], "texts hold b'mug', a bytes: give strings"),
        (["red", "\ud800 mug"], r"texts hold '\\ud800 mug', which has no UTF-8"),
    ],
)
def test_what_is_no_string_is_not_encoded(frozen, texts, message):
    with pytest.raises(ValueError, match=message):
        frozen.encode_all(texts)


# What was encoded once


def test_a_cache_spares_the_encoder(tiny_encoder, frozen, tmp_path):
    expected = frozen.encode_all(TEXTS)
    assert frozen.encode_all(TEXTS[:2], cache=tmp_path).shape == (2, 16)
    second = tower(tiny_encoder, dim=3)  # a projection is another matter
    shown = []

    def progress(batches):
        shown.extend(batches)
        return shown

    got = second.encode_all(TEXTS, batch_size=1, cache=tmp_path, progress=progress)
    np.testing.assert_allclose(got, expected, atol=1e-5)
    assert len(shown) == 2
    shown.clear()
    again = second.encode_all(TEXTS, cache=tmp_path, progress=progress)
    np.testing.assert_array_equal(again, got)
    assert not shown


def test_what_was_interrupted_goes_on(frozen, tmp_path):
    def interrupted(batches):
        for number, batch in enumerate(batches):
            if number == 2:
                raise KeyboardInterrupt
            yield batch

    text = frozen
    with pytest.raises(KeyboardInterrupt):
        text.encode_all(TEXTS, batch_size=1, cache=tmp_path, progress=interrupted)
    left = []
    text.encode_all(
        TEXTS, batch_size=1, cache=tmp_path, progress=lambda it: left.extend(it) or left
    )
    assert len(left) == len(TEXTS) - 2


def test_other_vectors_have_another_fingerprint(tiny_encoder, frozen, tmp_path):
    text = frozen
    copy = tmp_path / "elsewhere"
    shutil.copytree(tiny_encoder.encoder, copy)
    assert TextTower(tiny_encoder.preprocessor, copy, dim=3).fingerprint == (
        text.fingerprint
    )
    others = [
        # Of a known width, so that they are not loaded.
        tower(tiny_encoder, hidden=16, pooling="mean"),
        tower(tiny_encoder, hidden=16, pooling="cls"),
        tower(tiny_encoder, hidden=16, pooling="cls", layer=0),
        tower(tiny_encoder, hidden=16, max_length=9),
        TextTower(None, saved(Lengths(), tmp_path / "sentences")),
    ]
    found = {one.fingerprint for one in [text, *others]}
    assert len(found) == 6
    variables = next(copy.glob("variables/*.data*"))
    before = hub_modules.content_hash(str(copy))
    content = bytearray(variables.read_bytes())
    content[len(content) // 2] ^= 1
    variables.write_bytes(content)
    assert hub_modules.content_hash(str(copy)) != before


def test_vectors_that_change_have_none(tiny_encoder, tmp_path):
    text = tower(tiny_encoder, fine_tune=True)
    with pytest.raises(ValueError, match="the encoder is fine-tuned: its vectors"):
        text.encode_all(TEXTS, cache=tmp_path)


def test_a_damaged_cache_is_named(frozen, tmp_path):
    text = frozen
    text.encode_all(TEXTS, cache=tmp_path)
    (path,) = tmp_path.glob("*.sqlite")
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE vectors SET vector = x'00'")
    with pytest.raises(
        ValueError, match=rf"{path.name} is damaged.* of 1 bytes.*delete it"
    ):
        text.encode_all(TEXTS, cache=tmp_path)
    path.write_bytes(b"something else" * 99)
    with pytest.raises(ValueError, match=rf"{path.name} is damaged, or no cache"):
        text.encode_all(TEXTS, cache=tmp_path)
    path.unlink()
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE vectors (id, vector)")
    with pytest.raises(ValueError, match=r"is damaged.*columns \['id', 'vector'\]"):
        text.encode_all(TEXTS, cache=tmp_path)
    path.unlink()
    path.mkdir()
    with pytest.raises(OSError, match=rf"the cache of vectors .*{path.name}"):
        text.encode_all(TEXTS, cache=tmp_path)


class Logarithms(tf.Module):
    """Strings to vectors, of which that of "" is not finite."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def __call__(self, texts):
        return tf.math.log(tf.cast(tf.strings.length(texts), tf.float32))[:, None]


def test_vectors_that_are_not_finite_are_not_kept(tmp_path):
    text = TextTower(None, saved(Logarithms(), tmp_path / "logarithms"))
    cache = tmp_path / "cache"
    with pytest.raises(
        ValueError, match=r"encoder=.*logarithms' makes .* not finite of '', and of 0"
    ):
        text.encode_all(["abc", ""], cache=cache)
    got = text.encode_all(["abc"], cache=cache)
    np.testing.assert_allclose(got, [[np.log(3)]], rtol=1e-6)


# Training


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


def test_saves_and_loads_within_a_model(tiny_encoder, tmp_path):
    """With a frozen encoder; `test_fine_tuning` has the others."""
    texts = tf_keras.Input([], dtype=tf.string)
    text = tower(tiny_encoder, dim=3)
    model = tf_keras.Model(texts, text(texts))
    step(text)
    before = model(tf.constant(TEXTS)).numpy()
    for folder in ("model.keras", "model"):
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


def test_a_config_from_before_fine_tuning_is_read(frozen):
    config = frozen.get_config()
    del config["fine_tune"]
    assert TextTower.from_config(config).fine_tune is False


def test_config_round_trip(tiny_encoder):
    text = tower(
        tiny_encoder,
        dim=3,
        pooling="mean",
        layer=0,
        max_length=9,
        fields=2,
        name="titles",
    )
    config = text.get_config()
    assert TextTower.from_config(config).get_config() == config


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pooling": "max"}, "pooling='max' is not one of"),
        ({"dim": 0}, "dim=0 must be 1 or more"),
        ({"fields": 0}, "fields=0 must be 1 or more"),
        ({"max_length": 2}, "max_length=2 must be 3 or more: the first and the last"),
        ({"layer": 1}, "layer=1 says whose tokens are pooled.* choose 'cls' or 'mean'"),
    ],
)
def test_a_bad_choice_is_named(tiny_encoder, options, message):
    with pytest.raises(ValueError, match=message):
        tower(tiny_encoder, **options)


def test_numbers_are_no_texts(frozen):
    with pytest.raises(ValueError, match="texts are int32: give strings"):
        frozen(tf.constant([1]))


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
    text = tower(tiny_encoder)
    text._encode = lambda inputs, **_: {"other": 1}
    with pytest.raises(ValueError, match=r"gives \['other'\].*reads 'pooled_output'"):
        text.encode(tf.constant(["red"]))
