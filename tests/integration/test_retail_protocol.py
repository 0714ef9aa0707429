"""The baselines on a real shop, against figures computed by an independent script.

The UCI "Online Retail" transactions (Chen, 2015; DOI 10.24432/C5BW33; CC BY 4.0): the
last 30 days are predicted from everything before each basket. The figures expected
here are the means over all queries that a straightforward script, which shares no line
with this package, prints to four decimals.
"""

from __future__ import annotations

import os

import pytest

import tfrs_decay as td
from tfrs_decay import evaluation
from tfrs_decay.data import sources
from tfrs_decay.decay import Exponential

pytestmark = pytest.mark.integration

DAY = 86_400
RETAIL = "TFRS_DECAY_ONLINE_RETAIL"
EXACT = 1e-4  # the expected figures have four decimals


@pytest.fixture(scope="module")
def events() -> td.data.Events:
    path = os.environ.get(RETAIL)
    if not path:
        pytest.skip(
            f"{RETAIL} is not set: download 'Online Retail' from the UCI archive "
            "(https://doi.org/10.24432/C5BW33) and set the variable to the file's path"
        )
    return td.data.clean(sources.online_retail(path)).events


@pytest.fixture(scope="module")
def cut(events) -> int:
    return td.data.split_by_time(events, test="30d").test


@pytest.fixture(scope="module")
def queries(events, cut) -> td.data.Queries:
    return td.data.basket_queries(events, after=cut)


@pytest.fixture(scope="module")
def popularity(events, cut) -> dict[str, evaluation.Popularity]:
    decays = {
        "popularity": td.decay.Constant(),
        "e^(-age / 14d)": Exponential.from_rate(1 / (14 * DAY)),
        "half-life 14d": Exponential("14d"),
    }
    return {
        name: evaluation.Popularity(events, until=cut, decay=decay)
        for name, decay in decays.items()
    }


def test_the_shop_is_the_one_that_the_figures_are_of(events, cut, queries):
    assert (len(events), len(events.items)) == (386_250, 3_659)
    assert len(td.data.basket_queries(events, until=cut)) == 11_530
    assert len(queries) == 2_446
    assert len(queries.with_new_targets(events)) == 2_042


def test_the_track_of_any_item(events, queries, popularity):
    recent = popularity["e^(-age / 14d)"].scores
    own_all = evaluation.OwnCounts(events)
    own_30 = evaluation.OwnCounts(events, decay=Exponential("30d"))
    scorers = {
        **popularity,
        "own": evaluation.OwnCounts(events, tie_break=recent),
        "own, last 100": evaluation.OwnCounts(events, last=100, tie_break=recent),
        "own, half-life 90d": evaluation.OwnCounts(
            events, decay=Exponential("90d"), tie_break=recent
        ),
        # A scorer is any function, so a blend is the formula itself.
        "blend": lambda block: (
            0.3 * own_all(block) + own_30(block) + recent / recent.max() / 2
        ),
    }
    figures = evaluation.evaluate(scorers, queries, events)
    reached = {
        name: (one.recall().mean(), one.ndcg().mean()) for name, one in figures.items()
    }
    expected = {
        "popularity": (0.0706, 0.0658),
        "e^(-age / 14d)": (0.1232, 0.1184),
        "half-life 14d": (0.1247, 0.1134),
        "own": (0.3236, 0.2931),
        "own, last 100": (0.3290, 0.2975),
        "own, half-life 90d": (0.3270, 0.2939),
        "blend": (0.3355, 0.3017),
    }
    assert list(reached) == list(expected)
    for name, pair in expected.items():
        assert reached[name] == pytest.approx(pair, abs=EXACT), name
    assert evaluation.warnings(figures) == []


def test_the_track_of_new_items(events, queries, popularity):
    figures = evaluation.evaluate(
        popularity, queries.with_new_targets(events), events, exclude_seen=True
    )
    expected = {
        "popularity": (0.0322, 0.0254),
        "e^(-age / 14d)": (0.0872, 0.0713),
        "half-life 14d": (0.0798, 0.0633),
    }
    for name, pair in expected.items():
        reached = figures[name].recall().mean(), figures[name].ndcg().mean()
        assert reached == pytest.approx(pair, abs=EXACT), name
        assert figures[name].distinct_lists() == 1


def test_popularity_that_rolls_forward_day_by_day(events, cut, queries):
    scorers = {
        "frozen": evaluation.RollingPopularity(events, "14d", frozen_after=cut),
        "rolling": evaluation.RollingPopularity(events, "14d"),
    }
    figures = evaluation.evaluate(scorers, queries, events)
    # These were given to three decimals.
    for name, pair in {"frozen": (0.125, 0.113), "rolling": (0.128, 0.120)}.items():
        reached = figures[name].recall().mean(), figures[name].ndcg().mean()
        assert reached == pytest.approx(pair, abs=5e-4), name
    days = {int(time) // DAY for time in queries.time}
    assert figures["rolling"].distinct_lists() == len(days)
    assert evaluation.warnings(figures) == []


@pytest.mark.parametrize(
    ("new", "expected"),
    [
        (False, {"whole": (0.2351, 0.2042), "last 100": (0.2410, 0.2108)}),
        (True, {"whole": (0.1138, 0.0847), "last 100": (0.1133, 0.0859)}),
    ],
)
def test_ease_with_all_neighbours(events, cut, queries, new, expected):
    exact = td.neighbours.fit_ease(events, until=cut, l2=200, m=None)
    scorers = {
        "whole": evaluation.ItemToItem(events, exact, binary=True),
        "last 100": evaluation.ItemToItem(events, exact, binary=True, last=100),
    }
    if new:
        queries = queries.with_new_targets(events)
    figures = evaluation.evaluate(scorers, queries, events, exclude_seen=new)
    for name, pair in expected.items():
        reached = figures[name].recall().mean(), figures[name].ndcg().mean()
        assert reached == pytest.approx(pair, abs=EXACT), name
