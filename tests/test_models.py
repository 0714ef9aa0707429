"""DecayRetrieval: its loss by hand, its gradients, fitting, saving."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_recommenders as tfrs
import tf_keras

from tfrs_decay.data import Items, basket_queries, batches
from tfrs_decay.decay import Exponential
from tfrs_decay.layers import (
    ItemTower,
    PrecomputedTower,
    Repeats,
    StreamingProbability,
    TextTower,
    TimeDecayPooling,
)
from tfrs_decay.models import DecayRetrieval, sampling_probability

DAY = 86_400
NOW = 1_700_000_000
ITEMS = Items(["a", "b", "c", "d"])


def make(decay=None, items=ITEMS, **options):
    tf_keras.utils.set_random_seed(7)
    return DecayRetrieval(
        ItemTower(items, dim=3), TimeDecayPooling(decay or Exponential("1d")), **options
    )


def features(targets, lengths=None):
    batch = {
        "history_item": tf.constant([["a", "b"], ["c", ""]]),
        "history_time": tf.constant(
            [[NOW - 2 * DAY, NOW - DAY], [NOW - 5, 0]], tf.int64
        ),
        "history_length": tf.constant([2, 1], tf.int64),
        "query_time": tf.constant([NOW, NOW], tf.int64),
        "target_item": tf.constant(targets),
    }
    if lengths is not None:
        batch["target_length"] = tf.constant(lengths, tf.int64)
    return batch


def unit(vector):
    return vector / np.linalg.norm(vector)


def test_interest_is_the_decayed_mean_made_of_length_one():
    model = make()
    a, b, c, _ = model.item_tower.catalogue_vectors()
    got = model(features(["a", "b"])).numpy()
    np.testing.assert_allclose(got[0], unit((0.25 * a + 0.5 * b) / 0.75), rtol=1e-5)
    np.testing.assert_allclose(got[1], c, rtol=1e-5)


def test_categories_and_weights_reach_the_pooling():
    model = make(Exponential({"toys": "1d", "*": "2d"}, group="category"))
    a, b, c, _ = model.item_tower.catalogue_vectors()
    batch = features(["a", "b"])
    batch["history_category"] = tf.constant([["toys", "books"], ["toys", ""]])
    batch["history_weight"] = tf.constant([[1.0, 0.5], [1.0, 0.0]])
    got = model(batch).numpy()
    # Two days of a toy and one of a book, which was half read.
    np.testing.assert_allclose(
        got[0], unit(a / 4 + 0.5 * b / 2**0.5), rtol=1e-5, atol=1e-7
    )
    np.testing.assert_allclose(got[1], c, rtol=1e-5)
    with pytest.raises(
        ValueError, match=r"history_weight is int32.*give floating numbers"
    ):
        model({**batch, "history_weight": tf.constant([[1, 1], [1, 1]])})


def test_several_heads_are_one_query():
    model = make([Exponential("1d"), Exponential("2d")])
    a, b, *_ = model.item_tower.catalogue_vectors()
    got = model(features(["a", "b"])).numpy()
    root = 2**-0.5
    heads = (0.25 * a + 0.5 * b) / 0.75, (0.5 * a + root * b) / (0.5 + root)
    np.testing.assert_allclose(got[0], unit(sum(heads)), rtol=1e-5)
    with pytest.raises(ValueError, match="leave its combine at 'learned'"):
        DecayRetrieval(
            ItemTower(ITEMS, dim=3),
            TimeDecayPooling([Exponential("1d")], combine="stack"),
        )


def test_an_unknown_item_counts_as_padding():
    model = make()
    batch = features(["a", "b"])
    known = model(batch).numpy()
    batch["history_item"] = tf.constant([["a", "b"], ["c", "never heard of"]])
    batch["history_length"] = tf.constant([2, 2], tf.int64)
    batch["history_time"] = tf.constant(
        [[NOW - 2 * DAY, NOW - DAY], [NOW - 5, NOW - 1]], tf.int64
    )
    np.testing.assert_allclose(model(batch), known, rtol=1e-6)


def cross_entropy(model, batch, candidates, masked, probability=None, term=None):
    """The loss written out: rows are queries' targets, columns candidates.

    `term` is added to the score of each query and item.
    """
    term = np.zeros([2, 4]) if term is None else np.array(term)
    temperature = model.temperature
    interest = model(batch).numpy()
    vectors = model.item_tower.catalogue_vectors()
    losses = []
    for row, (query, _) in enumerate(candidates):
        logits = np.array(
            [
                (interest[query] @ vectors[item] + term[query, item]) / temperature
                for _, item in candidates
            ]
        )
        if probability is not None:
            logits -= np.log([probability[item] for _, item in candidates])
        kept = [
            column for column in range(len(candidates)) if (row, column) not in masked
        ]
        losses.append(np.log(np.exp(logits[kept] - logits[row]).sum()))
    return np.mean(losses)


def test_the_loss_of_one_target_a_query_by_hand():
    model = make()
    batch = features(["d", "b"])
    expected = cross_entropy(model, batch, [(0, 3), (1, 1)], masked=set())
    np.testing.assert_allclose(model.compute_loss(batch), expected, rtol=1e-5)


def test_the_loss_of_baskets_leaves_out_what_is_no_negative():
    # Query 0 bought d and a, query 1 bought a: in a row of query 0 its own basket is no
    # negative, and neither is another a in the row of an a.
    probability = [0.4, 0.3, 0.2, 0.1]
    model = make(sampling_probability=probability)
    batch = features([["d", "a", ""], ["a", "b", "c"]], lengths=[2, 1])
    candidates = [(0, 3), (0, 0), (1, 0)]
    masked = {(0, 1), (1, 0), (1, 2), (2, 1)}
    expected = cross_entropy(model, batch, candidates, masked, probability)
    np.testing.assert_allclose(model.compute_loss(batch), expected, rtol=1e-5)


def test_the_loss_sees_what_is_had_again_by_hand():
    # Query 0 had a two days and b one day ago, query 1 had c just now.
    probability = [0.4, 0.3, 0.2, 0.1]
    model = make(
        sampling_probability=probability,
        repeats=Repeats(4, Exponential("1d"), repeats="on"),
    )
    batch = features([["d", "a", ""], ["a", "b", "c"]], lengths=[2, 3])
    candidates = [(0, 3), (0, 0), (1, 0), (1, 1), (1, 2)]
    masked = {(0, 1), (1, 0), (1, 2), (2, 1)}
    masked |= {
        (row, column) for row in (2, 3, 4) for column in (2, 3, 4) if row != column
    }
    just_now = np.log1p(0.5 ** (5 / DAY))
    term = [[np.log(1.25), np.log(1.5), 0, 0], [0, 0, just_now, 0]]
    np.testing.assert_allclose(model.repeat_scores(batch), term, rtol=1e-5)
    expected = cross_entropy(model, batch, candidates, masked, probability, term)
    np.testing.assert_allclose(model.compute_loss(batch), expected, rtol=1e-5)
    without = cross_entropy(model, batch, candidates, masked, probability)
    assert abs(expected - without) > 0.1


def test_what_never_comes_back_is_no_target_and_no_negative():
    model = make(repeats="never", temperature=1)
    # Query 0 had a and b, query 1 had c: c is left of the one, b and d of the other.
    batch = features([["c", "a", ""], ["b", "d", "c"]], lengths=[2, 3])
    candidates = [(0, 2), (1, 1), (1, 3)]
    masked = {(0, 1), (1, 0), (1, 2), (2, 0), (2, 1)}
    expected = cross_entropy(model, batch, candidates, masked)
    np.testing.assert_allclose(model.compute_loss(batch), expected, rtol=1e-5)
    had = model.repeat_scores(batch).numpy() < 0
    assert had.tolist() == [[True, True, False, False], [False, False, True, False]]
    # Where all targets were had, nothing is left to learn from.
    assert model.compute_loss(features(["a", "c"])).numpy() == 0


@pytest.mark.parametrize("way", ["model.keras", "with_items"])
def test_what_is_had_again_is_learned_saved_and_grows(shop_events, tmp_path, way):
    decays = [Exponential("7d", trainable=True), Exponential(3, by="rank")]
    repeats = Repeats(len(shop_events.items), decays)
    model = make(Exponential("3d"), shop_events.items, repeats=repeats)
    start = {name: float(one) for name, one in model.repeats.learned().items()}
    losses = fitted(shop_events, model, epochs=3).history["loss"]
    assert losses[-1] < losses[0]
    learned = model.repeats.learned()
    assert list(learned) == list(start)
    assert {"had", "since last", "decay_0_log_half_life"} < set(learned)
    for name in learned:
        assert abs(float(learned[name]) - start[name]) > 1e-3
    batch = next(iter(batches(basket_queries(shop_events), shop_events)))
    if way == "with_items":
        again = model.with_items(["new", "other"])
        assert again.repeats.n_items == model.repeats.n_items + 2
        assert not again.repeat_scores(batch)[:, -2:].numpy().any()
    else:
        model.save(tmp_path / way)
        again = tf_keras.models.load_model(tmp_path / way)
    n = len(shop_events.items)
    np.testing.assert_allclose(
        again.repeat_scores(batch)[:, :n], model.repeat_scores(batch), rtol=1e-5
    )
    np.testing.assert_allclose(
        again.compute_loss(batch), model.compute_loss(batch), rtol=1e-5
    )


def test_without_repeats_a_model_is_as_it_was():
    model = make()
    assert model.repeats is None
    assert "repeats" not in model.get_config()
    kinds = [type(one).__name__ for one in model.layers]
    assert kinds == ["ItemTower", "TimeDecayPooling", "Retrieval"]
    assert "repeats" not in str([one.name for one in model.variables])
    with pytest.raises(ValueError, match=r"was made with repeats='off'"):
        model.repeat_scores(features(["a", "b"]))


@pytest.mark.parametrize(
    ("repeats", "kind", "message"),
    [
        ("maybe", ValueError, r"repeats='maybe' is not one of \('off', 'on'"),
        (True, TypeError, r"repeats is a bool: give a Repeats, or one of"),
        (Repeats(9), ValueError, r"repeats are of 9 items, and the catalogue has 4"),
    ],
)
def test_repeats_that_do_not_fit_are_named(repeats, kind, message):
    with pytest.raises(kind, match=message):
        make(repeats=repeats)


def test_metrics_that_do_not_know_of_repeats_are_refused(shop_events):
    model = make(items=shop_events.items, repeats="on")
    ids = tf.data.Dataset.from_tensor_slices(shop_events.items.ids.tolist())
    model.task.factorized_metrics = [
        tfrs.metrics.FactorizedTopK(ids.batch(128).map(model.item_tower))
    ]
    batch = next(iter(batches(basket_queries(shop_events), shop_events)))
    with pytest.raises(ValueError, match=r"a term for repeats='on': measure it by"):
        model.compute_loss(batch)


def test_a_masked_pair_has_no_gradient():
    # Both queries want a: neither is a negative of the other, so nothing is learned.
    model = make()
    batch = features(["a", "a"])
    with tf.GradientTape() as tape:
        loss = model.compute_loss(batch, training=True)
    gradients = tape.gradient(loss, model.trainable_variables)
    assert loss.numpy() == pytest.approx(0, abs=1e-6)
    for gradient in gradients:
        np.testing.assert_array_equal(tf.convert_to_tensor(gradient), 0.0)


def test_targets_outside_the_catalogue_are_left_out():
    model = make()
    lone = model.compute_loss(features(["b", "never heard of"])).numpy()
    assert lone == pytest.approx(0, abs=1e-6)
    none = model.compute_loss(features(["", "never heard of"])).numpy()
    assert none == 0


def fitted(events, model, **options):
    queries = basket_queries(events, actions=["purchase"])
    data = batches(queries, events, batch_size=64, shuffle_seed=3)
    model.compile(tf_keras.optimizers.Adam(0.02))
    return model.fit(data, verbose=0, **options)


def test_fit_learns_and_is_repeatable(shop_events):
    losses = []
    for _ in range(2):
        model = make(Exponential("3d", trainable=True), shop_events.items)
        losses.append(fitted(shop_events, model, epochs=4).history["loss"])
    assert losses[0][-1] < losses[0][0] - 1
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4)
    assert model.pooling.learned()["log_half_life"] != pytest.approx(np.log(3 * DAY))


def test_values_and_context_of_a_log_do_not_disturb_training(shop_events):
    kind = np.array(["toys", "books", ""], dtype=object)[shop_events.item % 3]
    further = dataclasses.replace(
        shop_events,
        value=np.linspace(-5, 5, len(shop_events)),
        context={"device": kind[::-1], "category": kind},
    )
    losses = []
    for events in (shop_events, further):
        model = make(Exponential("3d", trainable=True), shop_events.items)
        losses.append(fitted(events, model, epochs=2).history["loss"])
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4)
    # The column named category is the one that a decay by category reads.
    by_category = Exponential({"toys": "1d", "*": "30d"}, group="category")
    model = make(by_category, shop_events.items)
    losses.append(fitted(further, model, epochs=2).history["loss"])
    assert losses[2][1] < losses[2][0] and losses[2] != losses[0]


@pytest.fixture
def policy(request):
    tf_keras.mixed_precision.set_global_policy(request.param)
    yield request.param
    tf_keras.mixed_precision.set_global_policy("float32")


both_halves = pytest.mark.parametrize(
    "policy", ["mixed_float16", "mixed_bfloat16"], indirect=True
)


@both_halves
def test_mixed_precision_trains_to_a_finite_loss(shop_events, policy):
    # Histories of browsing alone weigh nothing: they are as empty ones.
    pooling = TimeDecayPooling(
        Exponential("3d", trainable=True),
        action_weights={"browse": 0.0, "purchase": 1.0},
    )
    model = DecayRetrieval(ItemTower(shop_events.items, dim=3), pooling)
    assert model.item_tower.compute_dtype == policy.removeprefix("mixed_")
    history = fitted(shop_events, model, epochs=2)
    assert np.isfinite(history.history["loss"]).all()
    for weight in model.get_weights():
        assert np.isfinite(weight).all()


@both_halves
def test_an_empty_history_is_zeros_in_half_precision_too(policy):
    model = make()
    batch = features(["a", "b"])
    batch["history_length"] = tf.constant([0, 1], tf.int64)
    interest = model(batch).numpy().astype(np.float32)
    np.testing.assert_array_equal(interest[0], 0)
    np.testing.assert_allclose(np.linalg.norm(interest[1]), 1, rtol=1e-2)


@pytest.mark.parametrize("folder", ["model.keras", "model"])
def test_saves_and_loads_with_equal_values(shop_events, tmp_path, folder, tiny_encoder):
    text = TextTower(tiny_encoder.preprocessor, tiny_encoder.encoder, dim=3)
    model = DecayRetrieval(
        ItemTower(shop_events.items, text=text, dim=3).bake(),
        TimeDecayPooling(
            Exponential("3d", trainable=True, per_feature=True),
            action_weights={"browse": 0.2, "purchase": 1.0},
        ),
        query_tower=tf_keras.layers.Dense(3),
        sampling_probability=np.full(len(shop_events.items), 0.01),
    )
    fitted(shop_events, model, epochs=1)
    queries = basket_queries(shop_events)
    batch = next(iter(batches(queries, shop_events)))
    before = model(batch).numpy(), model.compute_loss(batch).numpy()
    model.save(tmp_path / folder)
    again = tf_keras.models.load_model(tmp_path / folder)
    np.testing.assert_allclose(again(batch), before[0], atol=1e-6)
    np.testing.assert_allclose(again.compute_loss(batch), before[1], rtol=1e-5)


def test_weights_go_from_one_model_to_another(shop_events, tmp_path):
    model = make(Exponential("3d", trainable=True), shop_events.items)
    fitted(shop_events, model, epochs=1)
    model.save_weights(tmp_path / "model.weights.h5")
    other = make(Exponential("9d", trainable=True), shop_events.items)
    other.load_weights(tmp_path / "model.weights.h5")
    batch = next(iter(batches(basket_queries(shop_events), shop_events)))
    np.testing.assert_array_equal(other(batch), model(batch))


def test_factorized_metrics_can_be_attached(shop_events):
    model = make(items=shop_events.items)
    ids = tf.data.Dataset.from_tensor_slices(shop_events.items.ids.tolist())
    model.task.factorized_metrics = [
        tfrs.metrics.FactorizedTopK(ids.batch(128).map(model.item_tower))
    ]
    data = batches(basket_queries(shop_events), shop_events, max_targets=1)
    model.compile(tf_keras.optimizers.Adam(0.01))
    metrics = model.evaluate(data, verbose=0, return_dict=True)
    assert 0 <= metrics["factorized_top_k/top_100_categorical_accuracy"] <= 1


def test_a_missing_feature_is_named():
    batch = features(["a", "b"])
    del batch["query_time"]
    with pytest.raises(
        ValueError, match=r"features lack query_time; they have history"
    ):
        make()(batch)
    batch = features(["a", "b"])
    del batch["target_item"]
    with pytest.raises(ValueError, match=r"features lack target_item; they have"):
        make().compute_loss(batch)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"history_item": tf.constant(["a", "b"])},
            r"history_item is string of shape \(2,\): give strings \[batch, time\]",
        ),
        (
            {"history_item": tf.ragged.constant([["a"], ["b", "c"]])},
            r"history_item is ragged: give .*to_tensor\(\)",
        ),
        (
            {"history_length": tf.constant([[2], [1]])},
            r"history_length is int32 of shape \(2, 1\): give integers \[batch\]",
        ),
        (
            {"history_time": tf.constant([[1.0, 2.0], [3.0, 4.0]])},
            r"history_time is float32 .*give integers",
        ),
        (
            {"target_item": tf.constant([1, 2])},
            r"target_item is int32 .*give strings \[batch\] or \[batch, targets\]",
        ),
    ],
)
def test_a_feature_of_another_kind_is_named(change, message):
    with pytest.raises(ValueError, match=message):
        make().compute_loss({**features(["a", "b"]), **change})


@pytest.mark.parametrize("name", ["history_time", "query_time"])
def test_dates_are_named_before_keras_makes_tensors_of_them(name):
    model, batch = make(), features(["a", "b"])
    batch[name] = batch[name].numpy().astype("datetime64[s]")
    for ask in (model, model.compute_loss):
        with pytest.raises(
            ValueError,
            match=rf"{name} is datetime64\[s\]: give integer .*astype\('int64",
        ):
            ask({**batch, "target_item": tf.constant(["c", "c"])})


@pytest.mark.parametrize(("length", "way"), [(9, "above the width"), (-1, "below 0")])
def test_a_length_that_cannot_be_is_named(length, way):
    batch = features(["a", "b"])
    batch["history_length"] = tf.constant([length, 1], tf.int64)
    with pytest.raises(
        tf.errors.InvalidArgumentError, match=f"history_length is {way}"
    ):
        make()(batch)


def test_lists_and_arrays_are_features_too():
    model = make()
    batch = features(["a", "b"])
    listed = {name: value.numpy().tolist() for name, value in batch.items()}
    np.testing.assert_array_equal(model.compute_loss(listed), model.compute_loss(batch))
    text = {name: np.asarray(value) for name, value in listed.items()}
    text["history_item"] = np.asarray([["a", "b"], ["c", ""]])
    np.testing.assert_array_equal(model.compute_loss(text), model.compute_loss(batch))


def test_a_query_tower_of_another_width_is_named():
    with pytest.raises(
        ValueError, match="query_tower gives vectors of width 7, and the"
    ):
        make(query_tower=tf_keras.layers.Dense(7))


def test_it_trains_under_a_distribution_strategy(shop_events):
    with tf.distribute.MirroredStrategy(["CPU:0"]).scope():
        model = make(Exponential("3d", trainable=True), shop_events.items)
        model.compile(tf_keras.optimizers.Adam(0.02))
    data = batches(basket_queries(shop_events), shop_events, batch_size=64)
    losses = model.fit(data, epochs=2, verbose=0).history["loss"]
    assert losses[1] < losses[0]


def test_no_correction_is_a_correction_by_equal_probabilities():
    batch = features(["d", "b"])
    plain = make().compute_loss(batch)
    equal = make(sampling_probability=[0.25] * 4).compute_loss(batch)
    skewed = make(sampling_probability=[0.4, 0.3, 0.2, 0.1]).compute_loss(batch)
    np.testing.assert_allclose(plain, equal, rtol=1e-5)
    assert abs(float(plain - skewed)) > 0.1
    assert make().get_config()["sampling_probability"] is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 0.0}, "temperature=0.0 must be above 0"),
        ({"sampling_probability": [0.5]}, r"shape \(1,\): the catalogue has 4 items"),
        ({"sampling_probability": [0, 1, 1, 1]}, r"must lie in \(0, 1\]"),
    ],
)
def test_a_bad_choice_is_named(options, message):
    with pytest.raises(ValueError, match=message):
        make(**options)


def test_layers_in_the_wrong_places_are_named():
    tower, pooling = ItemTower(ITEMS, dim=3), TimeDecayPooling(Exponential("1d"))
    with pytest.raises(TypeError, match="item_tower is a TimeDecayPooling: give"):
        DecayRetrieval(pooling, tower)


def test_the_correction_is_by_what_a_stream_has_shown():
    batch = features([["a", "b"], ["a", ""]], lengths=[2, 1])
    streaming = StreamingProbability(64, learning_rate=0.5)
    model = make(sampling_probability=streaming)
    model.compute_loss(batch)
    assert int(streaming.get_weights()[0]) == 0
    loss = model.compute_loss(batch, training=True)
    # The gaps of "a" are 1 and 2, that of "b" is 2.
    told = make(sampling_probability=[1 / 1.5, 1 / 2, 0.5, 0.5])
    told.item_tower.set_weights(model.item_tower.get_weights())
    np.testing.assert_allclose(loss, told.compute_loss(batch, training=True), rtol=1e-5)
    with pytest.raises(ValueError, match="estimates its sampling probabilities while"):
        model.set_sampling_probability([0.25] * 4)


def test_a_streaming_estimate_trains_saves_and_goes_on(shop_events, tmp_path):
    streaming = StreamingProbability(1024)
    model = make(items=shop_events.items, sampling_probability=streaming)
    fitted(shop_events, model)
    draws = int(streaming.get_weights()[0])
    assert draws > 100
    model.save(tmp_path / "model.keras")
    again = tf_keras.models.load_model(tmp_path / "model.keras")
    for more in (again, model.with_items(["new"])):
        assert int(more.streaming_probability.get_weights()[0]) == draws
        assert more.streaming_probability is not streaming


def test_a_probability_that_tfrs_clips_is_told_of():
    with pytest.warns(UserWarning, match="1 sampling probabilities are below 1e-06"):
        make(sampling_probability=[1e-7, 0.3, 0.3, 0.3])


def test_sampling_probability_counts_one_more_of_each():
    np.testing.assert_allclose(
        sampling_probability(np.array([0, 2, 1])), [1 / 6, 3 / 6, 2 / 6]
    )
    with pytest.raises(ValueError, match=r"target_counts must be \[n\], finite and 0"):
        sampling_probability(np.array([-1.0]))


def test_no_history_is_no_interest_whatever_the_query_tower():
    model = make(query_tower=tf_keras.layers.Dense(3, bias_initializer="ones"))
    batch = features(["a", "b"])
    batch["history_length"] = tf.constant([2, 0], tf.int64)
    interest = model(batch).numpy()
    np.testing.assert_allclose(np.linalg.norm(interest[0]), 1, rtol=1e-6)
    np.testing.assert_array_equal(interest[1], 0)


def test_an_item_of_history_and_target_is_computed_once():
    model = make()
    seen, inner = [], model.item_tower._of_places

    def vectors(place, training):
        seen.append(place.numpy().tolist())
        return inner(place, training)

    model.item_tower._of_places = vectors
    model.compute_loss(features(["b", "d"]))
    # a, b, c, what stands for none, and d.
    assert seen == [[0, 1, 2, -1, 3]]


def test_vectors_that_are_at_hand_are_not_computed_again():
    model = make()
    batch = features(["a", "b"])
    expected = model(batch)
    vectors = model.item_tower(batch["history_item"])
    model.item_tower._of_places = None
    np.testing.assert_array_equal(model({**batch, "history_vector": vectors}), expected)
    with pytest.raises(ValueError, match=r"history_vector .*\[batch, time, dim\]"):
        model({**batch, "history_vector": vectors[0]})


def test_a_call_of_ones_own_is_what_is_trained():
    class Halved(DecayRetrieval):
        def call(self, features, training=None):
            return 0.5 * super().call(features, training=training)

    tf_keras.utils.set_random_seed(7)
    halved = Halved(ItemTower(ITEMS, dim=3), TimeDecayPooling(Exponential("1d")))
    batch = features(["b", "d"])
    assert halved.compute_loss(batch) != make().compute_loss(batch)


@tf_keras.saving.register_keras_serializable("tests")
class Tilted(DecayRetrieval):
    """A subclass with an argument and a layer of its own."""

    def __init__(self, *arguments, tilt=1.0, **options):
        super().__init__(*arguments, **options)
        self.tilt = tilt
        self.own = tf_keras.layers.Dense(3, use_bias=False)
        self.own.build([None, 3])

    def interest_from_vectors(self, vectors, **when):
        return self.own(super().interest_from_vectors(vectors, **when)) * self.tilt

    def get_config(self):
        return {**super().get_config(), "tilt": self.tilt}


def fused(events, encoder, **options):
    text = TextTower(encoder.preprocessor, encoder.encoder, dim=3)
    ids = events.items.ids[::2].tolist()
    vectors = np.random.default_rng(1).normal(size=[len(ids), 5])
    kinds = np.array(["lamps", "mugs", ""], object)[np.arange(len(events.items)) % 3]
    tower = ItemTower(
        events.items,
        text=text,
        dim=3,
        vectors=PrecomputedTower(ids, vectors, dim=3),
        categories={"kind": kinds.tolist()},
        **options,
    )
    return tower.bake()


@pytest.mark.parametrize(("loaded", "made"), [(False, DecayRetrieval), (True, Tilted)])
def test_new_items_without_training(shop_events, tiny_encoder, tmp_path, loaded, made):
    tf_keras.utils.set_random_seed(2)
    model = made(
        fused(shop_events, tiny_encoder, fusion="gated", id_dropout=0.3),
        TimeDecayPooling(Exponential("3d", trainable=True)),
        query_tower=tf_keras.layers.Dense(3),
        sampling_probability=np.linspace(0.1, 0.2, len(shop_events.items)),
        **({"tilt": 2.0} if made is Tilted else {}),
    )
    fitted(shop_events, model, epochs=1)
    if loaded:
        model.save(tmp_path / "model.keras")
        model = tf_keras.models.load_model(tmp_path / "model.keras")
    more = model.with_items(
        ["new", "other"], ["red lantern", ""], categories={"kind": {"new": "lamps"}}
    )
    assert type(more) is made
    batch = next(iter(batches(basket_queries(shop_events), shop_events)))
    np.testing.assert_array_equal(more(batch), model(batch))
    np.testing.assert_array_equal(
        more.item_tower(batch["target_item"]), model.item_tower(batch["target_item"])
    )
    np.testing.assert_array_equal(more.compute_loss(batch), model.compute_loss(batch))
    # A new item is a target as likely as the least likely one.
    np.testing.assert_allclose(
        more.get_config()["sampling_probability"],
        [*np.linspace(0.1, 0.2, len(shop_events.items)), 0.1, 0.1],
        rtol=1e-6,
    )
    # In a history it counts, by what is known of it.
    batch = features(["new", "a"])
    batch["history_item"] = tf.constant([["new", ""], ["unheard of", ""]])
    batch["history_length"] = tf.constant([1, 1], tf.int64)
    interest = more(batch).numpy()
    assert interest[0].any() and not interest[1].any()
    more.save(tmp_path / "more.keras")
    again = tf_keras.models.load_model(tmp_path / "more.keras")
    np.testing.assert_allclose(again(batch), interest, atol=1e-6)
    assert again.item_tower.seen[-2:].tolist() == [False, False]


def test_without_a_correction_new_items_have_none():
    more = make().with_items(["e"])
    assert more.get_config()["sampling_probability"] is None
    with pytest.raises(ValueError, match=r"in the catalogue already, such as 'a'"):
        more.with_items(["a"])


@pytest.mark.parametrize(
    "fusion",
    [
        pytest.param("sum", marks=pytest.mark.integration),  # slow
        pytest.param("concat", marks=pytest.mark.integration),
        "gated",
    ],
)
def test_a_fused_tower_trains_in_a_model(shop_events, tiny_encoder, fusion):
    losses = []
    for _ in range(2):
        tf_keras.utils.set_random_seed(3)
        tower = fused(shop_events, tiny_encoder, fusion=fusion, id_dropout=0.3)
        model = DecayRetrieval(tower, TimeDecayPooling(Exponential("3d")))
        losses.append(fitted(shop_events, model, epochs=3).history["loss"])
    assert losses[0][-1] < losses[0][0]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4)
