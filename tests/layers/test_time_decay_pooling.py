"""Pooling: by hand, by property, and against a few lines of NumPy in float64."""

from __future__ import annotations

import datetime

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from hypothesis import given, settings
from hypothesis import strategies as st

from tfrs_decay.decay import Constant, Exponential
from tfrs_decay.layers import TimeDecayPooling

DAY = 86_400
NOW = 1_700_000_000


def pool_by_hand(vectors, ages, half_life, weights=None):
    """Sum of w x over sum of w in float64, in log space."""
    log_weight = -np.asarray(ages, np.float64) * np.log(2) / half_life
    if weights is not None:
        log_weight = log_weight + np.log(np.asarray(weights, np.float64))
    weight = np.exp(log_weight - log_weight.max())
    return (weight[:, None] * vectors).sum(0) / weight.sum()


def pooled(layer, vectors, ages, **others):
    times = NOW - np.asarray([ages], np.int64)
    return layer(
        np.asarray([vectors], np.float32),
        timestamps=times,
        query_time=np.asarray([NOW]),
        **others,
    ).numpy()[0]


def test_a_week_older_is_half_the_weight():
    pool = TimeDecayPooling(Exponential("7d"))
    got = pooled(pool, [[1.0, 0.0], [0.0, 1.0]], ages=[14 * DAY, 7 * DAY])
    np.testing.assert_allclose(got, [1 / 3, 2 / 3], rtol=1e-6)


def test_a_sum_keeps_what_a_mean_cancels():
    vectors, ages = [[4.0], [1.0]], [DAY, 0]
    total = TimeDecayPooling(Exponential("1d"), normalize="sum")
    mean = TimeDecayPooling(Exponential("1d"))
    np.testing.assert_allclose(pooled(total, vectors, ages), [4 / 2 + 1])
    np.testing.assert_allclose(pooled(mean, vectors, ages), [3 / 1.5])
    # A day later the sum has halved and the mean is what it was.
    later = [2 * DAY, DAY]
    np.testing.assert_allclose(pooled(total, vectors, later), [1.5])
    np.testing.assert_allclose(pooled(mean, vectors, later), [2.0])


def test_the_articles_interest_is_the_sum_at_age_one():
    # u(0) = [.8, .6, .4], lambda = .1: u(1) = u(0) e^-.1, checked with a calculator.
    pool = TimeDecayPooling(Exponential.from_rate(0.1), normalize="sum")
    got = pooled(pool, [[0.8, 0.6, 0.4]], ages=[1])
    np.testing.assert_allclose(got, [0.7239, 0.5429, 0.3619], atol=5e-5)


def test_constant_is_the_plain_mean():
    got = pooled(TimeDecayPooling(Constant()), [[1.0], [2.0], [6.0]], [9 * DAY, 1, 0])
    np.testing.assert_allclose(got, [3.0])


def test_each_feature_fades_at_its_own_rate():
    # Feature 0 halves in a day, feature 1 in two: of [1, 1] a day old and [3, 3] new,
    # (1/2 + 3) / (1/2 + 1) and (2^-1/2 + 3) / (2^-1/2 + 1).
    pool = TimeDecayPooling(Exponential(["1d", "2d"]))
    got = pooled(pool, [[1.0, 1.0], [3.0, 3.0]], [DAY, 0])
    root = 2**-0.5
    np.testing.assert_allclose(got, [3.5 / 1.5, (root + 3) / (root + 1)], rtol=1e-6)


def test_a_purchase_outweighs_browsing():
    pool = TimeDecayPooling(
        Exponential("1d"), action_weights={"browse": 0.25, "purchase": 1.0}
    )
    actions = np.asarray([["browse", "purchase"]])
    got = pooled(pool, [[8.0], [1.0]], [0, DAY], actions=actions)
    np.testing.assert_allclose(got, [(0.25 * 8 + 0.5 * 1) / 0.75])


def test_an_unnamed_action_weighs_nothing_where_it_is_ignored():
    pool = TimeDecayPooling(
        Exponential("1d"), action_weights={"purchase": 1.0}, unknown_action="ignore"
    )
    actions = np.asarray([["gaze", "purchase"]])
    got = pooled(pool, [[8.0], [1.0]], [0, DAY], actions=actions)
    np.testing.assert_allclose(got, [1.0])


@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize(
    ("actions", "said"), [(["buy", "gaze"], "gaze"), ([0, 7], "7")], ids=str
)
def test_an_action_without_a_weight_is_an_error_that_names_it(traced, actions, said):
    # A rate of its own is no weight.
    decay = Exponential({"gaze": "1d", "*": "2d"})
    layer = TimeDecayPooling(decay, action_weights={"buy": 1.0, "ad": 0.0})
    pool = tf.function(layer) if traced else layer

    def call(actions, **others):
        return pool(
            tf.constant([[[8.0], [1.0]]]),
            timestamps=tf.constant([[NOW, NOW]], tf.int64),
            query_time=tf.constant([NOW], tf.int64),
            actions=tf.constant([actions]),
            **others,
        )

    message = rf"(?s)one without a weight.* names ad, buy, .*ignore.* It is:.*{said}"
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        call(actions)
    # Padding may have any action, and an event after the query is no event.
    got = call(actions, mask=tf.constant([[True, False]]))
    np.testing.assert_allclose(got, [[8.0]])
    assert call([actions[0], actions[0]]).numpy().tolist() == [[4.5]]


def test_no_event_at_all_has_no_unknown_action():
    pool = TimeDecayPooling(Constant(), action_weights={"buy": 1.0})
    for shape in ((0, 3), (2, 0)):
        got = pool(
            tf.zeros([*shape, 1]),
            timestamps=tf.zeros(shape, tf.int64),
            query_time=tf.zeros(shape[:1], tf.int64),
            actions=tf.zeros(shape, tf.string),
        )
        np.testing.assert_array_equal(got, np.zeros([shape[0], 1]))


def test_actions_are_handed_on_to_a_pooling_that_does_not_read_them():
    got = pooled(TimeDecayPooling(Constant()), [[8.0]], [0], actions=[["gaze"]])
    np.testing.assert_allclose(got, [8.0])


@pytest.mark.parametrize("normalize", ["mean", "sum"])
def test_no_history_pools_to_zeros(normalize):
    pool = TimeDecayPooling(Exponential("7d"), normalize=normalize)
    none = pool(
        np.zeros([2, 0, 3], np.float32),
        timestamps=np.zeros([2, 0], np.int64),
        query_time=np.asarray([NOW, NOW]),
    )
    np.testing.assert_array_equal(none, np.zeros([2, 3]))
    masked = pooled(pool, [[5.0] * 3] * 2, [DAY, 0], mask=np.asarray([[False, False]]))
    np.testing.assert_array_equal(masked, [0.0] * 3)
    empty_batch = pool(
        np.zeros([0, 4, 3], np.float32),
        timestamps=np.zeros([0, 4], np.int64),
        query_time=np.zeros([0], np.int64),
    )
    assert empty_batch.shape == (0, 3)


def test_fifty_years_have_a_direction_when_every_weight_underflows():
    pool = TimeDecayPooling(Exponential("1d"))
    ages = [50 * 365 * DAY, 50 * 365 * DAY + DAY]
    assert np.exp(np.float32(-np.log(2) * 50 * 365)) == 0  # in float32, both are 0
    np.testing.assert_allclose(pooled(pool, [[3.0], [0.0]], ages), [2.0], rtol=1e-6)


@pytest.mark.parametrize(
    ("half_life", "idle", "gap"),
    [(1, 365 * DAY, 1), (60, 2 * 365 * DAY, 30), (3600, 10 * 365 * DAY, 3600)],
)
def test_a_gap_counts_in_full_however_long_ago_it_was(half_life, idle, gap):
    # The older of two events weighs 2^-(gap / half_life) of the younger, at any age.
    got = pooled(
        TimeDecayPooling(Exponential(half_life)), [[0.0], [1.0]], [idle, idle + gap]
    )
    ratio = 2 ** -(gap / half_life)
    np.testing.assert_allclose(got, [ratio / (1 + ratio)], rtol=1e-5)


def test_seconds_stay_apart_in_this_century():
    # float32 cannot tell NOW from NOW - 1; ages are subtracted as integers first.
    assert np.float32(NOW) == np.float32(NOW - 1)
    pool = TimeDecayPooling(Exponential("1s"))
    np.testing.assert_allclose(pooled(pool, [[3.0], [0.0]], [1, 0]), [1.0], rtol=1e-6)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_subtracts_integers_too(policy):
    pool = TimeDecayPooling(
        Exponential("1s"), dtype=tf_keras.mixed_precision.Policy(policy)
    )
    got = pooled(pool, [[3.0], [0.0]], [1, 0])
    np.testing.assert_allclose(got.astype(np.float32), [1.0], rtol=1e-2)


def test_gradients_are_finite_at_age_zero_and_at_fifty_years():
    pool = TimeDecayPooling(Exponential("1h", trainable=True, per_feature=True))
    vectors = tf.constant([[[1.0, 2.0], [3.0, 5.0], [2.0, 1.0]]])
    times = NOW - tf.constant([[0, 3600, 50 * 365 * DAY]], tf.int64)
    with tf.GradientTape() as tape:
        tape.watch(vectors)
        out = pool(vectors, timestamps=times, query_time=tf.constant([NOW], tf.int64))
        loss = tf.reduce_sum(out**2)
    gradients = tape.gradient(loss, [vectors, *pool.trainable_variables])
    for gradient in gradients:
        assert np.isfinite(gradient).all()
    assert np.abs(gradients[1]).min() > 0  # the rate of each feature is learned from it


def test_the_future_is_an_error_or_left_out():
    ahead = [-1_000_000, DAY]
    strict = TimeDecayPooling(Exponential("1d"))
    with pytest.raises(
        tf.errors.InvalidArgumentError, match="later than its query_time"
    ):
        pooled(strict, [[9.0], [1.0]], ahead)
    # Padding may hold any time.
    mask = np.asarray([[False, True]])
    np.testing.assert_allclose(pooled(strict, [[9.0], [1.0]], ahead, mask=mask), [1.0])
    lenient = TimeDecayPooling(Exponential("1d"), future="ignore")
    np.testing.assert_allclose(pooled(lenient, [[9.0], [1.0]], ahead), [1.0])


@pytest.mark.parametrize("time", [NOW * 1000, -NOW * 1000, -(2**63)])
def test_milliseconds_are_named(time):
    pool = TimeDecayPooling(Exponential("1d"))
    arguments = {"timestamps": np.asarray([[time]]), "query_time": np.asarray([time])}
    with pytest.raises(tf.errors.InvalidArgumentError, match="looks like milliseconds"):
        pool(np.ones([1, 1, 1], np.float32), **arguments)


histories = st.lists(
    st.tuples(
        st.integers(0, 10 * 365 * DAY),
        st.floats(-10, 10, width=32),
        st.floats(-10, 10, width=32),
        st.sampled_from(["browse", "purchase"]),
    ),
    min_size=1,
    max_size=12,
)


@settings(deadline=None, max_examples=60)
@given(
    history=histories, half_life=st.sampled_from([3600, DAY, 90 * DAY]), data=st.data()
)
def test_equals_arithmetic_whatever_the_order_and_the_padding(history, half_life, data):
    weight_of = {"browse": 0.2, "purchase": 1.0}
    pool = TimeDecayPooling(Exponential(half_life), action_weights=weight_of)
    ages = [event[0] for event in history]
    vectors = np.asarray([event[1:3] for event in history])
    actions = [event[3] for event in history]
    expected = pool_by_hand(vectors, ages, half_life, [weight_of[a] for a in actions])
    got = pooled(pool, vectors, ages, actions=np.asarray([actions]))
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)

    order = data.draw(st.permutations(range(len(history))))
    shuffled = pooled(
        pool,
        vectors[order],
        np.asarray(ages)[order],
        actions=np.asarray([actions])[:, order],
    )
    np.testing.assert_allclose(shuffled, got, rtol=1e-4, atol=1e-5)

    padding = data.draw(st.integers(1, 5))
    padded = pooled(
        pool,
        np.concatenate([vectors, np.full([padding, 2], 77.0)]),
        ages + [-5] * padding,
        actions=np.asarray([actions + ["browse"] * padding]),
        mask=np.asarray([[True] * len(history) + [False] * padding]),
    )
    np.testing.assert_allclose(padded, got, rtol=1e-5, atol=1e-6)


@settings(deadline=None, max_examples=30)
@given(shift=st.integers(-NOW // 2, NOW))
def test_shifting_every_time_changes_no_bit(shift):
    pool = TimeDecayPooling(Exponential("3d"))
    vectors = np.asarray([[[1.0], [2.0], [5.0]]], np.float32)
    times = NOW - np.asarray([[0, 5 * DAY, 7 * DAY]])
    here = pool(vectors, timestamps=times, query_time=np.asarray([NOW]))
    there = pool(
        vectors, timestamps=times + shift, query_time=np.asarray([NOW + shift])
    )
    np.testing.assert_array_equal(here, there)


def test_the_weights_can_be_read():
    pool = TimeDecayPooling(Exponential("1d"))
    pool.build([None, None, 2])
    weights = pool.weights_of_events(
        np.asarray([[NOW, NOW - DAY]]),
        np.asarray([NOW]),
        mask=np.asarray([[True, True]]),
    )
    np.testing.assert_allclose(weights, [[2 / 3, 1 / 3]], rtol=1e-6)


@pytest.mark.parametrize(
    "decay",
    [
        Constant(),
        Exponential("7d"),
        Exponential("7d", trainable=True, per_feature=True),
        Exponential(["1d", "2h"]),
    ],
    ids=repr,
)
@pytest.mark.parametrize("folder", ["model.keras", "model"])
def test_saves_and_loads_within_a_model_with_equal_values(tmp_path, decay, folder):
    vectors = tf_keras.Input([None, 2], name="vectors")
    times = tf_keras.Input([None], dtype=tf.int64, name="times")
    now = tf_keras.Input([], dtype=tf.int64, name="now")
    actions = tf_keras.Input([None], dtype=tf.string, name="actions")
    layer = TimeDecayPooling(decay, action_weights={"buy": 1.0, "see": 0.5})
    pooled_vectors = layer(vectors, timestamps=times, query_time=now, actions=actions)
    model = tf_keras.Model([vectors, times, now, actions], pooled_vectors)
    layer.set_weights([weight - 0.7 for weight in layer.get_weights()])
    inputs = [
        np.asarray([[[1.0, 2.0], [5.0, 3.0]]], np.float32),
        np.asarray([[NOW - DAY, NOW]]),
        np.asarray([NOW + 5]),
        tf.constant([["buy", "see"]]),
    ]
    before = model(inputs).numpy()
    model.save(tmp_path / folder)
    after = tf_keras.models.load_model(tmp_path / folder)
    np.testing.assert_array_equal(after(inputs).numpy(), before)
    assert after.get_layer(layer.name).decay == decay


def test_weights_before_the_layer_is_built_are_refused():
    with pytest.raises(ValueError, match=r"call it, or build\(\[None, None, dim\]\)"):
        TimeDecayPooling(Constant()).weights_of_events(TIMES, QUERY)


def test_config_round_trip():
    layer = TimeDecayPooling(
        Exponential("36h", trainable=True),
        action_weights={"buy": 1.0},
        normalize="sum",
        future="ignore",
        unknown_action="ignore",
        name="interest",
    )
    again = TimeDecayPooling.from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    assert again.decay == Exponential("36h", trainable=True)
    assert again.unknown_action == "ignore"
    # As it was written before there was such a choice.
    config = {**layer.get_config()}
    del config["unknown_action"]
    assert TimeDecayPooling.from_config(config).unknown_action == "error"


VECTORS = np.ones([1, 2, 3], np.float32)
TIMES = np.asarray([[NOW - 5, NOW]])
QUERY = np.asarray([NOW])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"timestamps": None}, r"timestamps is needed: \[batch, time\]"),
        ({"query_time": None}, r"query_time is needed: \[batch\]"),
        ({"timestamps": TIMES.astype(np.float32)}, "timestamps is float32: .*int64"),
        (
            {"timestamps": tf.cast(TIMES, tf.float64)},
            r"timestamps is float64: .* tf\.cast\(timestamps, tf\.int64\)",
        ),
        (
            {"timestamps": TIMES.astype("datetime64[s]")},
            r"timestamps is datetime64\[s\]: give integer seconds since the epoch, as "
            r"\.astype\('datetime64\[s\]'\)\.astype\('int64'\)",
        ),
        (
            {"query_time": [datetime.datetime(2024, 1, 1)]},
            "query_time is an array of datetime: give integer seconds",
        ),
        ({"query_time": QUERY[:, None]}, r"query_time has the shape \(1, 1\)"),
        ({"actions": None}, "actions are needed: .*'buy'"),
        ({"actions": np.asarray([[1.0, 2.0]])}, "actions are float64: give strings"),
        ({"vectors": VECTORS.tolist()}, "vectors is a nested list.*give a tensor"),
        ({"vectors": VECTORS[0]}, r"vectors have the shape \(2, 3\)"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_bad_argument_is_named(arguments, message):
    pool = TimeDecayPooling(Constant(), action_weights={"buy": 1.0})
    good = {
        "vectors": VECTORS,
        "timestamps": TIMES,
        "query_time": QUERY,
        "actions": np.asarray([["buy", "buy"]]),
    }
    chosen = {**good, **arguments}
    with pytest.raises(ValueError, match=message):
        pool(chosen.pop("vectors"), **chosen)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"timestamps": TIMES[:, :1]}, "vectors and timestamps must agree"),
        (
            {"query_time": np.asarray([NOW, NOW])},
            "timestamps and query_time must agree",
        ),
    ],
)
def test_shapes_that_do_not_agree_are_named(arguments, message):
    good = {"timestamps": TIMES, "query_time": QUERY}
    with pytest.raises((ValueError, tf.errors.InvalidArgumentError), match=message):
        TimeDecayPooling(Constant())(VECTORS, **{**good, **arguments})


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"decay": "exp"}, TypeError, "decay is a str: give a decay object"),
        ({"normalize": "max"}, ValueError, "normalize='max' is not one of"),
        ({"future": "clip"}, ValueError, "future='clip' is not one of"),
        ({"unknown_action": 0}, ValueError, "unknown_action=0 is not one of"),
        (
            {"action_weights": {"buy": -1.0}},
            ValueError,
            r"action_weights\['buy'\]=-1.0: weights are finite",
        ),
        (
            {"action_weights": {"buy": float("nan")}},
            ValueError,
            r"action_weights\['buy'\]=nan",
        ),
    ],
)
def test_a_bad_choice_is_named(arguments, error, message):
    with pytest.raises(error, match=message):
        TimeDecayPooling(**{"decay": Constant(), **arguments})


def test_as_many_rates_as_features():
    with pytest.raises(ValueError, match="has 2 values and the pooled vectors have 3"):
        pooled(TimeDecayPooling(Exponential(["1d", "2d"])), [[1.0, 1.0, 1.0]], [0])
