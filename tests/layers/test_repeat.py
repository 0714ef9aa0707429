"""Repeats: sums of each item's own events, against plain loops."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from hypothesis import given, settings
from hypothesis import strategies as st

from tfrs_decay.decay import Constant, Exponential, PowerLaw
from tfrs_decay.layers import Repeats
from tfrs_decay.layers.own_items import NO_ITEM, OwnItems, later_baskets
from tfrs_decay.layers.top_k import LOWEST_SCORE
from tfrs_decay.return_times import ReturnTimes

DAY = 86_400
NOW = 1_700_000_000
ITEMS = 6
DECAYS = [Constant(), Exponential("7d"), PowerLaw("1d", 0.5), Exponential(2, by="rank")]
KERNELS = ReturnTimes(
    share=np.linspace(0.1, 0.9, ITEMS),
    scale=np.linspace(1, 6, ITEMS) * DAY,
    peak=np.linspace(20, 40, ITEMS) * DAY,
    width=np.linspace(2, 9, ITEMS) * DAY,
    gaps=np.full(ITEMS, 30),
    usual=np.linspace(0.5, 4, ITEMS),
    again=np.linspace(0, 1, ITEMS),
)

histories = st.lists(
    st.lists(
        st.tuples(
            st.integers(-1, ITEMS - 1), st.sampled_from([0, 1, 1, 3, 40, 200, -2])
        ),
        max_size=7,
    ),
    min_size=1,
    max_size=3,
)


def batch_of(rows):
    width = max(1, *map(len, rows))
    item = np.full([len(rows), width], -1)
    time = np.zeros([len(rows), width], np.int64)
    for n, row in enumerate(rows):
        for m, (one, days) in enumerate(row):
            item[n, m], time[n, m] = one, NOW - days * DAY
    return item, time, np.full(len(rows), NOW)


def features_by_loops(row, candidate):
    """The definition, for one user and one item."""
    events = [(item, days) for item, days in row if item >= 0 and days >= 0]
    own = [days for item, days in events if item == candidate]
    if not own:
        return [0.0] * 12
    counts = []
    for decay in DECAYS:
        total = 0.0
        for days in own:
            later = len({other for _, other in events if other < days})
            rank = "rank" in decay.clocks
            total += decay.weight(later if rank else days * DAY)
        counts.append(np.log1p(total))
    kernel = sum(float(KERNELS.kernel(candidate, days * DAY)) for days in own)
    last = min(own)
    since = [np.log1p(last), np.log1p(max(own))]
    since.append(np.log1p(len({days for _, days in events if days < last})))
    gap = (max(own) - last) / max(len(own) - 1, 1)
    since.append(since[0] - np.log1p(gap) if len(own) > 1 else 0.0)
    of_item = [since[0] - KERNELS.usual[candidate], KERNELS.again[candidate]]
    return [1.0, *counts, *since, np.log1p(kernel), *of_item]


@pytest.fixture(scope="module")
def layer():
    return Repeats(ITEMS, DECAYS, return_times=KERNELS)


@settings(max_examples=60, deadline=None)
@given(histories)
def test_features_are_those_of_the_definition(rows):
    layer = Repeats(ITEMS, DECAYS, return_times=KERNELS)
    candidates = np.tile(np.arange(-1, ITEMS), [len(rows), 1])
    found = layer.features(*batch_of(rows), candidates).numpy()
    assert found.shape == (len(rows), ITEMS + 1, len(layer.feature_names))
    for n, row in enumerate(rows):
        expected = [features_by_loops(row, one) for one in range(-1, ITEMS)]
        expected[0] = [0.0] * 12  # -1 stands for no item, also in a history
        np.testing.assert_allclose(found[n], expected, rtol=1e-5, atol=1e-6)


ROWS = [[(0, 1), (0, 40), (3, 1), (2, 200)], [(5, 0)], []]


def test_the_catalogue_has_the_scores_of_its_items(layer):
    everything = layer(*batch_of(ROWS)).numpy()
    candidates = np.tile(np.arange(ITEMS), [3, 1])
    some = layer(*batch_of(ROWS), candidates).numpy()
    np.testing.assert_allclose(everything, some, rtol=1e-6)
    assert (everything != 0).tolist() == [
        [True, False, True, True, False, False],
        [False] * 5 + [True],
        [False] * 6,
    ]


def test_order_padding_and_the_mask_change_nothing(layer):
    item, time, now = batch_of(ROWS)
    expected = layer(item, time, now).numpy()
    order = np.random.default_rng(0).permutation(item.shape[1])
    np.testing.assert_array_equal(layer(item[:, order], time[:, order], now), expected)
    padded = np.pad(item, [[0, 0], [0, 2]], constant_values=1)
    times = np.pad(time, [[0, 0], [0, 2]], constant_values=NOW * 1000)
    mask = np.arange(6)[None] < item.shape[1]
    mask = np.broadcast_to(mask, padded.shape)
    np.testing.assert_array_equal(layer(padded, times, now, mask=mask), expected)


def test_one_argument_says_whether_things_come_back():
    item, time, now = batch_of(ROWS)
    had = np.zeros([3, ITEMS], bool)
    had[[0, 0, 0, 1], [0, 2, 3, 5]] = True
    off = Repeats(ITEMS, DECAYS, repeats="off")
    assert not off(item, time, now).numpy().any()
    never = Repeats(ITEMS, DECAYS, repeats="never")(item, time, now).numpy()
    np.testing.assert_array_equal(never, np.where(had, LOWEST_SCORE, 0))
    on = Repeats(ITEMS, DECAYS, repeats="on")
    counts = [features_by_loops(ROWS[0], 0)[1:5], features_by_loops(ROWS[1], 5)[1:5]]
    found = on(item, time, now).numpy()
    np.testing.assert_allclose(
        [found[0, 0], found[1, 5]], np.mean(counts, axis=1), rtol=1e-6
    )
    assert not on.trainable_variables
    learned = Repeats(ITEMS, [Exponential("7d", trainable=True)])
    learned.build()
    assert len(learned.trainable_variables) == 2


@pytest.mark.integration  # slow
def test_weights_and_half_lives_are_learned():
    rng = np.random.default_rng(0)
    item = rng.integers(0, ITEMS, [200, 12])
    time = NOW - rng.integers(0, 60, [200, 12]) * DAY
    now = np.full(200, NOW)
    teacher = Repeats(ITEMS, Exponential("5d"), repeats="on")
    target = teacher(item, time, now)
    layer = Repeats(ITEMS, Exponential("20d", trainable=True))
    optimizer = tf_keras.optimizers.Adam(0.05)
    losses = []
    for _ in range(150):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(layer(item, time, now) - target))
        gradients = tape.gradient(loss, layer.trainable_variables)
        assert all(np.isfinite(one.numpy()).all() for one in gradients)
        optimizer.apply_gradients(
            zip(gradients, layer.trainable_variables, strict=True)
        )
        losses.append(float(loss))
    assert losses[-1] < 0.02 * losses[0]


def test_it_is_written_down_and_saved(layer, tmp_path):
    layer.build()
    again = Repeats.from_config(layer.get_config())
    again.build()
    again.set_weights(layer.get_weights())
    expected = layer(*batch_of(ROWS)).numpy()
    np.testing.assert_array_equal(again(*batch_of(ROWS)), expected)
    tf.saved_model.save(
        layer,
        str(tmp_path / "saved"),
        signatures=tf.function(
            lambda item, time, now: {"score": layer(item, time, now)},
            input_signature=[
                tf.TensorSpec([None, None], tf.int64, "item"),
                tf.TensorSpec([None, None], tf.int64, "time"),
                tf.TensorSpec([None], tf.int64, "now"),
            ],
        ),
    )
    loaded = tf.saved_model.load(str(tmp_path / "saved"))
    item, time, now = map(tf.constant, batch_of(ROWS))
    found = loaded.signatures["serving_default"](item=item, time=time, now=now)
    np.testing.assert_allclose(found["score"], expected, rtol=1e-6)


def test_a_catalogue_that_grows_keeps_what_was_learned(layer):
    before = layer(*batch_of(ROWS)).numpy()
    layer.set_weights([one + 0.25 for one in layer.get_weights()])
    more = layer.with_items(ITEMS + 2)
    found = more(*batch_of(ROWS)).numpy()
    np.testing.assert_array_equal(found[:, :ITEMS], layer(*batch_of(ROWS)))
    assert not found[:, ITEMS:].any()
    assert (found[:, :ITEMS] != before).any()
    kernels = {one.name.split(":")[0]: one.numpy() for one in more.weights}
    of_new = kernels["return_times"][ITEMS:]
    old = kernels["return_times"][:ITEMS]
    np.testing.assert_array_equal(of_new, [np.median(old, axis=0)] * 2)
    with pytest.raises(ValueError, match="n_items=5 is below the 6 that there are"):
        layer.with_items(5)


def test_no_events_at_all(layer):
    empty = np.zeros([2, 0], np.int64)
    now = np.full(2, NOW)
    assert not layer(empty, empty, now).numpy().any()
    candidates = np.array([[0], [-1]])
    assert not layer.features(empty, empty, now, candidates).numpy().any()
    assert layer(empty[:0], empty[:0], now[:0]).shape == [0, ITEMS]


def test_the_strongest_of_what_a_user_had(layer):
    own = layer.own_items(*batch_of(ROWS))
    assert isinstance(own, OwnItems)
    found = own.strongest(own.sums[..., 0], 2)
    assert found.item[0].numpy().tolist() == [0, 2]  # two events; then the lower place
    assert found.item[1].numpy().tolist() == [5, NO_ITEM]
    assert found.item[2].numpy().tolist() == [NO_ITEM, NO_ITEM]
    assert found.events.numpy().tolist() == [[2, 1], [1, 0], [0, 0]]
    fullest = int((own.item != NO_ITEM).numpy().sum(axis=1).max())
    assert own.strongest(own.sums[..., 0], 9).item.shape == [3, fullest]


def test_baskets_are_moments():
    age = tf.constant([[5, 0, 5, 9], [3, 3, 3, 3]], tf.int64)
    counts = tf.constant([[True] * 4, [True, False, True, True]])
    assert later_baskets(age, counts).numpy().tolist() == [[1, 0, 1, 2], [0, 0, 0, 0]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_items": 0}, "n_items=0 must be 1 or more"),
        ({"repeats": "maybe"}, r"repeats='maybe' is not one of \('off', 'on'"),
        ({"decays": []}, "decays=.* is empty"),
        ({"decays": Exponential("7d", per_feature=True)}, "has a rate for each"),
        ({"decays": Exponential({"a": "7d", "*": "1d"})}, "has a rate for each"),
        ({"n_items": 7, "return_times": KERNELS}, "of 6 items, and the catalogue"),
    ],
)
def test_what_makes_no_layer(options, message):
    with pytest.raises(ValueError, match=message):
        Repeats(**{"n_items": ITEMS, "decays": DECAYS, **options})


def test_what_is_no_history(layer):
    item, time, now = batch_of(ROWS)
    with pytest.raises(ValueError, match=r"item is float32 .* integer places"):
        layer(item.astype(np.float32), time, now)
    with pytest.raises(ValueError, match="timestamps is float64"):
        layer(item, time.astype(float), now)
    with pytest.raises(tf.errors.InvalidArgumentError, match="beyond the 6"):
        layer(item + 1, time, now)
    with pytest.raises(tf.errors.InvalidArgumentError, match="looks like milliseconds"):
        layer(item, time, now * 1000)
    with pytest.raises(ValueError, match="was made without return_times"):
        Repeats(ITEMS).set_return_times(KERNELS)
