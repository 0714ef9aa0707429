"""What was shown and not taken, as negatives of batches."""

from __future__ import annotations

import numpy as np
import pytest

from tfrs_decay.data import Events, Items, Skipped, basket_queries, batches, grow

# ann: mug, then cup and jug at once, then tin; bob: tin, then mug.
EVENTS = Events(
    user=np.array([0, 0, 0, 0, 1, 1]),
    time=np.array([10, 20, 20, 30, 10, 40]),
    action=np.zeros(6, np.int64),
    item=np.array([0, 1, 2, 3, 3, 0]),
    users=np.array(["ann", "bob"], object),
    actions=("click",),
    items=Items(["mug", "cup", "jug", "tin"]),
)


def skipped(of_event, from_list=None):
    """Of names by event; one that is empty came from a list if `from_list` says."""
    names = np.array(["tin", "gone", "mug", "jug", "cup"], object)
    flat = [one for each in of_event for one in each]
    length = [len(each) for each in of_event]
    return Skipped(
        offset=np.cumsum([0, *length]),
        item=np.array([names.tolist().index(one) for one in flat], np.int64),
        items=names,
        from_list=np.array([bool(one) for one in length]) | bool(from_list),
    )


SKIPPED = skipped([["cup"], ["tin", "gone"], ["tin", "mug", "cup"], [], [], ["jug"]])


def test_a_query_skipped_what_its_targets_lists_had_once():
    queries = basket_queries(EVENTS)
    assert queries.time.tolist() == [20, 30, 40]
    offset, place, beside = SKIPPED.of_queries(queries, EVENTS)
    # The cup was taken in the same basket, and "gone" is in no catalogue.
    assert offset.tolist() == [0, 2, 2, 3]
    assert place.tolist() == [0, 3, 2]
    assert beside.tolist() == [True, True, False, True]
    assert SKIPPED.unknown(EVENTS.items) == 1


def test_batches_have_them_padded():
    queries = basket_queries(EVENTS)
    (batch,) = batches(queries, EVENTS, skipped=SKIPPED)
    assert batch["negative_length"].numpy().tolist() == [2, 0, 1]
    assert batch["negative_item"].numpy().tolist() == [
        [b"mug", b"tin"],
        [b"", b""],
        [b"jug", b""],
    ]
    listed = [[True, True], [False, False], [True, False]]
    assert batch["target_from_list"].numpy().tolist() == listed
    assert "negative_item" not in next(iter(batches(queries, EVENTS)))


def test_of_a_basket_each_target_goes_by_its_own_list():
    # The jug came of no list, and the cup of one with a jug and what nobody knows.
    mixed = skipped([[], ["jug", "gone"], [], [], [], []])
    offset, place, beside = mixed.of_queries(basket_queries(EVENTS), EVENTS)
    assert offset.tolist() == [0] * 4 and not beside.any() and not len(place)
    mixed = skipped([[], ["mug"], [], [], [], []])
    (batch,) = batches(basket_queries(EVENTS), EVENTS, skipped=mixed)
    assert batch["target_from_list"].numpy()[0].tolist() == [True, False]
    assert batch["negative_item"].numpy()[0].tolist() == [b"mug"]


@pytest.mark.parametrize("seed", range(4))
def test_a_target_that_is_not_drawn_was_not_skipped(seed):
    # The cup's list had the jug, which was taken as well.
    beside = skipped([[], ["jug", "tin"], ["cup", "tin"], [], [], []])
    data = batches(
        basket_queries(EVENTS),
        EVENTS,
        skipped=beside,
        max_targets=1,
        shuffle_seed=seed,
        batch_size=1,
    )
    (batch,) = [one for one in data if one["query_time"].numpy() == [20]]
    assert batch["target_item"].shape == (1, 1)
    assert batch["negative_item"].numpy().tolist() == [[b"tin"]]
    assert batch["target_from_list"].numpy().tolist() == [[True]]


def test_a_log_that_skipped_nothing_has_no_column_of_them():
    (batch,) = batches(basket_queries(EVENTS), EVENTS, skipped=skipped([[]] * 6))
    assert batch["negative_item"].shape == (3, 0)
    assert batch["negative_length"].numpy().tolist() == [0, 0, 0]


def test_they_move_with_their_events_into_a_longer_log():
    first = EVENTS.where(np.array([4, 0]))  # bob's tin and ann's mug
    first = first.where(np.lexsort([first.time, first.user]))
    grown = grow(first, EVENTS)
    moved = SKIPPED.moved(grown.row, len(grown.events))
    queries = basket_queries(grown.events)
    np.testing.assert_array_equal(
        moved.of_queries(queries, grown.events).place,
        SKIPPED.of_queries(basket_queries(EVENTS), EVENTS).place,
    )
    np.testing.assert_array_equal(moved.from_list[grown.row], SKIPPED.from_list)
    # In a log that has more than these, the others skipped nothing.
    more = SKIPPED.moved(np.array([1, 2, 4, 5, 6, 8]), 10)
    assert np.diff(more.offset).tolist() == [0, 1, 2, 0, 3, 0, 0, 0, 1, 0]
    assert np.flatnonzero(more.from_list).tolist() == [1, 2, 4, 8]


def test_what_does_not_fit_is_named():
    with pytest.raises(ValueError, match=r"skipped is of 6 events, and the log has 5"):
        SKIPPED.of_queries(basket_queries(EVENTS), EVENTS.where(np.arange(5)))
    names = np.array(["a"], object)
    for parts, message in (
        (([1, 2], [0, 0], [True]), r"offset=\[1 2\] must rise from 0 to the 2"),
        (([0, 2, 1], [0], [True, True]), r"offset=\[0 2 1\] must rise"),
        (([0, 1], [0], []), r"from_list has the shape \(0,\): give one for .* 1 event"),
        (([0, 1], [1], [True]), r"item holds 1: each must be a place in the 1 items"),
    ):
        with pytest.raises(ValueError, match=message):
            offset, item, from_list = (np.array(one) for one in parts)
            Skipped(offset, item, names, from_list)


def test_lists_are_known_without_what_was_skipped():
    only = SKIPPED.without_items()
    assert only.from_list.tolist() == SKIPPED.from_list.tolist()
    assert not only.of_queries(basket_queries(EVENTS), EVENTS).beside.any()


def test_its_report_counts():
    assert SKIPPED.report() == (
        "7 items skipped beside what 4 of 6 events took; 2 took nothing from a list"
    )
