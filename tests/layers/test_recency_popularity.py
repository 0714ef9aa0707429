"""The table in a graph against plain loops, against NumPy, and through every file."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from independent_popularity import DAY, count, events_of, features

from tfrs_decay.layers import RecencyPopularity
from tfrs_decay.popularity import PopularityTable

ITEMS = 6
HALF_LIVES = ("2d", "45d", None)


@pytest.fixture(scope="module")
def rows():
    """A year of events of five of six items, mixed."""
    rng = np.random.default_rng(0)
    times = 1_700_000_000 + rng.integers(0, 365 * DAY, 300)
    return list(
        zip(times.tolist(), rng.integers(0, ITEMS - 1, 300).tolist(), strict=True)
    )


@pytest.fixture(scope="module")
def asked(rows):
    """Queries between the events, before all of them and long after."""
    times = [time for time, _ in rows[:20]]
    return np.array([*times, 0, -5, max(times) + 300 * DAY])


@pytest.fixture(scope="module")
def table(rows):
    return PopularityTable.of(events_of(rows, ITEMS), half_lives=HALF_LIVES)


def candidates(asked):
    return np.random.default_rng(1).integers(-2, ITEMS, [len(asked), 4])


def close(got, expected):
    np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-6)


def test_the_most_popular_are_those_with_the_highest_counts(table, asked):
    layer = RecencyPopularity.of(table)
    with pytest.raises(ValueError, match=r"keeps no lists: call keep_lists\(most\)"):
        layer.most_popular(asked)
    layer.keep_lists(2)
    layer.keep_lists(1)  # as long as the longest that was asked for
    found = layer.most_popular(asked)
    counts = layer(asked).numpy()
    best = np.take_along_axis(counts, found.numpy().transpose(0, 2, 1), axis=1)
    close(best, -np.sort(-counts, axis=1)[:, :2])
    again = RecencyPopularity.from_config(layer.get_config())
    again.keep_lists(2)
    again.set_weights(layer.get_weights())
    np.testing.assert_array_equal(again.most_popular(asked), found)
    with pytest.raises(ValueError, match="most=0 must be 1 or more"):
        layer.keep_lists(0)


def test_counts_and_features_against_plain_loops(rows, table, asked):
    layer = RecencyPopularity.of(table)
    seconds = (2 * DAY, 45 * DAY, None)
    expected = [
        [[count(rows, now, item, one) for one in seconds] for item in range(ITEMS)]
        for now in asked.tolist()
    ]
    close(layer(asked), expected)
    expected = [
        [features(rows, now, item) for item in range(ITEMS)] for now in asked.tolist()
    ]
    close(layer.features(asked), expected)
    assert len(layer.feature_names) == layer.features(asked).shape[-1] == 6


@pytest.mark.parametrize("half_lives", [("3h",), ("1d", "2d", "7d", "1y"), (None,)])
@pytest.mark.parametrize("period", ["1d", "1h"])
def test_it_is_what_numpy_computes(rows, asked, half_lives, period):
    table = PopularityTable.of(
        events_of(rows, ITEMS), half_lives=half_lives, period=period
    )
    layer = RecencyPopularity.of(table)
    places = candidates(asked)
    for items in (None, places):
        close(layer(asked, items=items), table.counts(asked, items))
        close(layer.features(asked, items), table.features(asked, items))
    assert layer.feature_names == table.feature_names


def test_items_one_by_one_are_those_of_all(table, asked):
    layer = RecencyPopularity.of(table)
    places = candidates(asked)
    everything, some = layer(asked).numpy(), layer(asked, items=places).numpy()
    for query, row in enumerate(places):
        for at, item in enumerate(row):
            expected = everything[query, item] if item >= 0 else np.zeros(3)
            assert some[query, at].tolist() == expected.tolist()
    assert (layer.features(asked, places).numpy()[places < 0][:, -2:] == 0).all()


def test_an_event_of_the_query_s_day_changes_nothing(rows, table):
    now = rows[7][0]
    start = now // DAY * DAY
    today = [(start, 1), (now - 1, 2), (now, 3), (now + 1, 4), (start + DAY, 5)]
    without = [row for row in rows if row[0] < start]
    for some in (without, without + today):
        layer = RecencyPopularity.of(
            PopularityTable.of(events_of(some, ITEMS), half_lives=HALF_LIVES)
        )
        expected = RecencyPopularity.of(table).features([now])
        np.testing.assert_array_equal(layer.features([now]), expected)


def test_types_and_shapes(table, asked):
    layer = RecencyPopularity.of(table, dtype="mixed_float16")
    places = tf.constant(candidates(asked), tf.int32)
    traced = tf.function(layer.features)
    for items, width in ((None, ITEMS), (places, 4)):
        assert layer(asked, items=items).dtype == tf.float32
        assert traced(tf.constant(asked), items).shape == (len(asked), width, 6)
    none = tf.zeros([0], tf.int64)
    assert layer(none).shape == (0, ITEMS, 3)
    assert layer(none, items=tf.zeros([0, 4], tf.int64)).shape == (0, 4, 3)
    assert layer(asked, items=tf.zeros([len(asked), 0], tf.int64)).shape[1] == 0
    int32 = tf.constant(asked, tf.int32)
    np.testing.assert_array_equal(layer(int32), layer(asked))
    assert layer.trainable_weights == []


def test_under_xla(table, asked):
    layer = RecencyPopularity.of(table)
    compiled = tf.function(layer.features, jit_compile=True)
    places = tf.constant(candidates(asked))
    close(compiled(tf.constant(asked), places), layer.features(asked, places))


def test_without_a_table_nothing_was_ever_popular(asked):
    layer = RecencyPopularity(ITEMS, HALF_LIVES)
    assert not layer(asked).numpy().any()
    expected = [np.log(0.1)] * 3 + [0] * 3
    close(layer.features(asked), np.broadcast_to(expected, [len(asked), ITEMS, 6]))


def test_refreshed_it_is_the_layer_of_the_new_table(rows, table):
    rows = sorted(rows)
    events = events_of(rows, ITEMS)
    cut = rows[150][0]
    half = PopularityTable.of(events, until=cut, half_lives=HALF_LIVES)
    layer = RecencyPopularity.of(half)
    traced = tf.function(layer.features)
    after = tf.constant([table.until + DAY, table.until + 40 * DAY])
    stale = traced(after).numpy()
    close(stale, half.features(after.numpy()))
    for new in (half.updated(events), half.latest().updated(events).latest()):
        layer.refresh(new)
        close(traced(after), table.features(after.numpy()))
    layer.refresh(half)
    np.testing.assert_array_equal(traced(after), stale)


def test_a_table_of_the_latest_rows_answers_from_the_next_day_on(table):
    day = table.until // DAY
    later = np.array([(day + 1) * DAY, (day + 9) * DAY])
    layer = RecencyPopularity.of(table.latest())
    close(layer(later), table.counts(later))
    for call in (layer, layer.features):
        with pytest.raises(
            tf.errors.InvalidArgumentError,
            match=r"query_time is of a day before those .* early='nearest' to serve",
        ):
            call([table.until])
    nearest = RecencyPopularity.of(table.latest(), early="nearest")
    np.testing.assert_array_equal(
        nearest.features([table.until, 0, -(10**11)]),
        np.repeat(nearest.features(later[:1]), 3, axis=0),
    )


def test_times_far_before_are_not_another_item_s(table):
    layer = RecencyPopularity.of(table)
    assert not layer([-(10**11), -1]).numpy().any()
    for far in (-(2**63), -(2**50)):
        with pytest.raises(
            tf.errors.InvalidArgumentError, match=r"query_time looks like milliseconds"
        ):
            layer([far])


def model_of(layer):
    query_time = tf_keras.Input([], dtype=tf.int64)
    items = tf_keras.Input([None], dtype=tf.int64)
    return tf_keras.Model([query_time, items], layer(query_time, items=items))


@pytest.mark.parametrize("name", ["weights", "some.weights.h5", "weights.h5"])
def test_weights_of_any_number_of_rows_are_loaded(table, asked, tmp_path, name):
    model = model_of(RecencyPopularity.of(table, early="nearest"))
    again = model_of(RecencyPopularity(ITEMS, HALF_LIVES, early="nearest"))
    places = candidates(asked)
    for one in (table, table.latest()):
        model.layers[-1].refresh(one)
        model.save_weights(tmp_path / name)
        again.load_weights(tmp_path / name)
        np.testing.assert_array_equal(again([asked, places]), model([asked, places]))
    again.layers[-1].refresh(table)
    close(again([asked, places]), table.counts(asked, places))


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
@pytest.mark.parametrize("name", ["model.keras", "model.h5", "model"])
def test_models_are_saved_and_loaded(table, asked, tmp_path, name):
    model = model_of(RecencyPopularity.of(table.latest(), early="nearest"))
    model.layers[-1].refresh(table)
    model.save(tmp_path / name)
    again = tf_keras.models.load_model(tmp_path / name)
    places = candidates(asked)
    np.testing.assert_array_equal(again([asked, places]), model([asked, places]))
    assert again.layers[-1].get_config() == model.layers[-1].get_config()
    again.layers[-1].refresh(table.latest())
    later = np.full(len(asked), table.until + 9 * DAY)
    close(again([later, places]), table.counts(later, places))


class Head(tf_keras.Model):
    """What a ranking head is: a model that asks for features."""

    def __init__(self, popularity):
        super().__init__()
        self.popularity = popularity
        self.score = tf_keras.layers.Dense(1)

    def call(self, inputs):
        return self.score(self.popularity.features(*inputs))


def test_a_head_on_features_is_trained_and_loaded(table, asked, tmp_path):
    head = Head(RecencyPopularity.of(table))
    inputs = tf.constant(asked), tf.constant(candidates(asked))
    before = [one.numpy() for one in head.popularity.weights]
    head.compile("sgd", "mse")
    head.fit(inputs, np.ones([len(asked), 4, 1]), verbose=0)
    for one, value in zip(head.popularity.weights, before, strict=True):
        np.testing.assert_array_equal(one, value)
    assert len(head.trainable_weights) == 2
    later = tf.fill([len(asked)], table.until + DAY), inputs[1]
    expected = head(later)
    head.popularity.refresh(table.latest())
    close(head(later), expected)
    head.save_weights(tmp_path / "head")
    again = Head(RecencyPopularity(ITEMS, HALF_LIVES))
    again(later)
    again.load_weights(tmp_path / "head")
    np.testing.assert_array_equal(again(later), head(later))


def test_a_saved_model_has_the_table_it_was_refreshed_with(table, tmp_path):
    class Served(tf.Module):
        def __init__(self, layer):
            super().__init__()
            self.layer = layer

        @tf.function(input_signature=[tf.TensorSpec([None], tf.int64)])
        def features(self, query_time):
            return self.layer.features(query_time)

    served = Served(RecencyPopularity(ITEMS, HALF_LIVES, early="nearest"))
    later = np.array([table.until + 3 * DAY, table.until + 90 * DAY])
    served.features(later)  # traced with a table of no rows
    served.layer.refresh(table.latest())
    tf.saved_model.save(served, tmp_path)
    loaded = tf.saved_model.load(tmp_path)
    close(loaded.features(later), table.features(later))


def test_the_config_is_small_and_whole(table):
    layer = RecencyPopularity.of(table, early="nearest", name="popularity")
    config = layer.get_config()
    assert config["half_lives"] == [2 * DAY, 45 * DAY, None]
    assert len(str(config)) < 300
    assert RecencyPopularity.from_config(config).get_config() == config


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_items": 0}, r"n_items=0 must be 1 or more"),
        ({"early": "never"}, r"early='never' is not one of \('error', 'nearest'\)"),
        ({"half_lives": ["2d", "1d"]}, r"half_lives=\['2d', '1d'\] must rise"),
        ({"period": 1.5}, r"period=1\.5 must be a whole number of seconds"),
    ],
)
def test_what_is_out_of_range_is_named(options, message):
    with pytest.raises(ValueError, match=message):
        RecencyPopularity(**{"n_items": ITEMS, **options})


def test_another_s_table_is_refused(rows, table):
    layer = RecencyPopularity.of(table)
    events = events_of(rows, ITEMS + 1)
    with pytest.raises(
        ValueError, match=r"the table's n_items is 7, .* layer's 6: make"
    ):
        layer.refresh(PopularityTable.of(events, half_lives=HALF_LIVES))
    events = events_of(rows, ITEMS)
    with pytest.raises(ValueError, match=r"the table's half_lives is \(172800\.0,\)"):
        layer.refresh(PopularityTable.of(events, half_lives=["2d"]))
    with pytest.raises(
        ValueError, match=r"the table's period is 3600, and the layer's"
    ):
        layer.refresh(PopularityTable.of(events, half_lives=HALF_LIVES, period="1h"))


@pytest.mark.parametrize(
    ("query_time", "items", "message"),
    [
        ([1.0], None, r"query_time is float.*: give \[batch\] seconds"),
        ([[1]], None, r"query_time has the shape \(1, 1\): give \[batch\]"),
        ([1], [[1.0]], r"items are float32 of the shape \(1, 1\): give integer places"),
        (
            [1],
            [1],
            r"items are int32 of the shape \(1,\): give integer places, \[batch",
        ),
        ([1], tf.ragged.constant([[1]]), r"items are ragged: give them padded"),
    ],
)
def test_what_is_of_another_type_or_rank_is_named(table, query_time, items, message):
    layer = RecencyPopularity.of(table)
    with pytest.raises(ValueError, match=message):
        layer.features(query_time, items)


@pytest.mark.parametrize(
    ("query_time", "items", "message"),
    [
        ([1], [[ITEMS]], r"items hold a place that none of 6 has"),
        ([1, 2], [[0]], r"items and query_time must agree in batch"),
        ([10**12], None, r"query_time looks like milliseconds"),
        ([-(10**12)], None, r"query_time looks like milliseconds"),
    ],
)
def test_what_does_not_fit_is_named_when_it_runs(table, query_time, items, message):
    layer = RecencyPopularity.of(table)
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        tf.function(layer.features)(tf.constant(query_time, tf.int64), items)
