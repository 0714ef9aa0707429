"""The softmax over the whole catalogue, and the weights of targets."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_recommenders as tfrs
import tf_keras

from tfrs_decay.data import Items, basket_queries, batches
from tfrs_decay.decay import Exponential
from tfrs_decay.layers import (
    ItemTower,
    Repeats,
    StreamingProbability,
    TextTower,
    TimeDecayPooling,
)
from tfrs_decay.losses import full_softmax
from tfrs_decay.models import DecayRetrieval
from tfrs_decay.optimizers import IdDecayAdam

DAY = 86_400
NOW = 1_700_000_000
ITEMS = Items(["a", "b", "c", "d", "e"])


def make(loss="full", items=ITEMS, **options):
    tf_keras.utils.set_random_seed(7)
    return DecayRetrieval(
        ItemTower(items, dim=3),
        TimeDecayPooling(Exponential("1d")),
        temperature=0.5,
        loss=loss,
        **options,
    )


def features(targets, **others):
    """Query 0 had a two days and b one day ago, query 1 had c just now."""
    return {
        "history_item": tf.constant([["a", "b"], ["c", "unheard of"]]),
        "history_time": tf.constant(
            [[NOW - 2 * DAY, NOW - DAY], [NOW - 5, NOW - 5]], tf.int64
        ),
        "history_length": tf.constant([2, 2], tf.int64),
        "query_time": tf.constant([NOW, NOW], tf.int64),
        "target_item": tf.constant(targets),
        **{name: tf.constant(value) for name, value in others.items()},
    }


def losses(model, batch, targets, negatives=range(5), term=None):
    """The cross-entropies written out: `targets` are (query, item) pairs."""
    term = np.zeros([2, 5]) if term is None else np.array(term)
    score = model(batch).numpy() @ model.item_tower.catalogue_vectors().T + term
    found = []
    for query, item in targets:
        basket = {other for row, other in targets if row == query}
        beside = [item, *(one for one in negatives if one not in basket)]
        odds = np.exp(score[query, beside] / model.temperature)
        found.append(-np.log(odds[0] / odds.sum()))
    return np.array(found)


BASKETS = features([["d", "a", ""], ["a", "unheard of", "b"]], target_length=[2, 2])
PAIRS = [(0, 3), (0, 0), (1, 0)]


def test_all_items_but_the_basket_are_negatives():
    model = make()
    expected = losses(model, BASKETS, PAIRS).mean()
    np.testing.assert_allclose(model.compute_loss(BASKETS), expected, rtol=1e-5)
    # The row of one target a query is the plain softmax.
    single = features(["d", "e"])
    score = model(single).numpy() @ model.item_tower.catalogue_vectors().T / 0.5
    plain = tf.nn.sparse_softmax_cross_entropy_with_logits([3, 4], score)
    np.testing.assert_allclose(model.compute_loss(single), np.mean(plain), rtol=1e-5)


@pytest.mark.parametrize("repeats", ["off", "on", "never"])
def test_a_batch_that_holds_every_item_once_is_the_catalogue(repeats):
    # Then a batch's own targets are all the negatives that there are. Query 0 had a and
    # b, which with "never" are neither its targets nor its negatives.
    batch = features(["d", "e"])
    rows = [0, 1, 0, 1, 0]
    batch = {name: tf.gather(value, rows) for name, value in batch.items()}
    batch["target_item"] = tf.constant(["a", "b", "c", "d", "e"])
    batch["target_length"] = tf.ones([5], tf.int64)
    if repeats == "never":
        batch["target_item"] = tf.constant(["c", "a", "d", "b", "e"])
    sampled, full = (make(loss, repeats=repeats) for loss in ("sampled", "full"))
    np.testing.assert_allclose(
        full.compute_loss(batch), sampled.compute_loss(batch), rtol=1e-5
    )
    of_both = []
    for model in (sampled, full):
        with tf.GradientTape() as tape:
            loss = model.compute_loss(batch, training=True)
        table = model.item_tower.trainable_weights[0]
        of_both.append(tf.convert_to_tensor(tape.gradient(loss, table)))
    np.testing.assert_allclose(of_both[0], of_both[1], atol=1e-6)
    assert np.abs(of_both[0]).max() > 0.01


def test_what_is_had_again_has_its_term():
    model = make(repeats=Repeats(5, Exponential("1d"), repeats="on"))
    just_now = np.log1p(0.5 ** (5 / DAY))
    term = [[np.log(1.25), np.log(1.5), 0, 0, 0], [0, 0, just_now, 0, 0]]
    expected = losses(model, BASKETS, PAIRS, term=term).mean()
    np.testing.assert_allclose(model.compute_loss(BASKETS), expected, rtol=1e-5)
    assert abs(expected - losses(model, BASKETS, PAIRS).mean()) > 0.1


def test_what_never_comes_back_is_no_target_and_no_negative_of_the_catalogue():
    model = make(repeats="never")
    # a is left out of query 0, which had it; b is no negative there.
    batch = features(["a", "d"])
    expected = losses(model, batch, [(1, 3)], negatives=[0, 1, 4]).mean()
    np.testing.assert_allclose(model.compute_loss(batch), expected, rtol=1e-5)
    assert model.compute_loss(features(["a", "c"])).numpy() == 0


def test_items_that_are_not_trained_on_are_nobodys_negatives():
    model = make()
    model.item_tower.set_seen([True, True, True, True, False])
    single = features(["d", "b"])
    expected = losses(model, single, [(0, 3), (1, 1)], negatives=range(4)).mean()
    np.testing.assert_allclose(model.compute_loss(single), expected, rtol=1e-5)
    with tf.GradientTape() as tape:
        loss = model.compute_loss(single, training=True)
    gradient = tf.convert_to_tensor(
        tape.gradient(loss, model.item_tower.trainable_weights[0])
    )
    assert not gradient.numpy()[4].any() and gradient.numpy()[:4].all()


def test_targets_of_the_same_basket_have_no_gradient_as_negatives():
    logits = tf.Variable(np.random.default_rng(1).normal(size=[2, 5]), dtype=tf.float32)
    everything = tf.ones([5], tf.bool)
    first = tf.constant([0]), tf.constant([3], tf.int64)
    both = tf.constant([0, 0]), tf.constant([3, 0], tf.int64)
    with tf.GradientTape(persistent=True) as tape:
        alone = full_softmax(logits, *first, everything)
        beside = full_softmax(logits, *both, everything)[0]
    assert tape.gradient(alone, logits).numpy()[0].all()
    gradient = tape.gradient(beside, logits).numpy()
    assert gradient[0, 0] == 0 and gradient[0, [1, 2, 3, 4]].all()
    assert not gradient[1].any()
    # Where nothing is left beside it, there is nothing to learn.
    with tf.GradientTape() as tape:
        loss = full_softmax(logits, *first, tf.zeros([5], tf.bool))
    assert loss.numpy().tolist() == [0]
    assert not tape.gradient(loss, logits).numpy().any()


@pytest.mark.parametrize("loss", ["sampled", "full"])
def test_weights_multiply_the_losses_of_their_targets(loss):
    model = make(loss)
    single = features(["d", "e"])
    each = [
        2 * model.compute_loss({**single, "target_weight": tf.constant(one)}).numpy()
        for one in ([1.0, 0.0], [0.0, 1.0])
    ]
    assert sum(each) / 2 == pytest.approx(float(model.compute_loss(single)), rel=1e-5)
    weighed = model.compute_loss({**single, "target_weight": tf.constant([1.7, 0.3])})
    expected = (1.7 * each[0] + 0.3 * each[1]) / 2
    np.testing.assert_allclose(weighed, expected, rtol=1e-5)
    # A target that is left out takes its weight with it, and so does padding.
    basket = {**BASKETS, "target_weight": tf.constant([[2.0, 0.5, 9.0], [1.0, 9, 9]])}
    if loss == "full":
        expected = (losses(model, BASKETS, PAIRS) * [2, 0.5, 1]).mean()
        np.testing.assert_allclose(model.compute_loss(basket), expected, rtol=1e-5)
    ones = {**BASKETS, "target_weight": tf.ones([2, 3])}
    np.testing.assert_allclose(model.compute_loss(ones), model.compute_loss(BASKETS))


@pytest.mark.parametrize(
    ("weight", "kind", "message"),
    [
        ([1, 1], ValueError, r"target_weight is int32 .*give floating numbers \[batch"),
        ([1.0], tf.errors.InvalidArgumentError, "target_weight is not of the shape"),
        ([1.0, -1.0], tf.errors.InvalidArgumentError, "must be finite and 0 or more"),
        ([1.0, np.nan], tf.errors.InvalidArgumentError, "must be finite and 0 or"),
    ],
)
def test_weights_that_do_not_fit_are_named(weight, kind, message):
    with pytest.raises(kind, match=message):
        make().compute_loss(features(["d", "e"], target_weight=weight))


def fitted(events, model, **options):
    queries = basket_queries(events, actions=["purchase"])
    data = batches(queries, events, batch_size=64, shuffle_seed=3)
    model.compile(tf_keras.optimizers.Adam(0.02))
    return model.fit(data, verbose=0, **options).history["loss"]


def test_it_trains_saves_and_grows(shop_events, tmp_path, tiny_encoder):
    text = TextTower(tiny_encoder.preprocessor, tiny_encoder.encoder, dim=3)
    model = DecayRetrieval(
        ItemTower(shop_events.items, text=text, dim=3).bake(),
        TimeDecayPooling(Exponential("3d", trainable=True)),
        loss="full",
    )
    assert model.get_config()["loss"] == "full"
    start = text.trainable_weights[0].numpy()
    history = fitted(shop_events, model, epochs=3)
    assert history[-1] < history[0] - 0.1
    assert (text.trainable_weights[0].numpy() != start).any()
    model.save(tmp_path / "model.keras")
    again = tf_keras.models.load_model(tmp_path / "model.keras")
    assert again.retrieval_loss == "full"
    batch = next(iter(batches(basket_queries(shop_events), shop_events)))
    loss = model.compute_loss(batch).numpy()
    np.testing.assert_allclose(again.compute_loss(batch), loss, rtol=1e-5)
    # A new item is nobody's negative before it is trained on.
    more = again.with_items(["new"], ["a red lantern"])
    assert more.retrieval_loss == "full"
    np.testing.assert_allclose(more.compute_loss(batch), loss, rtol=1e-5)
    assert "loss" not in make("sampled").get_config()


def test_half_precision_stays_finite(shop_events):
    tf_keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        model = make(items=shop_events.items, repeats="learned")
        assert model.item_tower.compute_dtype == "float16"
        history = fitted(shop_events, model, epochs=2)
    finally:
        tf_keras.mixed_precision.set_global_policy("float32")
    assert np.isfinite(history).all() and history[1] < history[0]
    for weight in model.get_weights():
        assert np.isfinite(weight).all()


def test_it_trains_under_a_distribution_strategy(shop_events):
    with tf.distribute.MirroredStrategy(["CPU:0"]).scope():
        model = make(items=shop_events.items)
        model.compile(IdDecayAdam(0.02, weight_decay=0.01))
    data = batches(basket_queries(shop_events), shop_events, batch_size=64)
    losses = model.fit(data, epochs=2, verbose=0).history["loss"]
    assert losses[1] < losses[0]


def test_factorized_metrics_are_updated(shop_events):
    ranks = {}
    for loss in ("sampled", "full"):
        model = make(loss, items=shop_events.items)
        ids = tf.data.Dataset.from_tensor_slices(shop_events.items.ids.tolist())
        model.task.factorized_metrics = [
            tfrs.metrics.FactorizedTopK(ids.batch(128).map(model.item_tower))
        ]
        data = batches(basket_queries(shop_events), shop_events, max_history=5)
        model.compile(tf_keras.optimizers.Adam(0.01))
        ranks[loss] = model.evaluate(data.take(2), verbose=0, return_dict=True)
    name = "factorized_top_k/top_10_categorical_accuracy"
    assert ranks["full"][name] == ranks["sampled"][name] > 0


def test_ones_own_loss_is_still_what_is_trained():
    class Halved(DecayRetrieval):
        def compute_loss(self, features, training=False):
            return 0.5 * super().compute_loss(features, training=training)

    tf_keras.utils.set_random_seed(7)
    halved = Halved(
        ItemTower(ITEMS, dim=3),
        TimeDecayPooling(Exponential("1d")),
        temperature=0.5,
        loss="full",
    )
    halved.compile(tf_keras.optimizers.SGD(0.0))
    data = tf.data.Dataset.from_tensors(BASKETS)
    (loss,) = halved.fit(data, verbose=0).history["loss"]
    expected = losses(make(), BASKETS, PAIRS).mean() / 2
    assert loss == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss": "half"}, r"loss='half' is not one of \('sampled', 'full'\)"),
        (
            {"sampling_probability": [0.2] * 5},
            r"corrects loss='sampled', and loss='ful",
        ),
        ({"sampling_probability": StreamingProbability()}, r"takes every item: leave"),
    ],
)
def test_a_loss_that_does_not_fit_is_named(options, message):
    with pytest.raises(ValueError, match=message):
        make(**options)
    with pytest.raises(ValueError, match=r"sampling_probability corrects loss='samp"):
        make().set_sampling_probability([0.2] * 5)


def test_texts_that_would_be_encoded_at_each_step_are_refused(tiny_encoder):
    paths = tiny_encoder.preprocessor, tiny_encoder.encoder
    pooling = TimeDecayPooling(Exponential("1d"))
    tuned = ItemTower(ITEMS, text=TextTower(*paths, dim=3, fine_tune=True), dim=3)
    with pytest.raises(ValueError, match=r"all 5 texts at each step, for the encoder"):
        DecayRetrieval(tuned, pooling, loss="full")
    frozen = ItemTower(ITEMS, text=TextTower(*paths, dim=3), dim=3)
    model = DecayRetrieval(frozen, pooling, loss="full")
    with pytest.raises(ValueError, match=r"encode all 5 texts at each step: bake the"):
        model.compute_loss(BASKETS)
    frozen.bake()
    assert np.isfinite(model.compute_loss(BASKETS))


# Query 0 skipped e, c and what is in no catalogue; query 1 nothing.
BESIDE = {
    "negative_item": [["e", "unheard of", "c", "b"], ["c", "", "", ""]],
    "negative_length": [3, 0],
}


def skipping(model, batch, term=None, skipped=(4, 2)):
    """The losses of `PAIRS` of query 0, beside what it skipped."""
    term = np.zeros([2, 5]) if term is None else np.array(term)
    score = model(batch).numpy() @ model.item_tower.catalogue_vectors().T + term
    odds = np.exp(score[0] / model.temperature)
    return [
        -np.log(odds[item] / (odds[item] + odds[[*skipped]].sum()))
        for query, item in PAIRS
        if query == 0
    ]


@pytest.mark.parametrize("loss", ["full", "sampled"])
def test_targets_compete_with_what_was_skipped_where_there_is_any(loss):
    model = make(loss)
    batch = {**BASKETS, **{name: tf.constant(one) for name, one in BESIDE.items()}}
    # Of query 1 the loss is as it would be anyway, and one at a time tells what it is.
    both = 3 * float(model.compute_loss(BASKETS))
    first = {name: column[:1] for name, column in BASKETS.items()}
    if loss == "full":
        plain = both - 2 * float(model.compute_loss(first))
    else:  # Its negatives are the other query's targets.
        score = model(batch).numpy()[1] @ model.item_tower.catalogue_vectors().T
        odds = np.exp(score / model.temperature)
        plain = -np.log(odds[0] / odds[[0, 3]].sum())
    expected = np.mean([*skipping(model, batch), plain])
    np.testing.assert_allclose(model.compute_loss(batch), expected, rtol=1e-5)


@pytest.mark.parametrize("loss", ["full", "sampled"])
def test_what_is_had_again_counts_beside_what_was_skipped(loss):
    model = make(loss, repeats="on")
    batch = {**BASKETS, **{name: tf.constant(one) for name, one in BESIDE.items()}}
    with tf.GradientTape() as tape:
        first = {name: column[:1] for name, column in batch.items()}
        found = model.compute_loss(first)
    term = model.repeat_scores(batch).numpy()
    assert term[0, 0] > 0
    np.testing.assert_allclose(found, np.mean(skipping(model, batch, term)), rtol=1e-5)
    assert all(
        np.isfinite(tf.convert_to_tensor(one)).all()
        for one in tape.gradient(found, model.trainable_variables)
    )


@pytest.mark.parametrize("loss", ["full", "sampled"])
def test_what_never_comes_back_was_not_skipped(loss):
    model = make(loss, repeats="never")
    batch = features(
        [["d"], ["a"]],
        negative_item=[["e", "a", "c"], ["", "", ""]],
        negative_length=[3, 0],
    )
    one = {name: column[:1] for name, column in batch.items()}
    expected = skipping(model, batch)[:1]  # a is in the history
    np.testing.assert_allclose(model.compute_loss(one), np.mean(expected), rtol=1e-5)


@pytest.mark.parametrize("loss", ["full", "sampled"])
def test_a_batch_that_skipped_nothing_is_as_ever(loss):
    model = make(loss)
    nothing = {
        "negative_item": tf.zeros([2, 0], tf.string),
        "negative_length": tf.zeros([2], tf.int64),
    }
    with tf.GradientTape(persistent=True) as tape:
        plain = model.compute_loss(BASKETS)
        found = model.compute_loss({**BASKETS, **nothing})
    np.testing.assert_allclose(found, plain, rtol=1e-6)
    for one, other in zip(
        tape.gradient(found, model.trainable_variables),
        tape.gradient(plain, model.trainable_variables),
        strict=True,
    ):
        one, other = (
            np.zeros(1) if each is None else tf.convert_to_tensor(each)
            for each in (one, other)
        )
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_what_was_skipped_is_told_with_its_lengths():
    model = make()
    with pytest.raises(ValueError, match=r"negative_item and lack negative_length"):
        model.compute_loss({**BASKETS, "negative_item": tf.constant([["a"], ["b"]])})
    with pytest.raises(ValueError, match=r"negative_item is int32 .*\[batch, neg"):
        model.compute_loss(
            {
                **BASKETS,
                "negative_item": tf.constant([[1], [2]]),
                "negative_length": tf.constant([1, 1]),
            }
        )
    with pytest.raises(ValueError, match=r"target_from_list is int32 .* give booleans"):
        model.compute_loss({**BASKETS, "target_from_list": tf.constant([[1], [2]])})
    with pytest.raises(
        tf.errors.InvalidArgumentError, match=r"above the width of negative_item"
    ):
        model.compute_loss(
            {
                **BASKETS,
                "negative_item": tf.constant([["a"], ["b"]]),
                "negative_length": tf.constant([1, 2]),
            }
        )


@pytest.mark.parametrize("loss", ["full", "sampled"])
def test_of_a_basket_those_compete_with_what_was_skipped_that_came_of_its_list(loss):
    model = make(loss)
    told = {name: tf.constant(one) for name, one in BESIDE.items()}
    told["target_from_list"] = tf.constant([[True, False, False], [True] * 3])
    first = {name: one[:1] for name, one in {**BASKETS, **told}.items()}
    of_list, _ = skipping(model, first)
    score = model(first).numpy()[0] @ model.item_tower.catalogue_vectors().T
    # The other target's negatives are all but the basket, or no other query's targets.
    others = [0, 1, 2, 4] if loss == "full" else [0]
    odds = np.exp(score[others] / model.temperature)
    expected = np.mean([of_list, -np.log(odds[0] / odds.sum())])
    np.testing.assert_allclose(model.compute_loss(first), expected, rtol=1e-5)


@pytest.mark.parametrize("loss", ["full", "sampled"])
def test_a_list_may_be_given_with_what_was_taken_of_it(loss):
    model = make(loss)
    told = {name: tf.constant(one) for name, one in BESIDE.items()}
    whole = {
        "negative_item": tf.constant([["d", "e", "a", "c"], [""] * 4]),
        "negative_length": tf.constant([4, 0]),
    }
    np.testing.assert_allclose(
        model.compute_loss({**BASKETS, **whole}),
        model.compute_loss({**BASKETS, **told}),
        rtol=1e-6,
    )


@pytest.mark.parametrize("loss", ["full", "sampled"])
def test_skipped_items_train_in_half_precision(loss):
    tf_keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        model = make(loss)
    finally:
        tf_keras.mixed_precision.set_global_policy("float32")
    told = {name: tf.constant(one) for name, one in BESIDE.items()}
    found = float(model.compute_loss({**BASKETS, **told}))
    expected = float(make(loss).compute_loss({**BASKETS, **told}))
    assert found == pytest.approx(expected, rel=0.05)
