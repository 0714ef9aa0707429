"""What was passed over in lists, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from tfrs_decay.data import Events, Items
from tfrs_decay.feedback import Served, join, skipped

ITEMS = ["a", "b", "c", "d", "e"]
# Ann saw a to e in order, and then d and a; bob saw c and b.
SHOWN = {
    "user": ["ann"] * 7 + ["bob"] * 2,
    "item": [*ITEMS, "d", "a", "c", "b"],
    "time": [100] * 5 + [1_000] * 2 + [100] * 2,
    "position": [1, 2, 3, 4, 5, 1, 2, 1, 2],
}


def joined(clicks, order=None, actions=None):
    table = {name: np.array(column, object) for name, column in SHOWN.items()}
    if order is not None:
        table = {name: column[order] for name, column in table.items()}
    user, item, time = zip(
        *sorted(clicks, key=lambda one: (one[0], one[2])), strict=True
    )
    events = Events(
        user=np.array([["ann", "bob"].index(one) for one in user]),
        time=np.array(time),
        action=np.array(actions or [0] * len(user)),
        item=np.array([ITEMS.index(one) for one in item]),
        users=np.array(["ann", "bob"], object),
        actions=("click", "browse"),
        items=Items(ITEMS),
    )
    return join(Served.of(table), events)


def names(found):
    return [
        sorted(found.items[found.item[first:last]])
        for first, last in zip(found.offset, found.offset[1:], strict=False)
    ]


CLICKS = [
    ("ann", "b", 110),
    ("ann", "c", 120),
    ("ann", "a", 1_010),  # in the second list
    ("ann", "e", 9_000),  # by herself, long after
    ("bob", "c", 110),
    ("bob", "e", 120),  # it was not shown to him
]


@pytest.mark.parametrize("order", [None, np.arange(9)[::-1], np.roll(np.arange(9), 4)])
def test_what_stands_above_a_click_or_just_below_was_skipped(order):
    found = skipped(joined(CLICKS, order))
    assert names(found) == [["a", "d"], ["a", "d"], ["d"], [], ["b"], []]
    assert found.from_list.tolist() == [True, True, True, False, True, False]


def test_how_far_below_may_be_said():
    found = joined(CLICKS)
    assert names(skipped(found, below=0)) == [["a"], ["a"], ["d"], [], [], []]
    assert names(skipped(found, below=None))[0] == ["a", "d", "e"]
    # A list in which all was taken had nothing to skip, and was a list.
    assert skipped(found, below=0).from_list[4]
    with pytest.raises(ValueError, match=r"below=-1 must be 0 or more, or None"):
        skipped(found, below=-1)


def test_an_item_that_was_opened_was_not_skipped():
    # Ann opened a and then took b; browsing is not joined by itself.
    found = joined([("ann", "a", 105), ("ann", "b", 110)], actions=[1, 0])
    assert found.impression.tolist() == [-1, 1]
    passed = skipped(found)
    assert names(passed) == [["c"], ["c"]] and passed.from_list.all()


def test_a_list_is_looked_at_as_deep_as_its_places_say():
    table = {
        "user": ["ann"] * 3,
        "item": ["a", "b", "c"],
        "time": [100] * 3,
        "position": [1, 4, 5],  # something else stood between
    }
    clicks = joined([("ann", "a", 110)]).events
    assert names(skipped(join(Served.of(table), clicks))) == [[]]
    assert names(skipped(join(Served.of(table), clicks), below=3)) == [["b"]]
