"""Batches: padding, order, truncation, sampling of targets, repeatability."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from tfrs_decay.data import RawLog, basket_queries, batches, clean


def events_of(rows, *further):
    names = ["user", "item", "time", "action", *further]
    table = pd.DataFrame(rows, columns=names)
    shuffled = table.sample(frac=1, random_state=5)
    return clean(RawLog(shuffled, None, {}, context=tuple(further[1:]))).events


@pytest.fixture
def events():
    return events_of(
        [
            ("u", "a", 10, "see"),
            ("u", "b", 20, "buy"),
            ("u", "c", 20, "see"),
            ("u", "d", 30, "buy"),
            ("v", "b", 15, "buy"),
            ("v", "a", 40, "buy"),
        ]
    )


def text(tensor):
    return [[one.decode() for one in row] for row in tensor.numpy()]


def test_a_batch_written_out(events):
    (batch,) = batches(basket_queries(events), events)
    assert text(batch["history_item"]) == [
        ["a", "", ""],
        ["a", "b", "c"],
        ["b", "", ""],
    ]
    assert batch["history_time"].numpy().tolist() == [
        [10, 0, 0],
        [10, 20, 20],
        [15, 0, 0],
    ]
    assert text(batch["history_action"]) == [
        ["see", "", ""],
        ["see", "buy", "see"],
        ["buy", "", ""],
    ]
    assert batch["history_length"].numpy().tolist() == [1, 3, 1]
    assert batch["query_time"].numpy().tolist() == [20, 30, 40]
    assert text(batch["target_item"]) == [["b", "c"], ["d", ""], ["a", ""]]
    assert batch["target_length"].numpy().tolist() == [2, 1, 1]


def test_the_latest_events_are_kept(events):
    (batch,) = batches(basket_queries(events), events, max_history=2)
    assert text(batch["history_item"])[1] == ["b", "c"]
    assert batch["history_length"].numpy().tolist() == [1, 2, 1]


def test_targets_are_drawn_from_the_basket_anew_each_time(events):
    data = batches(basket_queries(events), events, max_targets=1, shuffle_seed=1)
    drawn = set()
    for _ in range(20):
        for batch in data:
            assert batch["target_length"].numpy().tolist() == [1, 1, 1]
            for time, (target,) in zip(
                batch["query_time"].numpy(), text(batch["target_item"]), strict=True
            ):
                drawn.add((int(time), target))
    assert drawn == {(20, "b"), (20, "c"), (30, "d"), (40, "a")}


@pytest.fixture
def further_events():
    """As above, with a value and a device; one row has no device."""
    return events_of(
        [
            ("u", "a", 10, "see", 1.5, "phone"),
            ("u", "b", 20, "buy", 2.0, "desk"),
            ("u", "c", 20, "see", 0.0, None),
            ("u", "d", 30, "buy", 4.0, "phone"),
            ("v", "b", 15, "buy", 5.0, "desk"),
            ("v", "a", 40, "buy", -6.0, "phone"),
        ],
        *("value", "device"),
    )


def test_values_and_context_are_features_and_disturb_no_others(further_events, events):
    queries = basket_queries(further_events)
    (batch,) = batches(queries, further_events, max_history=2)
    assert batch["history_value"].numpy().tolist() == [[1.5, 0], [2, 0], [5, 0]]
    assert batch["target_value"].numpy().tolist() == [[2, 0], [4, 0], [-6, 0]]
    assert text(batch["history_device"]) == [["phone", ""], ["desk", ""], ["desk", ""]]
    assert text(batch["target_device"]) == [["desk", ""], ["phone", ""], ["phone", ""]]
    assert batch["history_value"].dtype == batch["target_value"].dtype == "float32"
    (plain,) = batches(queries, events, max_history=2)
    for name, column in plain.items():
        np.testing.assert_array_equal(batch.pop(name), column)
    assert len(batch) == 4


def test_a_target_that_is_drawn_keeps_what_goes_with_it(further_events):
    queries = basket_queries(further_events, until=20)
    data = batches(queries, further_events, max_targets=1)
    drawn = {
        (text(one["target_item"])[0][0], float(one["target_value"][0, 0]))
        + (text(one["target_device"])[0][0],)
        for _ in range(20)
        for one in data
    }
    assert drawn == {("b", 2.0, "desk"), ("c", 0.0, "")}


def epochs_of(shop_events, seed):
    data = batches(
        basket_queries(shop_events), shop_events, batch_size=50, shuffle_seed=seed
    )
    return [
        np.concatenate([batch["query_time"].numpy() for batch in data]).tolist()
        for _ in range(2)
    ]


def test_shuffling_repeats_from_its_seed_and_changes_with_the_epoch(shop_events):
    first, second = epochs_of(shop_events, 7)
    assert (first, second) == tuple(epochs_of(shop_events, 7))
    assert first != second
    assert sorted(first) == sorted(second) == sorted(basket_queries(shop_events).time)
    assert first != epochs_of(shop_events, 8)[0]


@pytest.mark.parametrize("name", ["batch_size", "max_history", "max_targets"])
def test_a_number_below_one_is_named(events, name):
    with pytest.raises(ValueError, match=f"{name}=0 must be 1 or more"):
        batches(basket_queries(events), events, **{name: 0})


def test_no_queries_are_named(events):
    with pytest.raises(ValueError, match="there are no queries to batch"):
        batches(basket_queries(events, after=99), events)


def test_weights_stay_with_their_targets(events):
    queries = basket_queries(events)
    assert events.items.ids[events.item[queries.target]].tolist() == [*"bcda"]
    weights = np.array([0.1, 0.2, 0.3, 0.4])
    (batch,) = batches(queries, events, target_weights=weights)
    expected = np.float32([[0.1, 0.2], [0.3, 0], [0.4, 0]])
    np.testing.assert_array_equal(batch["target_weight"], expected)
    drawn = batches(queries, events, target_weights=weights, max_targets=1)
    of_item = dict(zip("bcda", np.float32(weights).tolist(), strict=True))
    for _ in range(5):
        for batch in drawn.shuffle(3):
            (weight,) = batch["target_weight"].numpy().T.tolist()
            assert weight == [of_item[one] for (one,) in text(batch["target_item"])]
    (plain,) = batches(queries, events)
    assert "target_weight" not in plain
    with pytest.raises(ValueError, match=r"shape \(3,\): give one for each of the 4 t"):
        batches(queries, events, target_weights=weights[:3])


def test_a_fit_that_goes_on_gets_the_batches_of_the_passes_that_are_left(shop_events):
    queries = basket_queries(shop_events)

    def passes(made):
        tf.random.set_seed(4)
        data = batches(
            queries, shop_events, max_targets=1, shuffle_seed=5, passes_made=made
        )
        return [
            [one for batch in data for one in text(batch["target_item"])]
            for _ in range(4 - made)
        ]

    whole = passes(0)
    assert passes(2) == whole[2:]
    assert whole[0] != whole[1] != whole[2]
    with pytest.raises(ValueError, match=r"passes_made=-1 must be 0 or more"):
        passes(-1)
