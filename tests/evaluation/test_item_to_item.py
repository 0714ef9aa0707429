"""Rankings by neighbours, against sums written out event by event."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfrs_decay.data import basket_queries
from tfrs_decay.decay import Constant, Exponential, Product
from tfrs_decay.evaluation import ItemToItem, blocks_of, item_to_item
from tfrs_decay.neighbours import Neighbours, fit_next_basket

# u bought a, then a and b, then c; v bought c twice, then a.
ROWS = [
    ("u", 0, "a"),
    ("u", 1, "a"),
    ("u", 1, "b"),
    ("u", 2, "c"),
    ("v", 0, "c"),
    ("v", 2, "c"),
    ("v", 3, "a"),
]
# a says b and itself, b says c, c is against a.
TABLE = Neighbours([[1, 0], [2, -1], [0, -1]], [[2.0, 0.25], [1.0, 0], [-4.0, 0]])


@pytest.fixture
def events(make_events):
    return make_events(*ROWS)


def test_every_event_of_the_history_adds_its_row(events):
    queries = basket_queries(events)
    assert queries.time.tolist() == [1, 2, 2, 3]
    assert ItemToItem(events, TABLE)(queries).tolist() == [
        [0.25, 2, 0],  # u at 1 had a
        [0.5, 4, 1],  # u at 2 had a twice and b
        [-4, 0, 0],  # v at 2 had c
        [-8, 0, 0],  # v at 3 had c twice
    ]


def test_a_set_of_items_counts_each_once(events):
    scores = ItemToItem(events, TABLE, binary=True)(basket_queries(events))
    assert scores.tolist() == [[0.25, 2, 0], [0.25, 2, 1], [-4, 0, 0], [-4, 0, 0]]


def test_an_event_fades_with_age_rank_and_baskets(events):
    at = basket_queries(events).between(1, 2)  # u at 2: a, then a and b
    by_age = ItemToItem(events, TABLE, decay=Exponential(1))(at)
    assert by_age.tolist() == [[0.75 * 0.25, 0.75 * 2, 0.5]]
    by_rank = ItemToItem(events, TABLE, decay=Exponential(1, by="rank"))(at)
    # b is the latest, and a stands once and twice before it.
    assert by_rank.tolist() == [[0.75 * 0.25, 0.75 * 2, 1]]
    by_basket = ItemToItem(events, TABLE, per_basket=0.5)(at)
    assert by_basket.tolist() == [[1.5 * 0.25, 1.5 * 2, 1]]
    by_both = Product([Exponential(1), Exponential(1, by="rank")])
    assert ItemToItem(events, TABLE, decay=by_both)(at).tolist() == [
        [0.25 * (0.25 + 0.25 / 4), 2 * (0.25 + 0.25 / 4), 0.5]
    ]


def test_of_the_last_events_only(events):
    scores = ItemToItem(events, TABLE, last=1)(basket_queries(events))
    assert scores.tolist() == [[0.25, 2, 0], [0, 0, 1], [-4, 0, 0], [-4, 0, 0]]


@settings(deadline=None, max_examples=40)
@given(
    rows=st.lists(
        st.tuples(
            st.sampled_from("uv"), st.integers(0, 9), st.sampled_from(["a", "b", "c"])
        ),
        min_size=1,
        max_size=25,
    ),
    last=st.none() | st.integers(1, 6),
    binary=st.booleans(),
    m=st.integers(1, 3),
    seed=st.integers(0, 99),
)
def test_against_a_plain_loop(make_events, rows, last, binary, m, seed):
    events = make_events(*rows)
    n = len(events.items)
    rng = np.random.default_rng(seed)
    item = np.stack([rng.permutation(n)[:m] for _ in range(n)])
    table = Neighbours(item, rng.normal(size=item.shape))
    fading = {} if binary else {"per_basket": 0.5, "decay": Exponential(4)}
    scorer = ItemToItem(events, table, last=last, binary=binary, **fading)
    queries = basket_queries(events)
    expected = np.zeros([len(queries), n])
    for q in range(len(queries)):
        history = range(queries.history_start[q], queries.history_stop[q])
        history = history if last is None else history[-last:]
        weight = dict.fromkeys(range(n), 0.0)
        for event in history:
            later = {t for t in events.time[history] if t > events.time[event]}
            age = queries.time[q] - events.time[event]
            weight[events.item[event]] += 0.5 ** (age / 4 + len(later))
            if binary:
                weight[events.item[event]] = 1
        for i, held in weight.items():
            for j, one in zip(table.item[i], table.weight[i], strict=True):
                expected[q, j] += held * one
    if len(queries):
        assert scorer(queries) == pytest.approx(expected, abs=1e-6)
        in_blocks = np.concatenate([scorer(b) for b in blocks_of(queries, 2)])
        assert in_blocks == pytest.approx(expected, abs=1e-6)


def test_blocks_of_products_change_nothing(events, monkeypatch):
    queries = basket_queries(events)
    before = ItemToItem(events, TABLE)(queries).tolist()
    monkeypatch.setattr(item_to_item, "PRODUCTS", 1)
    assert ItemToItem(events, TABLE)(queries).tolist() == before


def test_a_fitted_map_foretells_what_was_planted(make_events):
    # Whoever buys b buys c next, whoever buys d buys e.
    rows = []
    for n in range(20):
        for time, one in enumerate("bc" if n % 2 else "de"):
            rows.append((f"u{n:02}", time, one))
    events = make_events(*rows)
    table = fit_next_basket(events, until=1, l2=1.0, m=2)
    scores = ItemToItem(events, table, per_basket=0.7)(basket_queries(events))
    best = events.items.ids[scores.argmax(axis=1)].tolist()
    assert best == ["e", "c"] * 10


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"last": 0}, r"last=0 must be 1 or more: leave it out"),
        ({"per_basket": 0}, r"per_basket=0 must be above 0 and up to 1"),
        ({"per_basket": 1.5}, r"per_basket=1\.5 must be above 0 and up to 1"),
        ({"decay": Exponential(["7d", "30d"])}, r"give a decay with a single rate"),
        (
            {"decay": Exponential({"buy": "7d", "*": "1d"})},
            r"depends on the action: give a decay",
        ),
        ({"binary": True, "per_basket": 0.5}, r"binary=True counts .* per_basket=0\.5"),
        ({"binary": True, "decay": Exponential("7d")}, r"binary=True .*'7d'"),
    ],
)
def test_bad_input_is_named(events, options, message):
    with pytest.raises(ValueError, match=message):
        ItemToItem(events, TABLE, **options)


def test_a_table_of_another_catalogue_is_named(events):
    table = Neighbours([[1], [0]], [[1.0], [1.0]])
    with pytest.raises(ValueError, match=r"neighbours has 2 rows: .* events' 3 items"):
        ItemToItem(events, table)


def test_no_decay_may_be_said(events):
    scores = ItemToItem(events, TABLE, decay=Constant(), binary=True)
    assert scores(basket_queries(events)).shape == (4, 3)
