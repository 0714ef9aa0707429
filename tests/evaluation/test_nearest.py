"""Neighbours counted by hand and by plain loops."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tfrs_decay.data import basket_queries
from tfrs_decay.evaluation import TIFUKNN, ItemKNN, blocks_of, evaluate

# Up to 10, u had a, b and c, v had a and b, w had b; z had d alone.
ROWS = [
    ("u", 1, "a"),
    ("u", 2, "b"),
    ("u", 3, "c"),
    ("v", 1, "a"),
    ("v", 9, "b"),
    ("v", 9, "a"),
    ("w", 10, "b"),
    ("z", 1, "d"),
    # After it.
    ("w", 12, "c"),
    ("w", 14, "d"),
    ("v", 15, "c"),
    ("z", 16, "a"),
]
LOGS = st.lists(
    st.tuples(st.sampled_from("uvwx"), st.integers(0, 14), st.sampled_from("abcde")),
    min_size=2,
    max_size=40,
)


@pytest.fixture
def events(make_events):
    return make_events(*ROWS)


def test_items_of_the_same_users_by_hand(events):
    scores = ItemKNN(events, until=10, shrinkage=0)(basket_queries(events, after=10))
    # Of a, b and c, users are 2, 3 and 1; a and b share 2, a and c 1, b and c 1.
    ab, ac, bc = 2 / math.sqrt(6), 1 / math.sqrt(2), 1 / math.sqrt(3)
    assert scores == pytest.approx(
        np.array(
            [
                [ab, ab, ac + bc, 0],  # v, who had a and b
                [ab, 0, bc, 0],  # w, who had b
                [ab + ac, bc, bc, 0],  # w, who had b and c
                [0, 0, 0, 0],  # z, who had d
            ]
        )
    )


def test_shrinkage_and_few_neighbours_by_hand(events):
    queries = basket_queries(events, after=10)
    scores = ItemKNN(events, until=10, shrinkage=2, neighbours=1)(queries)
    # a and b keep each other; c, which has a and b, keeps a, the nearer.
    ab, ca = 2 / (math.sqrt(6) + 2), 1 / (math.sqrt(2) + 2)
    assert scores == pytest.approx(
        np.array([[ab, ab, 0, 0], [ab, 0, 0, 0], [ab + ca, 0, 0, 0], [0, 0, 0, 0]])
    )


def slow_item_knn(events, queries, until, neighbours, shrinkage):
    had = {}
    for user, time, item in zip(events.user, events.time, events.item, strict=True):
        if time <= until:
            had.setdefault(int(item), set()).add(int(user))
    similar = {}
    for one in had:
        found = {}
        for other in had:
            shared = len(had[one] & had[other])
            if one != other and shared:
                length = math.sqrt(len(had[one]) * len(had[other]))
                found[other] = shared / (length + shrinkage)
        nearest = sorted(found, key=lambda item: (-found[item], item))
        similar[one] = {item: found[item] for item in nearest[:neighbours]}
    scores = np.zeros((len(queries), len(events.items)))
    for query in range(len(queries)):
        some = slice(queries.history_start[query], queries.history_stop[query])
        for item in set(events.item[some].tolist()):
            for other, value in similar.get(item, {}).items():
                scores[query, other] += value
    return scores


@settings(deadline=None, max_examples=60)
@given(rows=LOGS, neighbours=st.integers(1, 5), shrinkage=st.sampled_from([0, 1, 10]))
def test_item_knn_against_a_plain_loop(make_events, rows, neighbours, shrinkage):
    events = make_events(*rows)
    queries = basket_queries(events)
    until = int(np.median(events.time))
    scorer = ItemKNN(events, until=until, neighbours=neighbours, shrinkage=shrinkage)
    expected = slow_item_knn(events, queries, until, neighbours, shrinkage)
    assert scorer(queries) == pytest.approx(expected)


def test_more_items_than_are_compared_at_a_time(make_events):
    # Items in a ring of 1,100: each user had one and the next.
    rows = [
        (f"u{user}", 1, f"{item % 1100:04}")
        for user in range(1100)
        for item in (user, user + 1)
    ]
    events = make_events(*rows, ("u1099", 2, "0000"), ("u511", 2, "0000"))
    scores = ItemKNN(events, until=1, shrinkage=0)(basket_queries(events))
    found = [set(np.flatnonzero(row).tolist()) for row in scores]
    # Both are asked: u1099 had 1099 and 0; u511 had 511 and 512.
    assert {1098, 0, 1099, 1} in found and {510, 512, 511, 513} in found
    assert scores[scores > 0] == pytest.approx(1 / 2)


def test_tifu_by_hand(make_events):
    # u's five baskets in two groups: (a), (b) | (a), (a), (c) by two and three.
    baskets = [("u", time, item) for time, item in enumerate("abaac")]
    events = make_events(*baskets, ("u", 9, "b"), ("v", 3, "b"), ("w", 3, "d"))
    scorer = TIFUKNN(
        events, until=5, neighbours=1, groups=2, within=0.5, between=0.25, own=0.75
    )
    (last,) = basket_queries(events, after=5).time
    assert last == 9
    scores = scorer(basket_queries(events, after=5))
    a = (0.5 / 2) * 0.25 / 2 + (0.25 + 0.5) / 3 / 2
    b = (1 / 2) * 0.25 / 2
    c = (1 / 3) / 2
    # v, who had b, is nearer than w, who had d: u has some b.
    assert scores == pytest.approx(
        np.array([[0.75 * a, 0.75 * b + 0.25, 0.75 * c, 0.0]])
    )


def slow_tifu_vector(baskets, n_items, groups, within, between):
    if not baskets:
        return np.zeros(n_items)
    groups = min(groups, len(baskets))
    sizes = [len(baskets) // groups] * groups
    for late in range(len(baskets) % groups):
        sizes[groups - 1 - late] += 1
    vector, left = np.zeros(n_items), list(baskets)
    for group, size in enumerate(sizes):
        mean = np.zeros(n_items)
        for place in range(size):
            for item in left.pop(0):
                mean[item] += within ** (size - 1 - place) / size
        vector += between ** (groups - 1 - group) * mean / groups
    return vector


def slow_baskets(events, some):
    baskets = {}
    for event in some:
        baskets.setdefault(events.time[event], set()).add(int(events.item[event]))
    return [baskets[time] for time in sorted(baskets)]


@settings(deadline=None, max_examples=60)
@given(rows=LOGS, groups=st.integers(1, 5), neighbours=st.integers(1, 5))
def test_tifu_against_a_plain_loop(make_events, rows, groups, neighbours):
    events = make_events(*rows)
    queries = basket_queries(events)
    until, n = int(np.median(events.time)), len(events.items)
    decays = {"within": 0.9, "between": 0.7}
    vectors = {}
    for user in range(len(events.users)):
        past = np.flatnonzero((events.user == user) & (events.time <= until))
        if len(past):
            baskets = slow_baskets(events, past)
            vectors[user] = slow_tifu_vector(baskets, n, groups, **decays)
    expected = np.zeros((len(queries), n))
    for query in range(len(queries)):
        history = range(queries.history_start[query], queries.history_stop[query])
        own = slow_tifu_vector(slow_baskets(events, history), n, groups, **decays)
        others = [user for user in vectors if user != queries.user[query]]
        far = {user: round(math.dist(own, vectors[user]), 9) for user in others}
        others.sort(key=lambda user: (far[user], user))
        if len(others) > neighbours:
            # Sums in another order can part users who are equally far.
            last, next_ = others[neighbours - 1 : neighbours + 1]
            assume(far[last] < far[next_])
        expected[query] = 0.7 * own
        for user in others[:neighbours]:
            share = 1 / min(neighbours, len(others))
            expected[query] += 0.3 * share * vectors[user]
    scorer = TIFUKNN(events, until=until, neighbours=neighbours, groups=groups)
    assert scorer(queries) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("make", [ItemKNN, TIFUKNN])
def test_what_comes_after_the_cut_is_not_learned_from(make_events, events, make):
    queries = basket_queries(events, after=10, until=12)
    before = make(events, until=10)(queries)
    more = [(user, 20, item) for user in "uvwz" for item in "abcd"]
    later = make_events(*ROWS, *more)
    same = basket_queries(later, after=10, until=12)
    assert make(later, until=10)(same) == pytest.approx(before)


@pytest.mark.parametrize("make", [ItemKNN, TIFUKNN])
def test_they_are_scorers_like_any_other(events, make):
    scorer = make(events, until=10)
    queries = basket_queries(events, after=10)
    assert evaluate({"model": scorer}, queries, events, k=2)["model"].personal
    together = scorer(queries)
    apart = np.concatenate([scorer(some) for some in blocks_of(queries, 1)])
    assert apart == pytest.approx(together)
    assert together.shape == (4, 4) and together.dtype == np.float64


@pytest.mark.parametrize("make", [ItemKNN, TIFUKNN])
def test_without_scipy_they_say_what_to_install(events, make, monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy", None)
    with pytest.raises(ImportError, match=r"needs scipy: pip install 'tfrs-decay\[fit"):
        make(events, until=10)


@pytest.mark.parametrize(
    ("make", "arguments", "message"),
    [
        (ItemKNN, {"until": 0}, r"until=0: none of 12 events .* later cut"),
        (TIFUKNN, {"until": 0}, r"until=0: none of 12 events .* later cut"),
        (ItemKNN, {"neighbours": 0}, r"neighbours=0 must be 1 or more"),
        (ItemKNN, {"shrinkage": -1}, r"shrinkage=-1 must be 0 or more, and finite"),
        (TIFUKNN, {"neighbours": 0}, r"neighbours=0 must be 1 or more"),
        (TIFUKNN, {"groups": 0}, r"groups=0 must be 1 or more"),
        (TIFUKNN, {"within": 0.0}, r"within=0\.0 must be above 0, and 1 at most"),
        (TIFUKNN, {"between": 1.5}, r"between=1\.5 must be above 0, and 1 at most"),
        (TIFUKNN, {"own": 2}, r"own=2 must lie in 0 to 1"),
    ],
)
def test_numbers_out_of_range_are_refused(events, make, arguments, message):
    with pytest.raises(ValueError, match=message):
        make(events, **{"until": 10, **arguments})
