"""Metrics against lists of six to count by hand, and against plain loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfrs_decay.evaluation import (
    diversity_at_k,
    hit_rate_at_k,
    mrr_at_k,
    ndcg_at_k,
    novelty_at_k,
    precision_at_k,
    recall_at_k,
    self_information,
)

METRICS = [recall_at_k, precision_at_k, ndcg_at_k, mrr_at_k, hit_rate_at_k]

# 1 / log2(rank + 1) at the ranks 1 to 6.
GAIN = [1.0, 0.63092975, 0.5, 0.43067656, 0.38685281, 0.35620719]


def csr(*baskets: list[int]) -> tuple[np.ndarray, np.ndarray]:
    sizes = [len(basket) for basket in baskets]
    return (
        np.array([item for basket in baskets for item in basket], np.int64),
        np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
    )


BY_HAND = {
    # list of six, basket: recall, ndcg
    "first and only": ([5, 3, 1, 0, 2, 4], [5], 1, 1.0),
    "last and only": ([5, 3, 1, 0, 2, 4], [4], 1, GAIN[5]),
    "two of three": (
        [5, 3, 1, 0, 2, 4],
        [0, 9, 3],
        2 / 3,
        (GAIN[1] + GAIN[3]) / (GAIN[0] + GAIN[1] + GAIN[2]),
    ),
    "none": ([5, 3, 1, 0, 2, 4], [6, 7], 0, 0.0),
    "all of six": ([5, 3, 1, 0, 2, 4], [0, 1, 2, 3, 4, 5], 1, 1.0),
    "basket of seven": ([5, 3, 1, 0, 2, 4], [0, 1, 2, 3, 4, 5, 6], 1, 1.0),
    "three of eight": (
        [5, 3, 1, 0, 2, 4],
        [5, 1, 4, 20, 21, 22, 23, 24],
        3 / 6,
        (GAIN[0] + GAIN[2] + GAIN[5]) / sum(GAIN),
    ),
    "list of two": ([3, 0, -1, -1, -1, -1], [0, 7], 1 / 2, GAIN[1] / (1 + GAIN[1])),
    "empty list": ([-1, -1, -1, -1, -1, -1], [0], 0, 0.0),
    "named twice": ([5, 3, 1, 0, 2, 4], [3, 9, 3], 1 / 2, GAIN[1] / (1 + GAIN[1])),
    "item zero": ([0, 3, 1, 5, 2, 4], [0], 1, 1.0),
    "large codes": ([2**62, 3, 1, 0, 2, 4], [2**62], 1, 1.0),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_one_list_counted_by_hand(name):
    top, basket, recall, ndcg = BY_HAND[name]
    arguments = np.array([top]), *csr(basket)
    assert recall_at_k(*arguments) == pytest.approx([recall])
    assert ndcg_at_k(*arguments) == pytest.approx([ndcg], abs=1e-7)


def test_each_query_has_its_own_basket():
    top = np.array([top for top, *_ in BY_HAND.values()])
    arguments = top, *csr(*(basket for _, basket, *_ in BY_HAND.values()))
    recall, ndcg = recall_at_k(*arguments), ndcg_at_k(*arguments)
    assert recall.dtype == ndcg.dtype == np.float64
    assert recall == pytest.approx([case[2] for case in BY_HAND.values()])
    assert ndcg == pytest.approx([case[3] for case in BY_HAND.values()], abs=1e-7)


def test_no_queries_have_no_figures():
    nothing = np.zeros((0, 6), np.int64), *csr()
    assert recall_at_k(*nothing).shape == ndcg_at_k(*nothing).shape == (0,)


@st.composite
def measured(draw):
    """Lists of at most k of nine items, some shorter, with baskets to match."""
    k = draw(st.integers(1, 6))
    queries = draw(st.integers(1, 5))
    top, baskets = [], []
    for _ in range(queries):
        length = draw(st.integers(0, k))
        ranked = draw(st.permutations(range(9)))[:length]
        top.append(ranked + [-1] * (k - length))
        baskets.append(draw(st.lists(st.integers(0, 11), min_size=1, max_size=9)))
    return np.array(top, np.int64), baskets


def slow_recall(top: list[int], basket: list[int]) -> float:
    hits = len([item for item in top if item in basket])
    return hits / min(len(top), len(set(basket)))


def slow_ndcg(top: list[int], basket: list[int]) -> float:
    gain = ideal = 0.0
    for place, item in enumerate(top):
        if item in basket:
            gain += 1 / math.log2(place + 2)
    for place in range(min(len(top), len(set(basket)))):
        ideal += 1 / math.log2(place + 2)
    return gain / ideal


def slow_precision(top: list[int], basket: list[int]) -> float:
    return len([item for item in top if item in basket]) / len(top)


def slow_mrr(top: list[int], basket: list[int]) -> float:
    for place, item in enumerate(top):
        if item in basket:
            return 1 / (place + 1)
    return 0.0


def slow_hit_rate(top: list[int], basket: list[int]) -> float:
    return 1.0 if set(top) & set(basket) else 0.0


@given(measured())
def test_the_same_as_a_plain_loop(case):
    top, baskets = case
    pairs = list(zip(top.tolist(), baskets, strict=True))
    slow = [slow_recall, slow_precision, slow_ndcg, slow_mrr, slow_hit_rate]
    for metric, by_hand in zip(METRICS, slow, strict=True):
        assert metric(top, *csr(*baskets)) == pytest.approx(
            [by_hand(*pair) for pair in pairs]
        )


@pytest.mark.parametrize("metric", METRICS)
@given(case=measured())
def test_figures_lie_between_zero_and_one(metric, case):
    top, baskets = case
    figures = metric(top, *csr(*baskets))
    assert ((figures >= 0) & (figures <= 1)).all()


@pytest.mark.parametrize("metric", [recall_at_k, ndcg_at_k])
@given(st.integers(1, 40), st.integers(1, 40))
def test_a_list_of_hits_alone_gets_exactly_one(metric, k, size):
    basket = list(range(size))
    top = np.arange(k)[None, :]
    assert metric(top, *csr(basket)).tolist() == [min(k, size) / min(k, size)]


@pytest.mark.parametrize("metric", METRICS)
@given(case=measured(), data=st.data())
def test_queries_do_not_know_of_each_other(metric, case, data):
    top, baskets = case
    order = data.draw(st.permutations(range(len(baskets))))
    straight = metric(top, *csr(*baskets))
    permuted = metric(top[order], *csr(*(baskets[q] for q in order)))
    assert permuted.tolist() == straight[order].tolist()


@given(measured())
def test_how_the_metrics_bound_each_other(case):
    top, baskets = case
    recall, precision, ndcg, mrr, hit_rate = (
        metric(top, *csr(*baskets)) for metric in METRICS
    )
    assert (precision <= recall).all() and (mrr <= hit_rate).all()
    found = hit_rate == 1
    for figure in (recall, precision, ndcg, mrr):
        assert ((figure > 0) == found).all()


@given(case=measured(), data=st.data())
def test_the_order_within_a_basket_changes_nothing(case, data):
    top, baskets = case
    mixed = [data.draw(st.permutations(basket)) for basket in baskets]
    straight = ndcg_at_k(top, *csr(*baskets))
    assert ndcg_at_k(top, *csr(*mixed)).tolist() == straight.tolist()


@given(measured())
def test_what_is_given_is_not_written_to(case):
    top, baskets = case
    targets, offset = csr(*baskets)
    copies = top.copy(), targets.copy(), offset.copy()
    for metric in METRICS:
        metric(top, targets, offset)
    for given_, copy in zip((top, targets, offset), copies, strict=True):
        assert np.array_equal(given_, copy)


LISTS = np.array([[5, 3, 1], [0, 2, 4]])
WRONG = {
    "twice": (
        (np.array([[5, 3, 1], [4, 2, 4]]), *csr([1], [2])),
        r"top\[1\] holds item 4 more than once: a list names an item once",
    ),
    "below -1": (
        (np.array([[5, 3, -2], [0, 2, 4]]), *csr([1], [2])),
        r"top holds -2: its integers are -1 or more",
    ),
    "no item wanted": (
        (LISTS, *csr([1], [-1])),
        r"targets holds -1: its integers are 0 or more",
    ),
    "floats": (
        (LISTS.astype(float), *csr([1], [2])),
        r"top is float64 of shape \(2, 3\): give integers of shape \[queries, k\]",
    ),
    "one list": (
        (LISTS[0], *csr([1])),
        r"top is int64 of shape \(3,\): give integers of shape \[queries, k\]",
    ),
    "no places": (
        (LISTS[:, :0], *csr([1], [2])),
        r"top is of shape \(2, 0\): a list has 1 place or more",
    ),
    "targets in rows": (
        (LISTS, np.array([[1], [2]]), np.array([0, 1, 2])),
        r"targets is int64 of shape \(2, 1\): give integers of shape \[targets\]",
    ),
    "float offset": (
        (LISTS, np.array([1, 2]), np.array([0.0, 1.0, 2.0])),
        r"target_offset is float64 .* integers of shape \[queries \+ 1\]",
    ),
    "short offset": (
        (LISTS, np.array([1, 2]), np.array([0, 2])),
        r"target_offset has 2 entries and top has 2 rows: give 3 entries",
    ),
    "offset starts late": (
        (LISTS, np.array([1, 2]), np.array([1, 1, 2])),
        r"target_offset runs from 1 to 2: it starts at 0 and ends at 2",
    ),
    "offset ends early": (
        (LISTS, np.array([1, 2, 3]), np.array([0, 1, 2])),
        r"target_offset runs from 0 to 2: .* ends at 3, the number of targets",
    ),
    "empty basket": (
        (LISTS, *csr([1], [])),
        r"gives query 1 0 targets: .* leave such queries out",
    ),
    "falling offset": (
        (np.array([[0], [1], [2]]), np.array([1, 2]), np.array([0, 2, 1, 2])),
        r"gives query 1 -1 targets: .* 1 target or more",
    ),
}


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_measured_is_refused(name, metric):
    arguments, message = WRONG[name]
    with pytest.raises(ValueError, match=message):
        metric(*arguments)


# What is told of lists alone.


def test_information_is_that_of_the_share_of_events():
    # With one event added to each: 4, 2, 1 and 1 of 8.
    assert self_information(np.array([3, 1, 0, 0])).tolist() == [1, 2, 3, 3]
    # Without any events all are alike.
    assert self_information(np.zeros(4)).tolist() == [2, 2, 2, 2]


def test_novelty_is_the_mean_over_the_items_that_are_there():
    bits = np.array([1.0, 2.0, 4.0, 8.0])
    lists = np.array([[0, 1, 2], [3, -1, -1], [2, 3, -1]])
    assert novelty_at_k(lists, bits) == pytest.approx([7 / 3, 8, 6])


@st.composite
def listed(draw):
    """Lists of two to five of seven items, and a vector of each item."""
    vectors = draw(
        st.lists(
            st.lists(st.integers(-3, 3), min_size=2, max_size=2), min_size=7, max_size=7
        )
    )
    top = []
    for _ in range(draw(st.integers(1, 4))):
        length = draw(st.integers(2, 5))
        ranked = draw(st.permutations(range(7)))[:length]
        top.append(ranked + [-1] * (5 - length))
    return np.array(top), np.array(vectors, float)


def slow_diversity(items: list[int], vectors: np.ndarray) -> float:
    distance = []
    for place, one in enumerate(items):
        for other in items[:place]:
            length = math.hypot(*vectors[one]) * math.hypot(*vectors[other])
            product = float(vectors[one] @ vectors[other])
            distance.append(1 - (product / length if length else 0))
    return sum(distance) / len(distance)


@given(listed())
def test_diversity_is_the_mean_distance_of_all_pairs(case):
    top, vectors = case
    items = [[item for item in row if item >= 0] for row in top.tolist()]
    assert diversity_at_k(top, vectors) == pytest.approx(
        [slow_diversity(row, vectors) for row in items]
    )


def test_diversity_of_many_lists():
    # More than are gathered at a time.
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(30, 4))
    top = np.argsort(rng.random((2500, 30)), axis=1)[:, :6]
    in_parts = [diversity_at_k(top[[row]], vectors)[0] for row in (0, 1023, 1024, 2499)]
    assert diversity_at_k(top, vectors)[[0, 1023, 1024, 2499]] == pytest.approx(
        in_parts
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: novelty_at_k(np.array([[0], [-1]]), np.ones(2)),
            r"top\[1\] holds 0 items: novelty is that of 1 or more; leave such lists",
        ),
        (
            lambda: novelty_at_k(np.array([[0, 2]]), np.ones(2)),
            r"top holds item 2 of 2: give what is told of items for the whole",
        ),
        (
            lambda: novelty_at_k(np.array([[0, 1]]), np.array([1.0, np.inf])),
            r"information holds inf: its numbers are finite",
        ),
        (
            lambda: diversity_at_k(np.array([[0, 1], [1, -1]]), np.ones((2, 3))),
            r"top\[1\] holds 1 items: diversity is that of 2 or more",
        ),
        (
            lambda: diversity_at_k(np.array([[0, 0]]), np.ones((2, 3))),
            r"top\[0\] holds item 0 more than once",
        ),
        (
            lambda: diversity_at_k(np.array([[0, 1]]), np.ones(2)),
            r"vectors is float64 of shape \(2,\): give numbers of shape \[items, dim\]",
        ),
        (
            lambda: self_information(np.array([1, -2])),
            r"counts holds -2: give events, 0 or more",
        ),
    ],
)
def test_what_nothing_can_be_told_of_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
