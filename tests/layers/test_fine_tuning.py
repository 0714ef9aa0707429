"""Fine-tuning: what is trained, what a step changes, what is saved."""

from __future__ import annotations

import contextlib

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


@pytest.fixture(scope="module")
def towers(tiny_encoder):
    """A tower of each kind, for tests that leave it as it is: they share it."""
    made = {}

    def of(fine_tune):
        if str(fine_tune) not in made:
            made[str(fine_tune)] = tower(tiny_encoder, fine_tune)
        return made[str(fine_tune)]

    return of


@pytest.fixture(scope="module")
def plain(tiny_encoder):
    """The preprocessor and the encoder by TF-Hub alone, left as they are."""
    return (
        hub.KerasLayer(str(tiny_encoder.preprocessor)),
        hub.KerasLayer(str(tiny_encoder.encoder), trainable=True),
    )


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


def plain_gradients(text, plain):
    """By TF-Hub alone, over every text of the batch, repeated ones again."""
    preprocess, layer = plain
    inputs = preprocess(tf.constant(WORDS))
    by_name = {one.name: one for one in layer.variables}
    with tf.GradientTape() as tape:
        loss = loss_of(layer(inputs, training=True)["pooled_output"])
    wanted = [by_name[one.name] for one in text.trainable_weights]
    return [tf.convert_to_tensor(one) for one in tape.gradient(loss, wanted)]


@pytest.mark.parametrize("fine_tune", [True, LastLayers(1), LastLayers(2)])
@pytest.mark.parametrize("graph", [False, True])
def test_gradients_are_those_of_the_plain_computation(towers, plain, fine_tune, graph):
    text = towers(fine_tune)

    def gradients():
        with tf.GradientTape() as tape:
            loss = loss_of(text(tf.constant(WORDS), training=True))
        found = tape.gradient(loss, text.trainable_weights)
        return [tf.convert_to_tensor(one) for one in found]

    got = tf.function(gradients)() if graph else gradients()
    expected = plain_gradients(text, plain)
    assert len(got) == len(expected) > 10
    for one, other in zip(got, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


def test_an_adapters_gradients_follow_from_the_matrices(tiny_encoder, plain):
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
    inputs = plain[0](tf.constant(WORDS))
    with tf.GradientTape() as tape:
        changed = loss_of(whole(inputs, training=True)["pooled_output"])
    np.testing.assert_allclose(loss, changed, rtol=1e-4)
    for one, gradient in zip(matrices, tape.gradient(changed, matrices), strict=True):
        down, up = (adapters[f"{one.name[:-2]}/{side}:0"] for side in ("down", "up"))
        for side, expected in (
            ("down", 3 * tf.matmul(gradient, up, transpose_b=True)),
            ("up", 3 * tf.matmul(down, gradient, transpose_a=True)),
        ):
            found = got[f"{one.name[:-2]}/{side}:0"]
            np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)


def test_an_adapter_starts_as_the_encoder_that_was_loaded(tiny_encoder, towers):
    frozen, adapted = towers(False), tower(tiny_encoder, LowRank(2))
    texts = tf.constant(WORDS)
    np.testing.assert_allclose(adapted(texts), frozen(texts), atol=1e-6)
    assert np.abs(moved(adapted)(texts) - frozen(texts)).max() > 0.01


def test_what_is_trained(tiny_encoder, towers):
    assert names(towers(True)) == {"embeddings", "block_0", "block_1"}
    assert names(towers(LastLayers(1))) == {"block_1"}
    assert names(towers(LastLayers(2))) == {"block_0", "block_1"}
    adapted = tower(tiny_encoder, LowRank(3), dim=4)
    shapes = [tuple(one.shape) for one in adapted.trainable_weights]
    # qkv, attended, widen, narrow; twice, and then the projection.
    layer = [(16, 3), (3, 48), (16, 3), (3, 16), (16, 3), (3, 32), (32, 3), (3, 16)]
    assert sorted(shapes) == sorted([*layer, *layer, (16, 4)])
    encoder = len(towers(True).trainable_weights)
    assert len(adapted.non_trainable_weights) == encoder


@pytest.mark.parametrize("fine_tune", KINDS)
def test_saves_and_loads(tiny_encoder, tmp_path, fine_tune):
    def model():
        texts = tf_keras.Input([], dtype=tf.string)
        text = tower(tiny_encoder, fine_tune, dim=3)
        return tf_keras.Model(texts, text(texts)), text

    trained, text = model()
    moved(text)
    before = trained(tf.constant(WORDS)).numpy()
    for folder in ("model.keras", "model", "model.weights.h5"):
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


def test_an_encoder_is_not_made_from_a_config():
    assert tf_keras.saving.get_registered_object("tfrs_decay>TextTower") is TextTower
    assert tf_keras.saving.get_registered_object("tfrs_decay>EncoderLayer") is None


def test_a_file_holds_what_was_trained(towers, tmp_path):
    texts = tf_keras.Input([], dtype=tf.string)
    sizes = []
    for number, fine_tune in enumerate([True, LastLayers(1), LowRank(1)]):
        path = tmp_path / f"{number}.weights.h5"
        model = tf_keras.Model(texts, towers(fine_tune)(texts))
        model.save_weights(path)
        sizes.append(path.stat().st_size)
    assert sizes[0] > sizes[1] > sizes[2]
    # That of an adapter, into a tower that trains a layer.
    other = tf_keras.Model(texts, towers(LastLayers(1))(texts))
    with pytest.raises(ValueError, match=r"holds 16 weights of 'encoder', and fine_"):
        other.load_weights(path)


@pytest.mark.parametrize("fine_tune", [False, *KINDS])
def test_config_round_trip(towers, fine_tune):
    text = towers(fine_tune)
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


@pytest.mark.integration  # slow
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


def test_last_layers_that_nothing_is_read_from_are_refused(tiny_encoder):
    with pytest.raises(
        ValueError, match=r"trains layers from 1 on, and layer=-2 reads one below"
    ):
        tower(tiny_encoder, LastLayers(1), pooling="mean", layer=-2)
    read = tower(tiny_encoder, LastLayers(1), pooling="mean", layer=-1)
    with tf.GradientTape() as tape:
        loss = loss_of(read(tf.constant(WORDS), training=True))
    assert None not in tape.gradient(loss, read.trainable_weights)


@pytest.mark.parametrize(
    ("layers", "numbered", "outputs", "layer", "message"),
    [
        (1, 12, 12, 10, r"from 11 on, and layer=10 reads one below"),
        (2, 12, 12, -3, r"from 10 on, and layer=-3 reads one below"),
        (2, 12, 12, -2, None),
        (2, 12, 12, None, None),
        (1, 1, 12, None, r"outputs of 12 layers, and has weights for 1: .* ALBERT"),
    ],
)
def test_last_layers_that_are_not_the_last(layers, numbered, outputs, layer, message):
    expected = (
        contextlib.nullcontext()
        if message is None
        else pytest.raises(fine_tuning.CannotFineTune, match=message)
    )
    with expected:
        fine_tuning.check_outputs(LastLayers(layers), numbered, outputs, layer)


class Shared(tf.train.Checkpoint):
    """One layer twice, as ALBERT."""

    def __init__(self):
        super().__init__()
        self.kernel = tf.Variable([[2.0]], name="layer_0/kernel")
        self.variables = self.trainable_variables = [self.kernel]

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def __call__(self, texts):
        first = tf.cast(tf.strings.length(texts), tf.float32)[:, None] @ self.kernel
        second = first @ self.kernel
        return {"pooled_output": second, "encoder_outputs": [first, second]}


def test_a_layer_that_is_applied_again_is_not_the_last(tmp_path):
    tf.saved_model.save(Shared(), str(tmp_path / "shared"))
    with pytest.raises(ValueError, match=r"LastLayers\(layers=1\): .*weights for 1: "):
        TextTower(None, tmp_path / "shared", fine_tune=LastLayers(1))
    text = TextTower(None, tmp_path / "shared", fine_tune=LowRank(1))
    # 3 letters, times 2 + 16 x 0.25 x 0.25 twice.
    for one in text.trainable_weights:
        one.assign([[0.25]])
    np.testing.assert_allclose(text(tf.constant(["abc"])), [[3 * 3.0**2]])


class Lengths(tf.Module):
    """Strings to vectors without a matrix."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def __call__(self, texts):
        return tf.cast(tf.strings.length(texts), tf.float32)[:, None]


def test_nothing_to_adapt_is_named(tmp_path):
    tf.saved_model.save(Lengths(), str(tmp_path / "lengths"))
    with pytest.raises(ValueError, match=r"LowRank\(...\): the encoder multiplies by"):
        TextTower(None, tmp_path / "lengths", fine_tune=LowRank())
    for fine_tune in (True, LastLayers(1)):
        with pytest.raises(fine_tuning.CannotFineTune, match="says of no variable"):
            TextTower(None, tmp_path / "lengths", fine_tune=fine_tune)


class Within(tf.train.Checkpoint):
    """A matrix that is multiplied by in a loop only, and one outside of it."""

    def __init__(self):
        super().__init__()
        self.outside = tf.Variable(tf.eye(2), name="layer_0/kernel")
        self.inside = tf.Variable(tf.eye(2), name="layer_1/kernel")
        self.variables = self.trainable_variables = [self.outside, self.inside]

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def __call__(self, texts):
        length = tf.cast(tf.strings.length(texts), tf.float32)[:, None]
        rows = tf.concat([length, length], axis=1) @ self.outside
        for _ in tf.range(2):
            if length[0, 0] > 0:
                rows = rows @ self.inside
        return rows


def test_a_matrix_within_a_loop_is_named(tmp_path):
    tf.saved_model.save(Within(), str(tmp_path / "within"))
    with pytest.raises(
        fine_tuning.CannotFineTune, match=r"by 'layer_1/kernel:0' within a loop or"
    ):
        TextTower(None, tmp_path / "within", fine_tune=LowRank())
    half = TextTower(None, tmp_path / "within", dtype="mixed_bfloat16")
    np.testing.assert_array_equal(half(tf.constant(["abcd"])), [[4.0, 4.0]])


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("transformer/layer_11/self_attention/query/kernel:0", 11),
        ("bert/encoder/layer/3/output/dense/kernel:0", 3),
        ("block_0/qkv:0", 0),
        ("encoder.block.7.weight:0", 7),
        ("keras_layer_1/transformer/layer_11/query/kernel:0", 11),
        ("keras_layer_1/embeddings/block_2/layer_0/kernel:0", 0),
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


class Moving(tf.train.Checkpoint):
    """A layer with a running average, and dropout, as they are in training."""

    def __init__(self):
        super().__init__()
        self.kernel = tf.Variable(tf.ones([1, 64]), name="layer_0/kernel")
        self.average = tf.Variable(tf.zeros([64]), trainable=False, name="average")
        self.trainable_variables = [self.kernel]
        self.variables = [self.kernel, self.average]

    @tf.function
    def __call__(self, texts, training=False):
        rows = tf.cast(tf.strings.length(texts), tf.float32)[:, None] @ self.kernel
        if training:
            self.average.assign(0.5 * self.average + 0.5 * tf.reduce_mean(rows, 0))
            rows = tf.nn.dropout(rows, 0.5)
        return rows - self.average


@pytest.fixture(scope="module")
def moving(tmp_path_factory):
    module = Moving()
    for training in (False, True):
        module.__call__.get_concrete_function(
            tf.TensorSpec([None], tf.string), training=training
        )
    folder = str(tmp_path_factory.mktemp("moving") / "module")
    tf.saved_model.save(module, folder)
    return folder


@pytest.mark.parametrize("fine_tune", KINDS)
def test_what_moves_in_training_is_saved(moving, tmp_path, fine_tune):
    texts = tf_keras.Input([], dtype=tf.string)

    def model():
        return tf_keras.Model(
            texts, TextTower(None, moving, fine_tune=fine_tune)(texts)
        )

    trained, asked = model(), tf.constant(["a", "bcd"])
    trained.compile("sgd", "mse")
    trained.fit(asked, tf.ones([2, 64]), epochs=3, verbose=0)
    assert model()(asked).numpy()[0, 0] - trained(asked).numpy()[0, 0] > 0.5
    for name in ("model.keras", "model", "model.weights.h5"):
        if name.endswith("h5"):
            trained.save_weights(tmp_path / name)
            again = model()
            again.load_weights(tmp_path / name)
        else:
            trained.save(tmp_path / name)
            again = tf_keras.models.load_model(tmp_path / name)
        np.testing.assert_allclose(again(asked), trained(asked), atol=1e-6)


@pytest.mark.parametrize(
    ("fine_tune", "policy"),
    [(True, "float32"), (True, "mixed_bfloat16"), (LowRank(2), "float32")],
)
def test_what_is_not_trainable_is_read_as_in_inference(moving, fine_tune, policy):
    text = TextTower(None, moving, fine_tune=fine_tune, dtype=policy)
    asked = tf.constant(["abc"])

    def dropped():
        return np.sum(tf.cast(text(asked, training=True), tf.float32) < 1.0)

    assert 0 < dropped() < 64
    text.trainable = False
    after = text(asked)
    assert dropped() in (0, 64)
    np.testing.assert_array_equal(text(asked, training=True), after)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16", "float64"])
@pytest.mark.parametrize("fine_tune", [True, LowRank(2)])
def test_under_a_global_policy(named, policy, fine_tune):
    asked = tf.constant(["a", "bb"])
    usual = TextTower(None, named, fine_tune=fine_tune)
    tf_keras.mixed_precision.set_global_policy(policy)
    try:
        text = TextTower(None, named, fine_tune=fine_tune)
        with tf.GradientTape() as tape:
            got = moved(text)(asked, training=True)
            loss = tf.reduce_sum(tf.cast(got, tf.float32))
        gradients = tape.gradient(loss, text.trainable_weights)
    finally:
        tf_keras.mixed_precision.set_global_policy("float32")
    assert got.dtype == policy.removeprefix("mixed_")
    for one, gradient in zip(text.trainable_weights, gradients, strict=True):
        assert one.dtype == tf.float32
        assert np.abs(tf.convert_to_tensor(gradient)).max() > 0
    usual(asked)
    usual.set_weights(text.get_weights())
    np.testing.assert_allclose(tf.cast(got, tf.float32), usual(asked), rtol=0.01)


# Under a strategy


@pytest.mark.integration  # slow
@pytest.mark.parametrize(
    ("fine_tune", "policy"),
    [
        (False, "float32"),
        (True, "float32"),
        (LastLayers(1), "mixed_bfloat16"),
        (LowRank(2), "float32"),
    ],
)
def test_a_step_under_a_strategy(tiny_encoder, fine_tune, policy):
    with tf.distribute.MirroredStrategy(["/cpu:0"]).scope():
        texts = tf_keras.Input([], dtype=tf.string)
        text = tower(tiny_encoder, fine_tune, dim=3, dtype=policy)
        model = tf_keras.Model(texts, text(texts))
        model.compile("sgd", "mse")
    if isinstance(fine_tune, LowRank):
        moved(text)  # or one half of an adapter stays as it is
    before = [one.numpy() for one in text.trainable_weights]
    frozen = [one.numpy() for one in text.non_trainable_weights]
    model.fit(tf.constant(WORDS), tf.ones([len(WORDS), 3]), verbose=0)
    for one, was in zip(text.trainable_weights, before, strict=True):
        assert np.abs(one.numpy() - was).max() > 0, one.name
    for one, was in zip(text.non_trainable_weights, frozen, strict=True):
        np.testing.assert_array_equal(one, was)


# Half precision


@pytest.mark.parametrize(
    ("policy", "error"), [("mixed_bfloat16", 0.02), ("mixed_float16", 0.002)]
)
@pytest.mark.parametrize("fine_tune", [False, True, LowRank(2)])
def test_products_in_half_precision(
    tiny_encoder, towers, plain, policy, error, fine_tune
):
    usual = towers(fine_tune)
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
        for one, other in zip(gradients, plain_gradients(half, plain), strict=True):
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


def test_precisions_are_told_apart(tiny_encoder, towers):
    half = TextTower(
        tiny_encoder.preprocessor, tiny_encoder.encoder, dtype="mixed_bfloat16"
    )
    assert half.fingerprint != towers(False).fingerprint


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


def test_a_part_of_the_variables_may_be_stepped():
    optimizer = td.optimizers.FineTuningAdam(0.1, 0.01)
    encoder, other = tf.Variable([1.0]), tf.Variable([1.0])
    fine_tuning.mark([encoder])
    optimizer.build([encoder, other])
    for one in (other, encoder):
        optimizer.apply_gradients([(tf.constant([1.0]), one)])
    assert 1 - float(other[0]) == pytest.approx(0.1, rel=1e-3)
    # Adam's second step, where the first had no gradient: (1 / 1.9) / sqrt(1 / 1.999).
    assert 1 - float(encoder[0]) == pytest.approx(0.01 * 0.744, rel=1e-2)


def test_a_rate_is_set_between_steps():
    optimizer = td.optimizers.FineTuningAdam(0.1, np.float32(0.01))
    encoder, other = tf.Variable([1.0]), tf.Variable([1.0])
    fine_tuning.mark([encoder])
    step = tf.function(
        lambda: optimizer.apply_gradients(
            [(tf.constant([1.0]), encoder), (tf.constant([1.0]), other)]
        )
    )
    optimizer.build([encoder, other])
    step()
    optimizer.encoder_learning_rate = 0.03
    step()
    np.testing.assert_allclose([encoder[0], other[0]], [0.96, 0.8], atol=1e-4)
    assert optimizer.get_config()["encoder_learning_rate"] == pytest.approx(0.03)
    with pytest.raises(ValueError, match="encoder_learning_rate=-1 must be finite"):
        optimizer.encoder_learning_rate = -1
    schedule = tf_keras.optimizers.schedules.PolynomialDecay(0.0, 4, 0.04)
    with pytest.raises(TypeError, match="only a number can be set, in place of a num"):
        optimizer.encoder_learning_rate = schedule
    with pytest.raises(TypeError, match=r"encoder_learning_rate=0\.1: only a number"):
        td.optimizers.FineTuningAdam(0.1, schedule).encoder_learning_rate = 0.1


def fitted(text, optimizer):
    """A model around a tower, after a step."""
    texts = tf_keras.Input([], dtype=tf.string)
    model = tf_keras.Model(texts, text(texts))
    model.compile(optimizer, "mse")
    fit(model)
    return model


def fit(model):
    model.fit(tf.constant(WORDS), tf.ones([len(WORDS), 3]), shuffle=False, verbose=0)


def steps_of(text, take):
    """By how much each weight moves at most: the encoder's by name, and the projection.

    The projection is the last one.
    """
    before = [one.numpy() for one in text.trainable_weights]
    take()
    steps = [
        np.abs(one.numpy() - was).max()
        for one, was in zip(text.trainable_weights, before, strict=True)
    ]
    names = [one.name for one in text.trainable_weights[:-1]]
    assert len(set(names)) == len(names)
    return dict(zip(names, steps[:-1], strict=True)), steps[-1]


@pytest.mark.parametrize("fine_tune", KINDS)
def test_a_fit_moves_the_encoder_at_its_own_rate(tiny_encoder, fine_tune):
    text = tower(tiny_encoder, fine_tune, dim=3)
    if isinstance(fine_tune, LowRank):
        moved(text)  # or one half of an adapter has no gradient
    optimizer = td.optimizers.FineTuningAdam(0.1, 0.001)
    steps, projection = steps_of(text, lambda: fitted(text, optimizer))
    assert projection == pytest.approx(0.1, rel=0.01)
    assert len(steps) > 10
    for name, step in steps.items():
        assert step == pytest.approx(0.001, rel=0.01), name


def test_a_loaded_model_goes_on_with_its_rates(named, tmp_path):
    schedule = tf_keras.optimizers.schedules.PolynomialDecay(0.0, 4, 0.04)
    text = TextTower(None, named, fine_tune=True, dim=3)
    model = fitted(text, td.optimizers.FineTuningAdam(0.1, schedule))
    fit(model)
    model.save(tmp_path / "model.keras")
    again = tf_keras.models.load_model(tmp_path / "model.keras")
    assert isinstance(again.optimizer, td.optimizers.FineTuningAdam)
    assert int(again.optimizer.iterations) == 2
    (loaded,) = (one for one in again.layers if isinstance(one, TextTower))
    steps, projection = steps_of(text, lambda: fit(model))
    again_steps, again_projection = steps_of(loaded, lambda: fit(again))
    assert again_steps == pytest.approx(steps, rel=1e-3)
    assert again_projection == pytest.approx(projection, rel=1e-3)
    # The third step of the warm-up, at half of the rate.
    assert 0.01 < steps["heads:0"] < 0.021


def test_a_loss_scale_goes_around_it(moving):
    text = TextTower(None, moving, fine_tune=LowRank(2), dim=3, dtype="mixed_float16")
    text.build()
    optimizer = tf_keras.mixed_precision.LossScaleOptimizer(
        td.optimizers.FineTuningAdam(0.1, 0.001), dynamic=False, initial_scale=8
    )
    steps, projection = steps_of(text, lambda: fitted(text, optimizer))
    assert projection == pytest.approx(0.1, rel=0.01)
    assert steps["layer_0/kernel/up:0"] == pytest.approx(0.001, rel=0.01)
    again = tf_keras.optimizers.deserialize(tf_keras.optimizers.serialize(optimizer))
    rate = again.inner_optimizer.encoder_learning_rate
    assert float(rate) == pytest.approx(0.001)
