"""Two towers as a table of neighbours: what they know at a cut, and what they name."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tf_keras

from tfrs_decay.data import basket_queries
from tfrs_decay.decay import Constant, Exponential
from tfrs_decay.evaluation import ItemToItem
from tfrs_decay.evaluation.two_tower import TwoTowerScores
from tfrs_decay.neighbours import fit_products
from tfrs_decay.popularity import PopularityTable
from tfrs_decay.ranking import (
    TowerVectors,
    cuts,
    fit_combined_list,
    fit_tables,
    fitting,
    make_examples,
    tower_vectors,
)
from tfrs_decay.training import Settings, fit_through, make_model

SETTINGS = Settings(dim=8, action_weights={"browse": 0.2, "purchase": 1.0})
OPTIONS = {"m": 6, "own": 4, "most": 2, "popular": 2}


@pytest.fixture(scope="module")
def cut(shop_events):
    return int(np.quantile(shop_events.time, 0.5))


def test_no_event_after_a_cut_changes_its_vectors(shop_events, cut):
    later = int(np.quantile(shop_events.time, 0.7))
    decay = Exponential("7d")
    # The order is not the caller's to mind.
    towers = tower_vectors(shop_events, SETTINGS, decay, [later, cut])
    assert list(towers) == [cut, later]
    assert np.abs(towers[cut].item - towers[later].item).max() > 0.1
    # After the cut everybody has one item, and nothing else.
    item = np.where(shop_events.time > cut, 7, shop_events.item)
    other = dataclasses.replace(shop_events, item=item)
    again = tower_vectors(other, SETTINGS, decay, [cut])
    for one, same in zip(towers[cut], again[cut], strict=True):
        np.testing.assert_allclose(one, same, atol=1e-4)


def test_the_table_scores_as_the_model_does(shop_events):
    """But for the length of a user's vector, which is one number a query."""
    decay = Exponential("30d")
    model = make_model(shop_events, Settings(dim=8), decay)
    rng = np.random.default_rng(0)
    kernel, bias = model.query_tower.weights
    kernel.assign(rng.normal(size=kernel.shape))
    bias.assign(rng.normal(size=bias.shape))
    queries = basket_queries(shop_events).between(100, 160)
    table = fit_products(*TowerVectors.of(model), m=None)
    expected = TwoTowerScores(model, shop_events)(queries)
    found = ItemToItem(shop_events, table, decay=decay)(queries)
    length = (found * expected).sum(axis=1) / (expected**2).sum(axis=1)
    assert length.min() > 0 and np.ptp(length) > 0.1
    np.testing.assert_allclose(found, length[:, None] * expected, atol=1e-3)


def test_what_is_not_known_of_an_item_adds_nothing(shop_events):
    model = make_model(shop_events, Settings(dim=4), Constant())
    model.item_tower.set_seen(np.arange(len(shop_events.items)) != 3)
    model.query_tower.bias.assign([1.0, 2.0, 3.0, 4.0])
    query, item = TowerVectors.of(model)
    assert not item[3].any() and not query[3].any()
    assert (query[4] != item[4]).all()
    model.query_tower = None
    query, item = TowerVectors.of(model)
    assert query is item


def test_a_query_tower_that_bends_is_refused(shop_events):
    model = make_model(shop_events, Settings(dim=4), Constant())
    for tower in (
        tf_keras.layers.Dense(4, activation="relu"),
        tf_keras.Sequential([tf_keras.layers.Dense(4)]),
    ):
        model.query_tower = tower
        with pytest.raises(ValueError, match=rf"{type(tower).__name__} that is not"):
            TowerVectors.of(model)


def alone(item, n_items):
    """Vectors that score one item after any other, and nothing else."""
    one = np.zeros([n_items, 1], np.float32)
    one[item] = 1
    return TowerVectors(np.ones([n_items, 1], np.float32), one)


def test_candidates_that_no_other_source_names(shop_events, cut):
    options = {"until": cut, "popularity": PopularityTable.of(shop_events)}
    options |= OPTIONS
    queries = basket_queries(shop_events, after=cut).between(0, 20)
    plain = fit_tables(shop_events, **options)
    before = make_examples(plain, queries, shop_events)
    n = len(shop_events.items)
    had = {
        one
        for row in zip(queries.history_start, queries.history_stop, strict=True)
        for one in shop_events.item[slice(*row)].tolist()
    }
    lonely = min({*range(n)} - {*before.item.tolist()} - had)
    tables = fit_tables(shop_events, towers=alone(lonely, n), **options)
    after = make_examples(tables, queries, shop_events)
    column = tables.feature_names.index("two towers")
    for number in range(len(queries)):
        others = before.item[slice(*before.splits[number : number + 2])]
        mine = slice(*after.splits[number : number + 2])
        assert {*after.item[mine]} == {*others, lonely}
        named = after.features[mine, column] > 0
        assert after.item[mine][named].tolist() == [lonely]
    assert tables.width == plain.width + OPTIONS["most"] // 2
    assert "two towers" not in plain.feature_names


def test_each_window_has_the_towers_of_its_own_start(shop_events, monkeypatch):
    until = int(np.quantile(shop_events.time, 0.9))
    options = {"until": until, "length": "14d", "windows": 2}
    n = len(shop_events.items)
    towers = {
        cut: alone(number, n) for number, cut in enumerate(cuts(shop_events, **options))
    }
    assert list(towers)[-1] == until
    options |= {"most_queries": 30, "towers": towers, **OPTIONS}
    # No head is wanted: the windows are looked at in its place.
    monkeypatch.setattr(fitting, "choose", lambda windows, *_, **__: windows)
    listed = fit_combined_list(shop_events, **options)
    column = listed.candidates.feature_names.index("two towers")

    def scored(examples):
        return {*examples.item[examples.features[:, column] > 0].tolist()}

    assert [scored(one) for one in listed.choice.any] == [{1}, {0}]
    queries = basket_queries(shop_events, after=until).between(0, 30)
    assert scored(make_examples(listed.candidates, queries, shop_events)) == {2}
    for cut in towers:
        fewer = {one: towers[one] for one in towers if one != cut}
        with pytest.raises(ValueError, match=rf"none is of \[{cut}\]: give those of"):
            fit_combined_list(shop_events, **{**options, "towers": fewer})


def test_what_cannot_be_trained(shop_events):
    model = make_model(shop_events, SETTINGS, Constant())
    first = int(shop_events.time.min())
    for settings, options, message in (
        (SETTINGS, {}, "the training period holds no basket of a user with"),
        (SETTINGS, {"first_passes": 0}, "first_passes=0 must be 1 or more"),
        (SETTINGS, {"later_passes": 0}, "later_passes=0 must be 1 or more"),
        (Settings(action_weights={"browse": 1.0}), {}, "name every action"),
    ):
        with pytest.raises(ValueError, match=message):
            # On the call: nobody has to ask for a cut first.
            fit_through(model, shop_events, [first], settings, **options)
