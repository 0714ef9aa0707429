"""Fine-tuning: what is trained, what a step changes, what is saved."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_hub as hub
import tf_keras

import tfrs_decay as td
from tfrs_decay.layers import ItemTower, LastLayers, LowRank, TextTower, fine_tuning
from tfrs_decay.layers.encoder_graph import EncoderGraph

WORDS = ["red lantern", "a mug, 2", "red lantern", "", "red lantern"]
KINDS = [True, LastLayers(1), LowRank(2)]


def tower(encoder, fine_tune, **options):
    made = TextTower(
        encoder.preprocessor, encoder.encoder, fine_tune=fine_tune, **options
    )
    made.build()
    return made


def names(text):
    return {one.name.split("/")[0] for one in text.trainable_weights}


def moved(text, seed=0):
    """The tower, its trained weights a little elsewhere."""
    rng = np.random.default_rng(seed)
    for one in text.trainable_weights:
        one.assign_add(0.1 * rng.normal(size=one.shape).astype(np.float32))
    return text


def loss_of(vectors):
    """Weighs each text's vector otherwise, so that repeated texts do not cancel."""
    weights = tf.range(1.0, len(WORDS) + 1)[:, None]
    return tf.reduce_sum(weights * vectors**3)


def plain_gradients(text, encoder):
    """By TF-Hub alone, over every text of the batch, repeated ones again."""
    inputs = hub.KerasLayer(str(encoder.preprocessor))(tf.constant(WORDS))
    layer = hub.KerasLayer(str(encoder.encoder), trainable=True)
    by_name = {one.name: one for one in layer.variables}
    with tf.GradientTape() as tape:
        loss = loss_of(layer(inputs, training=True)["pooled_output"])
    wanted = [by_name[one.name] for one in text.trainable_weights]
    return [tf.convert_to_tensor(one) for one in tape.gradient(loss, wanted)]


@pytest.mark.parametrize("fine_tune", [True, LastLayers(1), LastLayers(2)])
@pytest.mark.parametrize("graph", [False, True])
def test_gradients_are_those_of_the_plain_computation(tiny_encoder, fine_tune, graph):
    text = tower(tiny_encoder, fine_tune)

    def gradients():
        with tf.GradientTape() as tape:
            loss = loss_of(text(tf.constant(WORDS), training=True))
        found = tape.gradient(loss, text.trainable_weights)
        return [tf.convert_to_tensor(one) for one in found]

    got = tf.function(gradients)() if graph else gradients()
    expected = plain_gradients(text, tiny_encoder)
    assert len(got) == len(expected) > 10
    for one, other in zip(got, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


def test_an_adapters_gradients_follow_from_the_matrices(tiny_encoder):
    text = moved(tower(tiny_encoder, LowRank(2, alpha=6.0)))
    with tf.GradientTape() as tape:
        loss = loss_of(text(tf.constant(WORDS), training=True))
    got = dict(
        zip(
            [one.name for one in text.trainable_weights],
            tape.gradient(loss, text.trainable_weights),
            strict=True,
        )
    )
    # The same encoder, whole, its matrices changed by hand.
    whole = hub.KerasLayer(str(tiny_encoder.encoder), trainable=True)
    adapters = {one.name: one for one in text.trainable_weights}
    matrices = [one for one in whole.variables if f"{one.name[:-2]}/up:0" in adapters]
    assert len(matrices) == 8
    for one in matrices:
        down, up = (adapters[f"{one.name[:-2]}/{side}:0"] for side in ("down", "up"))
        one.assign_add(6 / 2 * tf.matmul(down, up))
    inputs = hub.KerasLayer(str(tiny_encoder.preprocessor))(tf.constant(WORDS))
    with tf.GradientTape() as tape:
        plain = loss_of(whole(inputs, training=True)["pooled_output"])
    np.testing.assert_allclose(loss, plain, rtol=1e-4)
    for one, gradient in zip(matrices, tape.gradient(plain, matrices), strict=True):
        down, up = (adapters[f"{one.name[:-2]}/{side}:0"] for side in ("down", "up"))
        for side, expected in (
            ("down", 3 * tf.matmul(gradient, up, transpose_b=True)),
            ("up", 3 * tf.matmul(down, gradient, transpose_a=True)),
        ):
            found = got[f"{one.name[:-2]}/{side}:0"]
            np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)


def test_an_adapter_starts_as_the_encoder_that_was_loaded(tiny_encoder):
    frozen, adapted = tower(tiny_encoder, False), tower(tiny_encoder, LowRank(2))
    texts = tf.constant(WORDS)
    np.testing.assert_allclose(adapted(texts), frozen(texts), atol=1e-6)
    assert np.abs(moved(adapted)(texts) - frozen(texts)).max() > 0.01


def test_what_is_trained(tiny_encoder):
    assert names(tower(tiny_encoder, True)) == {"embeddings", "block_0", "block_1"}
    assert names(tower(tiny_encoder, LastLayers(1))) == {"block_1"}
    assert names(tower(tiny_encoder, LastLayers(2))) == {"block_0", "block_1"}
    adapted = tower(tiny_encoder, LowRank(3), dim=4)
    shapes = [tuple(one.shape) for one in adapted.trainable_weights]
    # qkv, attended, widen, narrow; twice, and then the projection.
    layer = [(16, 3), (3, 48), (16, 3), (3, 16), (16, 3), (3, 32), (32, 3), (3, 16)]
    assert sorted(shapes) == sorted([*layer, *layer, (16, 4)])
    encoder = len(tower(tiny_encoder, True).trainable_weights)
    assert len(adapted.non_trainable_weights) == encoder


@pytest.mark.parametrize("fine_tune", KINDS)
@pytest.mark.parametrize("folder", ["model.keras", "model", "model.weights.h5"])
def test_saves_and_loads(tiny_encoder, tmp_path, folder, fine_tune):
    def model():
        texts = tf_keras.Input([], dtype=tf.string)
        text = tower(tiny_encoder, fine_tune, dim=3)
        return tf_keras.Model(texts, text(texts)), text

    trained, text = model()
    moved(text)
    before = trained(tf.constant(WORDS)).numpy()
    if folder.endswith("h5"):
        trained.save_weights(tmp_path / folder)
        again, _ = model()
        again.load_weights(tmp_path / folder)
    else:
        trained.save(tmp_path / folder)
        again = tf_keras.models.load_model(tmp_path / folder)
    np.testing.assert_allclose(again(tf.constant(WORDS)), before, atol=1e-6)
    for one in ("trainable_weights", "weights"):
        assert len(getattr(again, one)) == len(getattr(trained, one))


def test_a_file_holds_what_was_trained(tiny_encoder, tmp_path):
    texts = tf_keras.Input([], dtype=tf.string)
    sizes = []
    for number, fine_tune in enumerate([True, LastLayers(1), LowRank(1)]):
        path = tmp_path / f"{number}.weights.h5"
        text = tower(tiny_encoder, fine_tune)
        model = tf_keras.Model(texts, text(texts))
        model.save_weights(path)
        sizes.append(path.stat().st_size)
    assert sizes == sorted(sizes, reverse=True)
    # That of an adapter, into a tower that trains a layer.
    other = tf_keras.Model(texts, tower(tiny_encoder, LastLayers(1))(texts))
    with pytest.raises(ValueError, match=r"holds 16 weights of 'encoder', and fine_"):
        other.load_weights(path)


@pytest.mark.parametrize("fine_tune", [False, *KINDS])
def test_config_round_trip(tiny_encoder, fine_tune):
    text = tower(tiny_encoder, fine_tune)
    again = TextTower.from_config(text.get_config())
    assert again.fine_tune == fine_tune
    assert again.get_config() == text.get_config()


@pytest.mark.parametrize("fine_tune", KINDS)
def test_a_fine_tuned_tower_is_not_baked(tiny_encoder, fine_tune):
    items = ItemTower(
        {"a": "red", "b": "mug"}, text=tower(tiny_encoder, fine_tune, dim=4), dim=4
    )
    with pytest.raises(ValueError, match=r"the encoder is fine-tuned .*bake a frozen"):
        items.bake()
    more = moved(items).add_items(["c"], ["red lantern"])
    ids = tf.constant(["a", "b"])
    np.testing.assert_allclose(more(ids), items(ids), atol=1e-6)
    assert np.abs(more(tf.constant(["c"])).numpy()).max() > 0


def test_a_served_adapter_answers_as_in_python(tiny_encoder, tmp_path):
    text = moved(tower(tiny_encoder, LowRank(2), dim=3))
    module = tf.Module()
    module.text = text
    module.serve = tf.function(
        text.call, input_signature=[tf.TensorSpec([None], tf.string)]
    )
    tf.saved_model.save(module, str(tmp_path / "served"))
    served = tf.saved_model.load(str(tmp_path / "served"))
    np.testing.assert_allclose(
        served.serve(tf.constant(WORDS)), text(tf.constant(WORDS)), atol=1e-6
    )


# Encoders of other makes


@pytest.fixture(scope="module")
def named(tmp_path_factory):
    """Strings to vectors, by matrices whose names tell no layer; with a branch."""
    module = tf.train.Checkpoint()
    table = tf.Variable(tf.ones([5, 4]), name="table")
    heads = tf.Variable(tf.reshape(tf.range(32.0), [4, 2, 4]), name="heads")

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def call(texts):
        rows = tf.gather(table, tf.minimum(tf.strings.length(texts), 4))
        vectors = tf.einsum("nd,dhk->nk", rows, heads)
        long = tf.strings.length(texts[0]) > 3
        return tf.cond(long, lambda: 2.0 * vectors, lambda: vectors)

    module.__call__ = call
    module.variables = module.trainable_variables = [table, heads]
    folder = str(tmp_path_factory.mktemp("named") / "module")
    tf.saved_model.save(module, folder)
    return folder


def test_matrices_of_any_encoder_can_be_adapted(named):
    text = TextTower(None, named, fine_tune=LowRank(2))
    text.build()
    shapes = {one.name: tuple(one.shape) for one in text.trainable_weights}
    # Not the table, which is looked up in.
    assert shapes == {"heads/down:0": (4, 2), "heads/up:0": (2, 8)}
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(moved(text)(tf.constant(["a", "bb"]), training=True))
    gradients = tape.gradient(loss, text.trainable_weights)
    assert all(np.abs(one).max() > 0 for one in gradients)


def test_layers_that_names_do_not_tell_are_refused(named):
    with pytest.raises(ValueError, match=r"LastLayers\(1\): the names of .*'table"):
        TextTower(None, named, fine_tune=LastLayers(1))


def test_more_layers_than_there_are(tiny_encoder):
    with pytest.raises(ValueError, match=r"LastLayers\(3\): the encoder has 2 layers"):
        tower(tiny_encoder, LastLayers(3))


class Lengths(tf.Module):
    """Strings to vectors without a matrix."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def __call__(self, texts):
        return tf.cast(tf.strings.length(texts), tf.float32)[:, None]


def test_nothing_to_adapt_is_named(tmp_path):
    tf.saved_model.save(Lengths(), str(tmp_path / "lengths"))
    with pytest.raises(ValueError, match=r"LowRank\(...\): the encoder multiplies by"):
        TextTower(None, tmp_path / "lengths", fine_tune=LowRank())


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("transformer/layer_11/self_attention/query/kernel:0", 11),
        ("bert/encoder/layer/3/output/dense/kernel:0", 3),
        ("block_0/qkv:0", 0),
        ("encoder.block.7.weight:0", 7),
        ("embeddings/player_2:0", None),
        ("embeddings/words:0", None),
    ],
)
def test_layers_by_name(name, layer):
    assert fine_tuning.layer_of(tf.Variable(0.0, name=name)) == layer


def test_kernels_are_split_where_their_sides_are_alike():
    assert fine_tuning.sides([768, 12, 64]) == (768, 768)
    assert fine_tuning.sides([12, 64, 768]) == (768, 768)
    assert fine_tuning.sides([5, 7]) == (5, 7)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: LowRank(0), ValueError, "rank=0 must be a whole number"),
        (lambda: LowRank(True), ValueError, "rank=True must be a whole number"),
        (lambda: LowRank(2, alpha=0), ValueError, "alpha=0 must be finite and above"),
        (lambda: LastLayers(1.5), ValueError, "layers=1.5 must be a whole number"),
        (lambda: TextTower("p", "e", fine_tune=2), TypeError, "fine_tune=2 is a int"),
        (lambda: fine_tuning.parse("last"), ValueError, "fine_tune='last' is none of"),
        (lambda: fine_tuning.parse("low-rank:0"), ValueError, "is none of 'all'"),
    ],
)
def test_what_is_no_fine_tuning_is_named(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_as_it_is_typed():
    assert fine_tuning.parse("all") is True
    assert fine_tuning.parse("last:2") == LastLayers(2)
    assert fine_tuning.parse("low-rank:4") == LowRank(4)


# Half precision


@pytest.mark.parametrize(
    ("policy", "error"), [("mixed_bfloat16", 0.02), ("mixed_float16", 0.002)]
)
@pytest.mark.parametrize("fine_tune", [False, True, LowRank(2)])
def test_products_in_half_precision(tiny_encoder, policy, error, fine_tune):
    usual = tower(tiny_encoder, fine_tune)
    half = tower(tiny_encoder, fine_tune, dtype=policy)
    texts = tf.constant(WORDS)
    got = half(texts, training=True)
    assert got.dtype == half.compute_dtype
    difference = np.abs(tf.cast(got, tf.float32) - usual(texts)).max()
    # Not float32 after all, and no worse than the products' own rounding.
    assert 0 < difference < error
    if fine_tune is True:
        with tf.GradientTape() as tape:
            loss = loss_of(tf.cast(half(texts, training=True), tf.float32))
        gradients = tape.gradient(loss, half.trainable_weights)
        for one, other in zip(
            gradients, plain_gradients(half, tiny_encoder), strict=True
        ):
            assert one.dtype == tf.float32
            scale = np.abs(other).max() + 0.1
            one = tf.convert_to_tensor(one)
            assert np.abs(one - other).max() < 10 * error * scale


def test_every_product_is_in_half_precision(tiny_encoder):
    text = tower(tiny_encoder, False, dtype="mixed_bfloat16")
    graph = text._encode._parts.graphs[0]
    dtypes = [
        node.attr["T"].type
        for node in graph._graph.node
        if node.op in ("MatMul", "BatchMatMulV2")
    ]
    assert len(dtypes) == 12
    assert set(dtypes) == {tf.bfloat16.as_datatype_enum}


def test_precisions_are_told_apart(tiny_encoder):
    half = tower(tiny_encoder, False, dtype="mixed_bfloat16")
    assert half.fingerprint != tower(tiny_encoder, False).fingerprint


def test_a_graph_is_written_out_with_weights_of_ones_own():
    weight = tf.Variable([[2.0]])
    graph = EncoderGraph(lambda x: {"y": x["x"] @ weight}, {"x": tf.ones([1, 1])})
    assert [one is weight for one in graph.multiplied] == [True]
    inputs = {"x": tf.constant([[1.0], [3.0]])}
    np.testing.assert_array_equal(graph(inputs)["y"], [[2.0], [6.0]])
    instead = [(weight, tf.constant([[5.0]]))]
    np.testing.assert_array_equal(graph(inputs, instead)["y"], [[5.0], [15.0]])
    weight.assign([[4.0]])
    np.testing.assert_array_equal(graph(inputs)["y"], [[4.0], [12.0]])


# Its own learning rate


def weights_after(optimizer, steps):
    """An encoder's weight and another one, after steps of the same gradient."""
    encoder, other = tf.Variable([1.0]), tf.Variable([1.0])
    fine_tuning.mark([encoder])
    for _ in range(steps):
        gradients = [tf.constant([1.0]), tf.constant([1.0])]
        optimizer.apply_gradients(zip(gradients, [encoder, other], strict=True))
    return float(encoder[0]), float(other[0])


def test_an_encoder_has_its_own_learning_rate():
    # Adam's step is the rate, as long as the gradient stays the same.
    got = weights_after(td.optimizers.FineTuningAdam(0.1, 0.01), 3)
    np.testing.assert_allclose(got, (0.97, 0.7), atol=1e-4)


def test_a_warm_up_rises_from_nothing():
    schedule = tf_keras.optimizers.schedules.PolynomialDecay(0.0, 4, 0.04)
    optimizer = td.optimizers.FineTuningAdam(0.1, schedule)
    # Rates of 0, 1, 2, 3, and from then on 4 hundredths.
    encoder, other = weights_after(optimizer, 6)
    np.testing.assert_allclose((encoder, other), (0.86, 0.4), atol=1e-4)


def test_weight_decay_is_at_the_rate_of_the_weight():
    usual, decayed = (
        weights_after(td.optimizers.FineTuningAdam(0.1, 0.01, **options), 1)
        for options in ({}, {"weight_decay": 0.5})
    )
    lost = np.subtract(usual, decayed)
    np.testing.assert_allclose(lost, [0.5 * 0.01, 0.5 * 0.1], atol=1e-5)


@pytest.mark.parametrize(
    "rate", [0.01, tf_keras.optimizers.schedules.PolynomialDecay(0.0, 4, 0.04)]
)
def test_an_optimizer_is_made_again_from_its_config(rate):
    optimizer = td.optimizers.FineTuningAdam(0.1, rate, beta_1=0.8)
    config = tf_keras.optimizers.serialize(optimizer)
    again = tf_keras.optimizers.deserialize(config)
    assert again.get_config() == optimizer.get_config()
    assert weights_after(again, 3) == pytest.approx(weights_after(optimizer, 3))


@pytest.mark.parametrize(
    ("rate", "error", "message"),
    [
        (0, ValueError, "encoder_learning_rate=0 must be finite and above 0"),
        (float("nan"), ValueError, "encoder_learning_rate=nan must be finite"),
        ("slow", TypeError, "encoder_learning_rate='slow' is a str: give a number"),
    ],
)
def test_what_is_no_rate_is_named(rate, error, message):
    with pytest.raises(error, match=message):
        td.optimizers.FineTuningAdam(0.1, rate)


def test_an_optimizer_without_an_encoder_is_refused():
    with pytest.raises(ValueError, match="none of the 1 variables is of an encoder"):
        td.optimizers.FineTuningAdam().build([tf.Variable(1.0)])


@pytest.mark.parametrize("fine_tune", KINDS)
def test_a_fit_moves_the_encoder_at_its_own_rate(tiny_encoder, fine_tune):
    texts = tf_keras.Input([], dtype=tf.string)
    text = tower(tiny_encoder, fine_tune, dim=3)
    model = tf_keras.Model(texts, text(texts))
    before = [one.numpy() for one in text.trainable_weights]
    model.compile(td.optimizers.FineTuningAdam(0.1, 0.001), "mse")
    model.fit(tf.constant(WORDS), tf.ones([len(WORDS), 3]), epochs=1, verbose=0)
    steps = {
        tuple(one.shape): np.abs(one.numpy() - was).max()
        for one, was in zip(text.trainable_weights, before, strict=True)
    }
    assert steps.pop((16, 3)) == pytest.approx(0.1, rel=0.01)
    assert max(steps.values()) == pytest.approx(0.001, rel=0.01)
