"""What there is at the time of a query, and nothing else, is recommended."""

from __future__ import annotations

import numpy as np
import pytest

from tfrs_decay.data import basket_queries
from tfrs_decay.evaluation import Available, Popularity, evaluate

HOUR = 3_600


@pytest.fixture(scope="module")
def events(make_events):
    return make_events(
        ("u", 0, "a"), ("u", 2 * HOUR, "b"), ("v", HOUR, "a"), ("v", 3 * HOUR, "c")
    )


def test_an_item_is_there_from_its_first_second_to_its_last(events):
    popular = Popularity(events, until=3 * HOUR)
    shown = Available(popular, np.array([0, HOUR, 10]), np.array([HOUR, HOUR, 9]))
    assert shown.at(np.array([0, HOUR, HOUR + 1])).tolist() == [
        [True, False, False],
        [True, True, False],
        [False, False, False],
    ]
    assert shown.personal is False


def test_a_life_begins_with_the_first_event(events):
    popular = Popularity(events, until=3 * HOUR)
    queries = basket_queries(events)
    assert (queries.time // HOUR).tolist() == [2, 3]
    there = Available.from_first_event(popular, events, "2h")
    assert there(queries).tolist() == [[2, 1, -np.inf], [-np.inf, 1, 1]]
    lists = evaluate({"x": there}, queries, events, k=1)["x"].lists
    assert lists.tolist() == [[0], [1]]


def test_an_item_without_an_event_is_never_there(events):
    rest = events.where(events.item != 0)
    there = Available.from_first_event(Popularity(rest, until=3 * HOUR), rest, "90d")
    assert there.at(np.array([0, 4 * HOUR, 2**40])).any(axis=0).tolist() == [
        *(False, True, True)
    ]


def test_seconds_that_fit_no_catalogue_are_refused(events):
    popular = Popularity(events, until=3 * HOUR)
    with pytest.raises(ValueError, match=r"first is of shape \(2,\) and last of \(3,"):
        Available(popular, np.zeros(2), np.zeros(3))
    short = Available(popular, np.zeros(2), np.zeros(2))
    with pytest.raises(ValueError, match=r"3 items are scored, and first is of 2"):
        short(basket_queries(events))
