"""The combined list: out-of-time examples, a head that learns from them, its scores."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest

from tfrs_decay.data import basket_queries
from tfrs_decay.evaluation import Popularity, evaluate
from tfrs_decay.layers import RankingHead
from tfrs_decay.popularity import PopularityTable
from tfrs_decay.ranking import (
    Examples,
    RankedScores,
    fit_combined_list,
    fit_head,
    fit_tables,
    make_examples,
    make_windows,
)


@pytest.fixture(scope="module")
def cuts(shop_events):
    return [int(one) for one in np.quantile(shop_events.time, [0.6, 0.8])]


@pytest.fixture(scope="module")
def tables(shop_events, cuts):
    popularity = PopularityTable.of(shop_events)
    return [
        fit_tables(
            shop_events,
            until=cut,
            popularity=popularity,
            m=10,
            own=8,
            most=3,
            popular=3,
        )
        for cut in cuts
    ]


@pytest.fixture(scope="module")
def queries(shop_events, cuts):
    first, last = cuts
    return [
        basket_queries(shop_events, after=first, until=last),
        basket_queries(shop_events, after=last),
    ]


@pytest.fixture(scope="module")
def examples(shop_events, tables, queries):
    return make_examples(tables[0], queries[0], shop_events, block=17)


def test_what_was_wanted_is_what_came_next(shop_events, queries, examples):
    assert len(examples.splits) == len(queries[0]) + 1
    shares = []
    for number in range(len(queries[0])):
        mine = slice(*examples.splits[number : number + 2])
        item = examples.item[mine]
        some = queries[0].between(number, number + 1)
        target = set(shop_events.item[some.target].tolist())
        assert {*item[examples.wanted[mine]]} == target & {*item}
        assert examples.targets[number] == len(target)
        shares.append(len(target & {*item}) / len(target))
    assert examples.recall == pytest.approx(np.mean(shares))


def test_nothing_of_the_queries_is_in_their_candidates(shop_events, tables, cuts):
    """Without any event from the cut on, the first query's candidates are the same."""
    queries = basket_queries(shop_events, after=cuts[0]).between(0, 1)
    until = int(queries.time[0])
    before = shop_events.where(shop_events.time < until)
    again = fit_tables(
        before,
        until=cuts[0],
        popularity=PopularityTable.of(before),
        m=10,
        own=8,
        most=3,
        popular=3,
    )
    one = make_examples(tables[0], queries, shop_events)
    other = make_examples(again, queries, shop_events)
    np.testing.assert_array_equal(one.item, other.item)
    np.testing.assert_allclose(one.features, other.features, rtol=1e-5, atol=1e-5)


def test_own_items_can_be_left_out(shop_events, tables, queries):
    fresh = queries[0].with_new_targets(shop_events)
    examples = make_examples(tables[0], fresh, shop_events, exclude_own=True)
    for number in range(len(fresh)):
        history = slice(fresh.history_start[number], fresh.history_stop[number])
        item = examples.item[slice(*examples.splits[number : number + 2])]
        assert not {*item} & {*shop_events.item[history]}


def test_windows_are_put_together(examples):
    both = Examples.together([examples, examples])
    assert both.splits[-1] == len(both.features) == 2 * len(examples.features)
    second = slice(*both.splits[len(examples.targets) :][:2])
    np.testing.assert_array_equal(
        both.item[second], examples.item[slice(*examples.splits[:2])]
    )
    assert both.recall == pytest.approx(examples.recall)


def test_a_head_learns_and_repeats(shop_events, tables, queries, examples):
    heads = [RankingHead([16]) for _ in range(2)]
    losses = [fit_head(one, examples, epochs=12, batch_size=16) for one in heads]
    np.testing.assert_allclose(*losses, rtol=1e-5)
    assert losses[0][-1] < 0.9 * losses[0][0]
    scorers = {
        "ranked": RankedScores(tables[1], heads[0], shop_events),
        "popularity": Popularity(shop_events, until=int(queries[0].time.max())),
    }
    scores = scorers["ranked"](queries[1])
    assert scores.shape == (len(queries[1]), len(shop_events.items))
    assert (np.isfinite(scores).sum(axis=1) <= tables[1].width).all()
    found = evaluate(scorers, queries[1], shop_events)
    assert found["ranked"].recall().mean() > found["popularity"].recall().mean()


def test_nothing_wanted_is_nothing_to_learn(examples):
    nothing = examples._replace(wanted=np.zeros_like(examples.wanted))
    with pytest.raises(ValueError, match="no query has a wanted candidate"):
        fit_head(RankingHead(), nothing)


@pytest.mark.integration  # slow; `combine` goes the same way
def test_all_of_it_in_one_call(shop_events):
    until = int(np.quantile(shop_events.time, 0.8))
    told = []
    options = {"m": 8, "own": 6, "most": 3, "popular": 3}
    found = fit_combined_list(
        shop_events,
        until=until,
        track="new",
        length="14d",
        windows=2,
        most_queries=60,
        progress=told.append,
        **options,
    )
    assert found.choice.name in found.choice.validated
    assert 0.1 < found.recall <= 1
    queries, candidates = re.match(
        r"window 1, track new: (\d+) queries, (\d+) candidates hold 0\.", told[0]
    ).groups()
    assert 0 < int(queries) <= 60 < int(candidates)
    assert told[1].startswith("window 2, track new")
    queries = basket_queries(shop_events, after=until).with_new_targets(shop_events)
    scorers = {
        "list": RankedScores(
            found.candidates, found.choice.head, shop_events, exclude_own=True
        ),
        "popularity": Popularity(shop_events, until=until),
    }
    figures = evaluate(scorers, queries, shop_events, exclude_seen=True)
    assert figures["list"].recall().mean() > figures["popularity"].recall().mean()
    # Nothing after the cut is looked at.
    past = fit_tables(
        shop_events.where(shop_events.time <= until),
        until=until,
        popularity=PopularityTable.of(shop_events.where(shop_events.time <= until)),
        **options,
    )
    past.repeats.build()
    for one, other in zip(
        past.get_weights(), found.candidates.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(one, other)


def test_what_cannot_be_fitted(shop_events):
    with pytest.raises(ValueError, match=r"tracks=\['old'\]: give 'any', 'new', or"):
        fit_combined_list(shop_events, track="old")
    with pytest.raises(ValueError, match="there are no events to fit"):
        fit_combined_list(shop_events.where(shop_events.time < 0))


@pytest.mark.integration  # slow
def test_windows_without_a_query_are_left_out(shop_events):
    """A season in which the shop is closed is no error; two windows are needed."""
    last = int(shop_events.time.max())
    closed = (shop_events.time > last - 28 * 86_400) & (
        shop_events.time <= last - 14 * 86_400
    )
    told = []
    options = {"until": last, "length": "14d", "progress": told.append}
    options |= {"m": 4, "own": 4, "most": 2, "popular": 2, "most_queries": 20}
    found = make_windows(
        shop_events.where(~closed), tracks=["any"], windows=3, **options
    )
    assert len(found.any) == 2 and not found.new
    assert "a window without queries of track any is left out" in told
    with pytest.raises(ValueError, match="track any: 1 windows before the cut hold"):
        make_windows(shop_events.where(~closed), tracks=["any"], windows=2, **options)


def test_an_item_that_is_wanted_twice_is_one_target(shop_events, tables, queries):
    again = dataclasses.replace(
        queries[0],
        target=np.repeat(queries[0].target, 2),
        target_offset=queries[0].target_offset * 2,
    )
    once, twice = (
        make_examples(tables[0], one.between(0, 20), shop_events)
        for one in (queries[0], again)
    )
    np.testing.assert_array_equal(twice.targets, once.targets)
    assert twice.recall == once.recall


def test_no_query_makes_no_example(shop_events, tables, queries):
    with pytest.raises(ValueError, match="there is no query to make examples of"):
        make_examples(tables[0], queries[0].between(0, 0), shop_events)
