"""Every decay, every normalisation, one head or several, against plain NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from tfrs_decay.decay import (
    Constant,
    Exponential,
    Gaussian,
    Linear,
    LogBucketed,
    Logistic,
    Mixture,
    PowerLaw,
    Product,
    Sum,
    Window,
)
from tfrs_decay.decay.base import Elapsed, label
from tfrs_decay.layers import TimeDecayPooling
from tfrs_decay.layers.tensors import TENSORS
from tfrs_decay.layers.weighted_sums import exponential_sums

DAY = 86_400
YEAR = 365 * DAY
NOW = 1_700_000_000
DIM = 3
ACTIONS = {"browse": 0.25, "buy": 1.0, "none": 0.0}
# Histories have an action besides.
LENIENT = {"action_weights": ACTIONS, "unknown_action": "ignore"}
CATEGORIES = ("toys", "books", "other")

NARROW = [
    Constant(),
    Exponential("7d"),
    Exponential("7d", trainable=True),
    PowerLaw("1h", 0.25, trainable=True),
    Gaussian("20d", offset="1d", trainable=True),
    Linear("20d", trainable=True),
    Window("15d", trainable=True),
    Logistic("20d", "4d", trainable=True),
    LogBucketed(0.95 ** np.arange(48.0), trainable=True),
    Mixture(["1d", "30d"], [0.7, 0.3], trainable=True),
    Sum([Exponential("1d", trainable=True), Constant()], trainable=True),
    Exponential(3, by="rank", trainable=True),
    Window(4, by="rank"),
    Product([Exponential("7d", trainable=True), PowerLaw(2, 0.5, by="rank")]),
    Exponential({"browse": "1d", "buy": "30d", "*": "7d"}, trainable=True),
    Exponential({"toys": "1d", "*": "7d"}, group="category"),
]
WIDE = [
    Exponential(["1d", "7d", "60d"], trainable=True),
    Exponential("7d", per_feature=True, trainable=True),
    Mixture(["1d", "30d"], [[0.9, 0.1], [0.5, 0.5], [0.1, 0.9]], per_feature=True),
    Mixture(["1d", "30d"], per_feature=True, trainable=True),
    Gaussian(["3d", "7d", "60d"], trainable=True),
    Sum([Exponential(["1d", "2d", "3d"]), Constant()]),
]
every_decay = pytest.mark.parametrize("decay", [*NARROW, *WIDE], ids=repr)


def histories(seed=0, batch=4, length=9):
    """Unsorted events with ties, padding anywhere, one row without any event."""
    rng = np.random.default_rng(seed)
    age = rng.integers(0, 60 * DAY, [batch, length])
    age[:, 1] = age[:, 0]
    mask = rng.random([batch, length]) < 0.8
    mask[-1] = False
    return {
        "vectors": rng.normal(size=[batch, length, DIM]).astype(np.float32),
        "timestamps": np.where(mask, NOW - age, NOW + 5 * DAY),
        "query_time": np.full([batch], NOW),
        "actions": rng.choice(["browse", "buy", "none", "gaze"], [batch, length]),
        "categories": rng.choice(CATEGORIES, [batch, length]),
        "mask": mask,
    }


def weights_by_hand(decay, row, ages, actions, categories):
    """[events, dim] float64 weights of one row's events, from the public `weight`."""
    later = np.asarray([(ages < age).sum() for age in ages], np.float64)
    given = {}
    if decay.clocks == {"rank"}:
        elapsed = later
    else:
        elapsed = ages.astype(np.float64)
        if "rank" in decay.clocks:
            given["rank"] = later
    if "action" in decay.groups:
        given["action"] = actions
    if "category" in decay.groups:
        given["category"] = categories
    weight = np.asarray(decay.weight(elapsed, **given))
    return np.broadcast_to(weight if weight.ndim == 2 else weight[:, None], row.shape)


def pool_by_hand(decay, data, normalize, own_of=None, prior_mass=0.0, prior=0.0):
    """Plain loops in float64."""
    pooled = []
    for row in range(len(data["vectors"])):
        keep = data["mask"][row].copy()
        own = np.ones(len(keep))
        if own_of is not None:
            own = np.asarray([own_of.get(name, 0.0) for name in data["actions"][row]])
            keep &= own > 0
        vectors = data["vectors"][row][keep].astype(np.float64)
        ages = NOW - data["timestamps"][row][keep]
        weight = (
            weights_by_hand(
                decay,
                vectors,
                ages,
                data["actions"][row][keep],
                data["categories"][row][keep],
            )
            * own[keep][:, None]
        )
        total = (weight * vectors).sum(0)
        if normalize == "mean":
            mass = weight.sum(0) + prior_mass
            total = total + prior_mass * np.broadcast_to(prior, DIM)
            total = np.divide(total, mass, out=np.zeros(DIM), where=mass > 0)
        elif normalize == "l2":
            length = np.sqrt((total**2).sum())
            total = total / length if length > 0 else total
        pooled.append(total)
    return np.asarray(pooled)


@every_decay
@pytest.mark.parametrize("normalize", ["mean", "sum", "l2"])
@pytest.mark.parametrize("weighed", [False, True], ids=["alike", "by action"])
def test_one_head_equals_plain_loops(decay, normalize, weighed):
    data = histories()
    own_of = ACTIONS if weighed else None
    layer = TimeDecayPooling(decay, normalize=normalize, **(LENIENT if weighed else {}))
    expected = pool_by_hand(decay, data, normalize, own_of)
    np.testing.assert_allclose(layer(**data), expected, rtol=2e-5, atol=2e-6)


@every_decay
def test_a_prior_mass_counts_as_events_of_this_moment(decay):
    data = histories(seed=1)
    prior = [0.5, -1.0, 2.0]
    layer = TimeDecayPooling(decay, prior_mass=0.7, prior=prior)
    expected = pool_by_hand(decay, data, "mean", prior_mass=0.7, prior=prior)
    np.testing.assert_allclose(layer(**data), expected, rtol=2e-5, atol=2e-6)
    np.testing.assert_allclose(layer(**data)[-1], prior, rtol=1e-6)


@every_decay
@pytest.mark.parametrize("normalize", ["mean", "sum", "l2"])
def test_the_weights_make_the_interest(decay, normalize):
    data = histories(seed=2)
    layer = TimeDecayPooling(decay, normalize=normalize, **LENIENT)
    interest, weights = layer(**data, return_weights=True)
    np.testing.assert_allclose(layer(**data), interest, rtol=1e-5, atol=1e-6)
    if decay.per_feature:
        made = np.einsum("btd,btd->bd", weights, data["vectors"])
    else:
        made = np.einsum("bt,btd->bd", weights, data["vectors"])
    np.testing.assert_allclose(made, interest, rtol=1e-5, atol=1e-6)
    assert not np.asarray(weights)[~data["mask"]].any()


HEADS = [Exponential("1d", trainable=True), WIDE[0], PowerLaw("1h", 0.5), WIDE[3]]


@pytest.mark.parametrize("heads", [NARROW[:3], NARROW[2:6], HEADS], ids=len)
@pytest.mark.parametrize("normalize", ["mean", "sum", "l2"])
def test_stacked_heads_are_each_as_if_alone(heads, normalize):
    data = histories(seed=3)
    layer = TimeDecayPooling(heads, normalize=normalize, combine="stack")
    interest, weights = layer(**data, return_weights=True)
    assert layer.compute_output_shape([None, None, DIM])[1:] == interest.shape[1:]
    for place, head in enumerate(heads):
        alone, own = TimeDecayPooling(head, normalize=normalize)(
            **data, return_weights=True
        )
        np.testing.assert_allclose(interest[:, place], alone, rtol=1e-5, atol=1e-6)
        of_head = weights[:, place]
        if of_head.shape.rank > own.shape.rank:
            own = own[..., None]
        np.testing.assert_allclose(
            of_head, np.broadcast_to(own, of_head.shape), rtol=1e-5, atol=1e-6
        )


@pytest.mark.parametrize("heads", [NARROW[:3], HEADS], ids=len)
def test_heads_are_averaged_at_learned_weights(heads):
    data = histories(seed=4)
    stacked = TimeDecayPooling(heads, combine="stack")(**data).numpy()
    layer = TimeDecayPooling(heads)
    np.testing.assert_allclose(layer(**data), stacked.mean(1), rtol=1e-5, atol=1e-6)
    # One logit at ln 3 beside zeros: that head weighs 3 of (heads + 2), in feature 1.
    logits = np.zeros([len(heads), DIM])
    logits[0, 1] = np.log(3)
    next(v for v in layer.variables if "combination" in v.name).assign(logits)
    share = np.ones([len(heads), DIM])
    share[0, 1] = 3
    share /= share.sum(0)
    np.testing.assert_allclose(layer.combination(), share, rtol=1e-6)
    interest, weights = layer(**data, return_weights=True)
    np.testing.assert_allclose(interest, (stacked * share).sum(1), rtol=1e-5, atol=1e-6)
    made = np.einsum("btd,btd->bd", weights, data["vectors"])
    np.testing.assert_allclose(made, interest, rtol=1e-5, atol=1e-6)


@every_decay
def test_what_is_learned_has_finite_gradients_from_now_to_fifty_years(decay):
    ages = np.asarray([[0, 1, 3600, 50 * YEAR], [50 * YEAR] * 4, [0] * 4, [7] * 4])
    mask = np.asarray([[True] * 4, [True] * 4, [True] * 4, [False] * 4])
    data = {
        "timestamps": NOW - ages,
        "query_time": np.full([4], NOW),
        "actions": np.full([4, 4], "buy"),
        "categories": np.full([4, 4], "toys"),
        "mask": mask,
    }
    drawn = np.random.default_rng(0).normal(size=[4, 4, DIM])
    vectors = tf.Variable(drawn, dtype=tf.float32)
    for options in ({}, {"normalize": "sum"}, {"normalize": "l2"}, {"prior_mass": 1.0}):
        layer = TimeDecayPooling(decay, **LENIENT, learn_action_weights=True, **options)
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.square(layer(vectors, **data) - 1.0))
        gradients = tape.gradient(loss, [vectors, *layer.trainable_variables])
        assert np.isfinite(loss)
        for variable, gradient in zip(
            [vectors, *layer.trainable_variables], gradients, strict=True
        ):
            assert gradient is not None, variable.name
            assert np.isfinite(tf.convert_to_tensor(gradient)).all(), variable.name


@pytest.mark.parametrize(
    "decay",
    [one for one in (*NARROW, *WIDE) if one.initial_parameters(DIM)],
    ids=repr,
)
def test_what_is_learned_has_the_gradients_of_the_formula_in_float64(decay):
    data = histories(seed=10)
    layer = TimeDecayPooling(decay, speed=1.0)
    toward = np.random.default_rng(1).normal(size=[4, DIM])
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(**data) * toward.astype(np.float32))
    got = tape.gradient(loss, layer.trainable_variables)
    start = decay.initial_parameters(DIM)
    learned = {name: tf.Variable(one, dtype=tf.float64) for name, one in start.items()}
    rows = []
    with tf.GradientTape() as tape:
        for row in range(4):
            keep = data["mask"][row]
            age = (NOW - data["timestamps"][row][keep]).astype(np.float64)
            rank = np.asarray([(age < one).sum() for one in age], np.float64)
            labels = {
                group: label(data[column][row][keep], decay.groups[group])
                for group, column in (("action", "actions"), ("category", "categories"))
                if group in decay.groups
            }
            elapsed = Elapsed(tf.constant(age), tf.constant(rank), labels)
            weight = tf.exp(decay.formula(elapsed, learned, TENSORS))
            weight = weight if weight.shape.rank == 2 else weight[:, None]
            vectors = data["vectors"][row][keep].astype(np.float64)
            mean = tf.math.divide_no_nan(
                tf.reduce_sum(weight * vectors, 0), tf.reduce_sum(weight, 0)
            )
            rows.append(tf.reduce_sum(mean * toward[row]))
        expected = tf.add_n(rows)
    for one, exact in zip(
        got, tape.gradient(expected, list(learned.values())), strict=True
    ):
        exact = tf.convert_to_tensor(exact)
        assert np.abs(exact).max() > 0
        scale = float(np.abs(exact).max())
        np.testing.assert_allclose(one, exact, rtol=1e-3, atol=1e-4 * scale)


@pytest.mark.parametrize(
    "decay",
    [
        Gaussian("1h", trainable=True),
        PowerLaw("1h", 0.5, trainable=True),
        Product([Exponential("1h", trainable=True), Constant()]),
        Logistic("1h", "1m", trainable=True),
    ],
    ids=repr,
)
@pytest.mark.parametrize("normalize", ["mean", "l2"])
def test_events_of_one_age_pull_at_no_rate(decay, normalize):
    layer = TimeDecayPooling(decay, normalize=normalize)
    vectors = np.random.default_rng(0).normal(size=[1, 5, DIM]).astype(np.float32)
    with tf.GradientTape() as tape:
        pooled = layer(
            vectors, timestamps=np.full([1, 5], NOW - YEAR), query_time=[NOW]
        )
        loss = tf.reduce_sum(pooled * [1.0, -2.0, 3.0])
    for gradient in tape.gradient(loss, layer.trainable_variables):
        np.testing.assert_allclose(gradient, 0.0, atol=1e-5)


def test_seconds_count_in_ten_years_time():
    # float32 holds ten years to 32 seconds: these two would be of one age.
    layer = TimeDecayPooling(Gaussian("1d"))
    ages = np.asarray([10 * YEAR, 10 * YEAR + 1], np.float64)
    got = layer(
        np.asarray([[[1.0], [0.0]]], np.float32),
        timestamps=NOW - ages.astype(np.int64)[None],
        query_time=[NOW],
    )
    older = np.exp(-np.log(2) * (ages[1] ** 2 - ages[0] ** 2) / DAY**2)
    np.testing.assert_allclose(got, [[1 / (1 + older)]], rtol=1e-6)


@every_decay
@pytest.mark.parametrize("normalize", ["mean", "sum", "l2"])
def test_a_batch_of_new_users_only(decay, normalize):
    layer = TimeDecayPooling(decay, normalize=normalize)
    got = layer(
        np.zeros([2, 0, DIM], np.float32),
        timestamps=np.zeros([2, 0], np.int64),
        query_time=[NOW, NOW],
        actions=np.zeros([2, 0], "U1"),
        categories=np.zeros([2, 0], "U1"),
    )
    np.testing.assert_array_equal(got, np.zeros([2, DIM]))


def test_under_xla_the_future_weighs_nothing():
    layer = TimeDecayPooling(Exponential("1d"), normalize="sum")

    @tf.function(jit_compile=True)
    def pool(times):
        vectors = tf.constant([[[10.0], [1.0]]])
        return layer(vectors, timestamps=times, query_time=tf.constant([NOW]))

    got = pool(tf.constant([[NOW + 10 * DAY, NOW]]))
    np.testing.assert_allclose(got, [[1.0]])


@pytest.mark.parametrize("decay", [NARROW[1], NARROW[3], WIDE[0], WIDE[3]], ids=repr)
def test_weights_of_any_size_keep_directions_and_gradients(decay):
    data = histories(seed=11)
    data["event_weights"] = np.full([4, 9], 1e-20, np.float32)
    expected = TimeDecayPooling(decay)(**{**data, "event_weights": None})
    for normalize in ("mean", "l2"):
        layer = TimeDecayPooling(decay, normalize=normalize)
        with tf.GradientTape() as tape:
            pooled = layer(**data)
            loss = tf.reduce_sum(pooled * [1.0, 2.0, 3.0])
        for gradient in tape.gradient(loss, layer.trainable_variables):
            assert np.isfinite(gradient).all()
        if normalize == "mean":
            np.testing.assert_allclose(pooled, expected, rtol=1e-5, atol=1e-6)
        else:
            length = np.linalg.norm(pooled, axis=1)
            np.testing.assert_allclose(length, [1, 1, 1, 0], rtol=1e-5)


@pytest.mark.parametrize("size", [1e-25, 1e25])
def test_vectors_of_any_size_have_length_one(size):
    got = TimeDecayPooling(Constant(), normalize="l2")(
        np.asarray([[[3.0, 4.0]]], np.float32) * np.float32(size),
        timestamps=[[NOW]],
        query_time=[NOW],
    )
    np.testing.assert_allclose(got, [[0.6, 0.8]], rtol=1e-5)


def test_a_mixture_of_tiny_slow_shares_keeps_its_direction():
    decay = Mixture(["1h", "10d"], [[1, 1e-30], [1, 1]])
    got = TimeDecayPooling(decay)(
        np.ones([1, 2, 2], np.float32) * [[[1.0], [3.0]]],
        timestamps=NOW - np.asarray([[30 * DAY, 40 * DAY]]),
        query_time=[NOW],
    )
    np.testing.assert_allclose(got, [[(1 + 3 * 0.5) / 1.5] * 2], rtol=1e-5)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("event_weights", np.ones([3, 2], np.float32)),
        ("event_weights", np.ones([1, 1], np.float32)),
        ("actions", np.full([2, 2], "buy")),
        ("actions", np.full([2], "buy")),
        ("categories", np.full([1, 3], "toys")),
        ("mask", np.asarray([True, False])),
    ],
)
def test_a_column_of_another_shape_is_named(column, value):
    decay = Exponential({"toys": "1d", "*": "2d"}, group="category")
    given = {
        "timestamps": np.asarray([[NOW, NOW]]),
        "query_time": np.asarray([NOW]),
        "actions": np.full([1, 2], "buy"),
        "categories": np.full([1, 2], "toys"),
        column: value,
    }
    with pytest.raises(
        (ValueError, tf.errors.InvalidArgumentError),
        match=rf"{column} .*\[batch, time\]",
    ):
        TimeDecayPooling(decay, **LENIENT)(np.ones([1, 2, 2], np.float32), **given)


@pytest.mark.parametrize(
    "decay",
    [
        Exponential("1h"),
        Exponential(["1h", "2h", "3h"]),
        Gaussian("1h"),
        Mixture(["1m", "1h"], per_feature=True),
        Product([Exponential("1h"), PowerLaw("1h", 1.0)]),
    ],
    ids=repr,
)
@pytest.mark.parametrize("normalize", ["mean", "l2"])
def test_what_underflows_still_has_its_direction(decay, normalize):
    # At fifty years and a half-life of an hour every weight is e^-300000 or less; the
    # younger event is a whole day younger, and so is all that counts.
    layer = TimeDecayPooling(decay, normalize=normalize)
    vectors = np.asarray([[[0.0, 3.0, 4.0], [5.0, 0.0, 0.0]]], np.float32)
    times = NOW - 50 * YEAR - np.asarray([[0, 60 * DAY]])
    got = layer(vectors, timestamps=times, query_time=np.asarray([NOW]))
    expected = np.asarray([[0.0, 3.0, 4.0]]) / (5 if normalize == "l2" else 1)
    if normalize == "l2" and decay.per_feature and isinstance(decay, Exponential):
        # Of sums at such ages the slowest feature is all that is left.
        expected = np.asarray([[0.0, 0.0, 1.0]])
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


def test_what_weighs_nothing_is_not_the_youngest_event_either():
    # Beside an event of this moment both others would underflow.
    layer = TimeDecayPooling(
        Exponential("1h"), action_weights={"buy": 1.0, "gaze": 0.0}
    )
    got = layer(
        np.asarray([[[9.0], [3.0], [1.0]]], np.float32),
        timestamps=np.asarray([[NOW, NOW - YEAR, NOW - YEAR - 3600]]),
        query_time=[NOW],
        actions=np.asarray([["gaze", "buy", "buy"]]),
    )
    np.testing.assert_allclose(got, [[(3 + 0.5) / 1.5]], rtol=1e-6)


def test_padding_may_hold_any_time():
    extreme = [np.iinfo(np.int64).min, np.iinfo(np.int64).max, -1, 0]
    for decay in (Exponential("1h"), WIDE[0], Window(2, by="rank"), Gaussian("1d")):
        got = TimeDecayPooling(decay)(
            np.asarray([[[3.0] * 3] + [[9.0] * 3] * 4], np.float32),
            timestamps=np.asarray([[NOW - DAY, *extreme]]),
            query_time=[NOW],
            mask=np.asarray([[True] + [False] * 4]),
        )
        np.testing.assert_allclose(got, [[3.0] * 3], rtol=1e-6)


def test_every_option_is_written_down():
    layer = TimeDecayPooling(
        [Exponential("1d"), Constant()],
        **LENIENT,
        learn_action_weights=True,
        normalize="mean",
        prior_mass=0.5,
        prior=[1.0, 2.0, 3.0],
        combine="stack",
        future="ignore",
        speed=3.0,
    )
    again = TimeDecayPooling.from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    names = ("normalize", "prior_mass", "combine", "future", "unknown_action")
    for name in (*names, "speed", "decay"):
        assert getattr(again, name) == getattr(layer, name)
    assert again.learn_action_weights and again.action_weights == ACTIONS
    again.build([None, None, DIM])
    np.testing.assert_array_equal(again.prior_vector(), [1.0, 2.0, 3.0])


def test_the_mask_of_keras_reaches_it():
    embed = tf_keras.layers.Embedding(5, DIM, mask_zero=True)
    ids = np.asarray([[1, 2, 0], [3, 0, 0]])
    when = {"timestamps": np.full([2, 3], NOW), "query_time": np.full([2], NOW)}
    got = TimeDecayPooling(Constant())(embed(ids), **when)
    table = embed.embeddings.numpy()
    np.testing.assert_allclose(got[0], (table[1] + table[2]) / 2, rtol=1e-6)
    np.testing.assert_allclose(got[1], table[3], rtol=1e-6)


def test_a_step_of_adam_goes_as_far_as_the_speed_says():
    for speed in (1.0, 10.0):
        layer = TimeDecayPooling(Exponential("1d", trainable=True), speed=speed)
        data = histories()
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(layer(**data))
        (variable,) = layer.trainable_variables
        (gradient,) = tape.gradient(loss, [variable])
        tf_keras.optimizers.Adam(0.01).apply_gradients([(gradient, variable)])
        moved = abs(layer.learned()["log_half_life"] - np.log(DAY))
        assert moved == pytest.approx(0.01 * speed, rel=1e-2)
    with pytest.raises(ValueError, match=r"speed=0.0 must be finite and above 0"):
        TimeDecayPooling(speed=0.0)


def test_an_idle_user_cools_towards_the_prior():
    layer = TimeDecayPooling(Exponential("1d"), prior_mass=1.0, prior=[0.0, 10.0, 0.0])
    vectors = np.ones([1, 1, 3], np.float32)
    for days, event in ((0, 1 / 2), (1, 1 / 3), (2, 1 / 5), (20_000, 0.0)):
        got = layer(
            vectors,
            timestamps=np.asarray([[NOW - days * DAY]]),
            query_time=np.asarray([NOW]),
        )
        expected = [[event, event + 10 * (1 - event), event]]
        np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_a_prior_is_learned():
    layer = TimeDecayPooling(Exponential("1d"), prior_mass=1.0, prior="learned")
    nobody = {
        "timestamps": np.zeros([2, 0], np.int64),
        "query_time": np.asarray([NOW, NOW]),
    }
    optimizer = tf_keras.optimizers.SGD(0.5)
    for _ in range(40):
        with tf.GradientTape() as tape:
            pooled = layer(np.zeros([2, 0, 2], np.float32), **nobody)
            loss = tf.reduce_mean(tf.square(pooled - [1.0, -2.0]))
        variables = layer.trainable_variables
        optimizer.apply_gradients(
            zip(tape.gradient(loss, variables), variables, strict=True)
        )
    np.testing.assert_allclose(layer.prior_vector(), [1.0, -2.0], rtol=1e-3)


def test_action_weights_are_learned_and_zero_stays():
    # The answer is the mean weighed 1 to 3, which half of the loss' gradient finds.
    layer = TimeDecayPooling(
        Constant(),
        action_weights={"browse": 1.0, "buy": 1.0, "none": 0.0},
        learn_action_weights=True,
    )
    data = {
        "timestamps": np.asarray([[NOW] * 3]),
        "query_time": np.asarray([NOW]),
        "actions": np.asarray([["browse", "buy", "none"]]),
    }
    vectors = np.asarray([[[0.0], [1.0], [100.0]]], np.float32)
    optimizer = tf_keras.optimizers.Adam(0.05)
    for _ in range(200):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.square(layer(vectors, **data) - 0.75))
        variables = layer.trainable_variables
        optimizer.apply_gradients(
            zip(tape.gradient(loss, variables), variables, strict=True)
        )
    learned = layer.action_weights
    assert learned["buy"] / learned["browse"] == pytest.approx(3, rel=0.02)
    assert learned["none"] == 0.0
    with pytest.raises(ValueError, match="nothing to start from"):
        TimeDecayPooling(learn_action_weights=True)


def test_what_is_watched_in_part_weighs_in_part():
    layer = TimeDecayPooling(Exponential("1d"), normalize="sum")
    when = {"timestamps": np.asarray([[NOW, NOW - DAY]]), "query_time": [NOW]}
    vectors = np.asarray([[[4.0], [8.0]]], np.float32)
    got = layer(vectors, **when, event_weights=np.asarray([[0.5, 0.25]]))
    np.testing.assert_allclose(got, [[4 * 0.5 + 8 * 0.5 * 0.25]])
    masked = layer(
        vectors,
        **when,
        event_weights=np.asarray([[0.5, np.nan]]),
        mask=np.asarray([[True, False]]),
    )
    np.testing.assert_allclose(masked, [[2.0]])
    for wrong in (-1.0, np.nan, np.inf):
        with pytest.raises(
            tf.errors.InvalidArgumentError, match="event_weights must be finite"
        ):
            layer(vectors, **when, event_weights=np.asarray([[0.5, wrong]]))
    with pytest.raises(ValueError, match="event_weights are int64"):
        layer(vectors, **when, event_weights=np.asarray([[1, 2]]))


def test_each_action_fades_at_its_own_rate():
    decay = Exponential({"browse": "1d", "buy": "2d", "*": "4d"})
    layer = TimeDecayPooling(decay, normalize="sum")
    got = layer(
        np.ones([1, 3, 1], np.float32),
        timestamps=np.full([1, 3], NOW - 4 * DAY),
        query_time=[NOW],
        actions=np.asarray([["browse", "buy", "gaze"]]),
    )
    np.testing.assert_allclose(got, [[1 / 16 + 1 / 4 + 1 / 2]], rtol=1e-6)


def test_rank_counts_later_events_only_and_ties_share_one():
    layer = TimeDecayPooling(Exponential(1, by="rank"), normalize="sum")
    layer.build([None, None, 1])
    times = NOW - np.asarray([[30, 10, 20, 10, 0, 5]])
    mask = np.asarray([[True, True, True, True, True, False]])
    weights = layer.weights_of_events(times, [NOW], mask=mask)
    # 0 s: none later; the two of 10 s: one; 20 s: three; 30 s: four.
    expected = [[1 / 16, 1 / 2, 1 / 8, 1 / 2, 1, 0]]
    np.testing.assert_allclose(weights, expected)


@pytest.mark.parametrize("decay", [NARROW[2], NARROW[11], WIDE[0], HEADS], ids=repr)
def test_ragged_equals_padded(decay):
    data = histories(seed=5)
    lengths = np.asarray([9, 0, 4, 1])
    mask = np.arange(9) < lengths[:, None]
    data["timestamps"] = np.where(data["mask"], data["timestamps"], NOW - 3)
    padded = {**data, "mask": mask}
    ragged = {
        name: tf.RaggedTensor.from_tensor(padded[name], lengths)
        for name in ("vectors", "timestamps", "actions")
    }
    layer = TimeDecayPooling(decay, **LENIENT)
    expected = layer(**padded)
    got = layer(**ragged, query_time=data["query_time"])
    np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-7)
    with pytest.raises(ValueError, match=r"timestamps.*ragged.*vectors are dense"):
        layer(**{**ragged, "vectors": data["vectors"]}, query_time=[NOW] * 4)
    with pytest.raises(ValueError, match="mask: give every column ragged"):
        layer(**ragged, query_time=[NOW] * 4, mask=mask)
    short = tf.RaggedTensor.from_tensor(padded["timestamps"], lengths - [1, 0, 0, 0])
    with pytest.raises(
        tf.errors.InvalidArgumentError, match="timestamps and vectors must have as many"
    ):
        layer(**{**ragged, "timestamps": short}, query_time=[NOW] * 4)


def test_one_trace_serves_every_length():
    layer = TimeDecayPooling(HEADS, **LENIENT)
    layer.build([None, None, DIM])
    traces = []

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, None, DIM]),
            tf.TensorSpec([None, None], tf.int64),
            tf.TensorSpec([None], tf.int64),
            tf.TensorSpec([None, None], tf.string),
        ]
    )
    def pool(vectors, timestamps, query_time, actions):
        traces.append(1)
        return layer(
            vectors, timestamps=timestamps, query_time=query_time, actions=actions
        )

    for batch, length in ((1, 1), (3, 7), (2, 0), (0, 5), (5, 200)):
        got = pool(
            tf.ones([batch, length, DIM]),
            tf.fill([batch, length], np.int64(NOW - DAY)),
            tf.fill([batch], np.int64(NOW)),
            tf.fill([batch, length], "buy"),
        )
        np.testing.assert_allclose(
            got, np.full([batch, DIM], float(length > 0)), rtol=1e-6
        )
    assert len(traces) == 1


@every_decay
def test_xla_gives_the_same(decay):
    data = histories(seed=6)
    layer = TimeDecayPooling(decay, **LENIENT)
    expected = layer(**data)
    names = layer.names
    columns = {"actions": "action", "categories": "category"}
    for column, group in columns.items():
        known = list(names.get(group, ()))
        data[column] = np.asarray(
            [
                [known.index(x) if x in known else -1 for x in row]
                for row in data[column]
            ]
        )
    data = {name: tf.constant(value) for name, value in data.items()}
    compiled = tf.function(lambda given: layer(**given), jit_compile=True)
    np.testing.assert_allclose(compiled(data), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "decay", [NARROW[2], NARROW[3], WIDE[0], WIDE[3], HEADS], ids=repr
)
@pytest.mark.parametrize("normalize", ["mean", "l2"])
def test_half_precision(decay, normalize):
    data = histories(seed=7)
    expected = TimeDecayPooling(decay, normalize=normalize)(**data)
    layer = TimeDecayPooling(decay, normalize=normalize, dtype="mixed_float16")
    got = layer(**data)
    assert got.dtype == tf.float16
    assert {variable.dtype for variable in layer.variables} <= {tf.float32}
    np.testing.assert_allclose(got, expected, rtol=1e-2, atol=2e-3)


def test_sums_per_feature_have_the_gradients_of_the_plain_formula():
    rng = np.random.default_rng(0)
    vectors = tf.Variable(rng.normal(size=[3, 5, 4]), dtype=tf.float32)
    elapsed = tf.constant(rng.uniform(0, 3, [3, 5]), tf.float32)
    own = tf.Variable(rng.uniform(0.5, 1, [3, 5]), dtype=tf.float32)
    rate = tf.Variable(rng.uniform(0.1, 2, [4]), dtype=tf.float32)
    toward = tf.constant(rng.normal(size=[2, 3, 4]), tf.float32)
    for weight in (own, None):
        sources = [vectors, rate] if weight is None else [vectors, rate, own]
        with tf.GradientTape() as tape:
            total, mass = exponential_sums(vectors, elapsed, rate, weight)
            ours = tf.reduce_sum(toward[0] * total + toward[1] * mass)
        with tf.GradientTape() as plain_tape:
            weights = tf.exp(-elapsed[..., None] * rate)
            if weight is not None:
                weights *= weight[..., None]
            plain = tf.reduce_sum(
                toward[0] * tf.reduce_sum(weights * vectors, 1)
                + toward[1] * tf.reduce_sum(weights, 1)
            )
        np.testing.assert_allclose(ours, plain, rtol=1e-5)
        for got, expected in zip(
            tape.gradient(ours, sources),
            plain_tape.gradient(plain, sources),
            strict=True,
        ):
            np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


def test_left_to_itself_it_learns_from_a_heavy_tail():
    layer = TimeDecayPooling()
    assert layer.decay == PowerLaw("1h", 0.25, trainable=True)
    layer.build([None, None, 2])
    assert set(layer.learned()) == {"log_scale", "log_exponent"}
    assert layer.describe().startswith("power law, learned")


@pytest.mark.parametrize("folder", ["model.keras", "model"])
def test_heads_with_everything_save_and_load_with_equal_values(tmp_path, folder):
    layer = TimeDecayPooling(
        [*HEADS, NARROW[11], Sum([WIDE[0], Constant()], [0.3, 0.7], trainable=True)],
        **LENIENT,
        learn_action_weights=True,
        prior_mass=0.5,
        prior="learned",
        future="ignore",
    )
    inputs = [
        tf_keras.Input([None, DIM], name="vectors"),
        tf_keras.Input([None], dtype=tf.int64, name="times"),
        tf_keras.Input([], dtype=tf.int64, name="now"),
        tf_keras.Input([None], dtype=tf.string, name="actions"),
        tf_keras.Input([None], dtype=tf.bool, name="mask"),
    ]
    vectors, times, now, actions, mask = inputs
    pooled = layer(
        vectors, timestamps=times, query_time=now, actions=actions, mask=mask
    )
    model = tf_keras.Model(inputs, pooled)
    rng = np.random.default_rng(0)
    layer.set_weights(
        [one + rng.normal(size=one.shape) * 0.1 for one in layer.get_weights()]
    )
    data = histories(seed=8)
    given = [
        tf.constant(data[name])
        for name in ("vectors", "timestamps", "query_time", "actions", "mask")
    ]
    before = model(given).numpy()
    model.save(tmp_path / folder)
    after = tf_keras.models.load_model(tmp_path / folder)
    np.testing.assert_array_equal(after(given).numpy(), before)
    loaded = after.get_layer(layer.name)
    assert loaded.get_config() == layer.get_config()
    assert loaded.learned_decays() == layer.learned_decays()


def test_fixed_at_what_was_learned_it_gives_the_same():
    data = histories(seed=9)
    heads = [head for head in (*NARROW, *WIDE) if head.initial_parameters(DIM)]
    layer = TimeDecayPooling(heads, combine="stack")
    layer.build([None, None, DIM])
    rng = np.random.default_rng(0)
    layer.set_weights(
        [one + rng.normal(size=one.shape) * 0.3 for one in layer.get_weights()]
    )
    fixed = TimeDecayPooling(layer.learned_decays(), combine="stack")
    np.testing.assert_allclose(fixed(**data), layer(**data), rtol=2e-5, atol=1e-6)
    assert not fixed.trainable_variables


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"decay": [Constant(), "7d"]}, TypeError, "decay is a str: give a decay"),
        ({"decay": []}, ValueError, r"decay=\[\] is empty: give one decay or more"),
        ({"combine": "concat"}, ValueError, "combine='concat' is not one of"),
        ({"prior_mass": 0.0}, ValueError, "prior_mass=0.0 must be .*above 0"),
        (
            {"prior_mass": 1.0, "normalize": "sum"},
            ValueError,
            "prior_mass=1.0 with normalize='sum'.*goes with 'mean'",
        ),
        ({"prior": "learned"}, ValueError, "without prior_mass it has no weight"),
        (
            {"prior": "popular", "prior_mass": 1.0},
            ValueError,
            "prior='popular': give .* 'learned'",
        ),
        ({"prior": [1.0, np.nan], "prior_mass": 1.0}, ValueError, "prior=.*finite"),
        ({"prior": 1.0, "prior_mass": 1.0}, ValueError, r"prior=1.0: give \[dim\]"),
        ({"prior_mass": "1"}, TypeError, "prior_mass is a str: give a number"),
        ({"action_weights": {}}, ValueError, "would let no event count"),
        ({"action_weights": {1: 0.5}}, TypeError, "has the key 1, a int"),
        ({"action_weights": {"*": 0.5}}, ValueError, "name each action"),
        ({"action_weights": {"buy": "1"}}, TypeError, "'buy'.* is a str: give a num"),
        ({"action_weights": ["buy"]}, TypeError, "is a list: give a mapping"),
        ({"action_weights": {"buy": 1e300}}, ValueError, "weights are finite"),
    ],
)
def test_a_bad_choice_is_named(arguments, error, message):
    with pytest.raises(error, match=message):
        TimeDecayPooling(**arguments)


def test_a_prior_has_the_width_of_the_vectors():
    layer = TimeDecayPooling(Constant(), prior_mass=1.0, prior=[1.0, 2.0])
    with pytest.raises(ValueError, match=r"prior has 2 numbers .* have 3 features"):
        layer.build([None, None, 3])


def test_what_rates_depend_on_is_asked_for():
    when = {"timestamps": np.asarray([[NOW]]), "query_time": np.asarray([NOW])}
    layer = TimeDecayPooling(Exponential({"toys": "1d", "*": "7d"}, group="category"))
    with pytest.raises(ValueError, match=r"categories are needed: .*\['toys'\]"):
        layer(np.ones([1, 1, 2], np.float32), **when)


def test_a_mask_has_the_shape_of_the_history():
    when = {"timestamps": np.asarray([[NOW, NOW]]), "query_time": np.asarray([NOW])}
    with pytest.raises(
        (ValueError, tf.errors.InvalidArgumentError),
        match="mask and vectors must agree",
    ):
        TimeDecayPooling()(
            np.ones([1, 2, 2], np.float32), **when, mask=np.asarray([[True]])
        )


def test_vectors_are_floating_and_as_wide_as_built():
    when = {"timestamps": [[NOW]], "query_time": [NOW]}
    layer = TimeDecayPooling(Constant())
    with pytest.raises(ValueError, match="vectors are int64: give floating numbers"):
        layer(np.ones([1, 1, 2], np.int64), **when)
    layer(np.ones([1, 1, 2], np.float32), **when)
    with pytest.raises(ValueError, match=r"3 features, and the layer was built for 2"):
        layer(np.ones([1, 1, 3], np.float32), **when)


def test_l2_weights_need_the_vectors():
    layer = TimeDecayPooling(normalize="l2")
    layer.build([None, None, 2])
    with pytest.raises(ValueError, match="return_weights=True"):
        layer.weights_of_events([[NOW]], [NOW])
