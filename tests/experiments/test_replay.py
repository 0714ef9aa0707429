"""A known worth that comes back from another recommender's log, and logs that lie."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from simulated_traffic import BAD, CLICK, GOOD, SHOP, asked, logged_traffic

from tfrs_decay.experiments import replay


def truth(lists):
    """What a list of two is worth, one of its items at a time, over both kinds."""
    codes = [[SHOP.tolist().index(item) for item in one] for one in lists]
    return np.mean([CLICK[kind, one].mean() for kind, one in enumerate(codes)])


def test_the_worth_comes_back_from_another_ones_log():
    table, kind = logged_traffic(np.random.default_rng(1), users=1500)
    found = replay(table, asked(kind))
    rates = found.overall.rates["click-through"]
    for name, lists in (("good", GOOD), ("bad", BAD)):
        assert rates[name].low < truth(lists) < rates[name].high
        assert rates[name].value == pytest.approx(truth(lists), abs=0.02)
    one = found.overall.differences["click-through"]["good"]
    assert one.low < truth(GOOD) - truth(BAD) < one.high and one.verdict == "better"
    # What was clicked of matching impressions alone is another number.
    matched = [item in GOOD[one] for item, one in zip(table["item"], kind, strict=True)]
    assert rates["good"].value != pytest.approx(
        table["click"][matched].mean(), abs=0.01
    )
    assert not found.notes and not found.dropped
    for one in found.weights.values():
        assert one.mean == pytest.approx(1, abs=4 * one.mean_error)


def test_the_intervals_hold_the_truth_as_often_as_they_say():
    rng = np.random.default_rng(2)
    held, both, runs = 0, 0, 100
    for _ in range(runs):
        table, kind = logged_traffic(rng, users=120, visits=5)
        found = replay(table, asked(kind), resamples=300)
        rates = found.overall.rates["click-through"]
        both += rates["good"].low <= truth(GOOD) <= rates["good"].high
        one = found.overall.differences["click-through"]["good"]
        held += one.low <= truth(GOOD) - truth(BAD) <= one.high
    assert 0.88 <= held / runs <= 1 and 0.88 <= both / runs <= 1


def test_by_hand():
    # Weights 1 / 0.5, 1 / 0.25, 0 and 1 / 0.8 for "one", the last with a list of two.
    table = {
        "user": [1, 2, 3, 4, 5] * 5,
        "item": ["a", "b", "c", "d", "e"] * 5,
        "propensity": [0.5, 0.25, 0.5, 0.8, 1.0] * 5,
        "click": [1, 0, 1, 1, 0] * 5,
    }
    one = [["a"], ["b"], ["x"], ["d", "x"], ["e"]] * 5
    other = np.tile([1.0, 0.5, 0.0, 0.25, 1.0], 5)
    table["user"] = np.arange(25)
    found = replay(table, {"one": one, "other": other})
    rates = found.overall.rates["click-through"]
    weight = np.array([2, 4, 0, 0.625, 1])
    assert rates["one"].value == pytest.approx((2 + 0.625) / weight.sum())
    assert rates["other"].value == pytest.approx((2 + 0.3125) / (2 + 2 + 0.3125 + 1))
    told = found.weights["one"]
    assert told.matched == 20 and told.unanswered == 0 and told.cut == 0
    assert told.mean == pytest.approx(weight.mean())
    assert told.effective_size == pytest.approx(
        5 * weight.sum() ** 2 / (weight**2).sum()
    )
    assert told.largest == pytest.approx(4 / (5 * weight.sum()))
    cut = replay(table, {"one": one, "other": other}, clip=2)
    told = cut.weights["one"]
    assert told.cut == 5 and told.cut_share == pytest.approx(2 / weight.sum())
    assert cut.overall.rates["click-through"]["one"].value == pytest.approx(
        2.625 / 5.625
    )
    assert "5 weights cut, 26.2% of their sum" in cut.report()


def test_a_list_shows_what_stands_at_the_logged_position():
    table = {
        "user": np.repeat(np.arange(16), 3),
        "item": ["a", "b", "c"] * 16,
        "position": [1, 2, 3] * 16,
        "propensity": [0.5] * 48,
        "click": [1, 0, 1] * 16,
    }
    lists = {"here": [["a", "b"]] * 48, "elsewhere": [["b", "x"], ["x", "b"]] * 24}
    found = replay(table, lists)
    # Nothing is known of a third place.
    assert found.dropped == {"below place 2, where every list ends": 16}
    assert found.overall.impressions == 32
    assert found.weights["here"].matched == 32
    assert found.overall.rates["click-through"]["here"].value == 0.5
    # b at place 2 alone: rows 1, 7, 13 ...
    assert found.weights["elsewhere"].matched == 8
    assert found.overall.rates["click-through"]["elsewhere"].value == 0
    with pytest.raises(
        ValueError, match=r"\['position'\] is 3 or more, and no list is"
    ):
        replay({**table, "position": [3, 4, 5] * 16}, lists)


def test_a_pair_is_told_apart_more_easily_than_two_strangers():
    table, kind = logged_traffic(np.random.default_rng(3))
    # Alike but for half the users.
    near = [GOOD[0], ["d", "c"]]
    found = replay(table, asked(kind, bad=near))
    one = found.overall.differences["click-through"]["good"]
    rates = found.overall.rates["click-through"].values()
    alone = np.sqrt(sum((rate.high - rate.low) ** 2 for rate in rates))
    assert one.high - one.low < 0.85 * alone
    same = replay(table, asked(kind, bad=GOOD))
    one = same.overall.differences["click-through"]["good"]
    assert (one.difference, one.low, one.high, one.p) == (0, 0, 0, 1)
    assert same.verdict == "No difference is shown between good and bad."


def test_days_segments_and_several_rewards():
    table, kind = logged_traffic(np.random.default_rng(4), visits=3)
    table["conversion"] = table["click"]
    table["segment"] = np.where(kind, "odd", "even")
    found = replay(table, asked(kind))
    assert [part.name for part in found.by_day] == [
        *("1970-01-01", "1970-01-02", "1970-01-03")
    ]
    assert (
        found.cumulative[-1].rates
        == replay(table, asked(kind), resamples=2000).overall.rates
    )
    assert [part.name for part in found.by_segment] == ["even", "odd"]
    one = found.overall.differences["conversion"]["good"]
    assert one.adjusted_p == pytest.approx(min(1, 2 * one.p))


def test_impressions_that_stand_twice():
    table, kind = logged_traffic(np.random.default_rng(5), users=60)
    twice = pd.concat([table, table.iloc[:7]])
    lists = asked([*kind, *kind[:7]])
    with pytest.raises(ValueError, match=r"traffic has 7 rows that stand twice"):
        replay(twice, lists)
    found = replay(twice, lists, duplicates="drop")
    assert found.dropped == {"it stands twice": 7}
    assert found.overall == replay(table, asked(kind)).overall
    # An error names the row of the log, of which others were left out.
    strange = pd.concat([table.iloc[:1], table])
    strange.iloc[100, strange.columns.get_loc("propensity")] = 2
    with pytest.raises(ValueError, match=r"\['propensity'\] holds 2.0 in row 100 "):
        replay(strange, asked([kind[0], *kind]), duplicates="drop")
    # Without times there is no telling.
    assert not replay(twice.drop(columns="time"), lists).dropped


def test_what_the_log_could_not_show_is_told():
    table, kind = logged_traffic(np.random.default_rng(6))
    unseen = [["b", "new"], ["d", "new"]]
    found = replay(table, asked(kind, good=unseen))
    assert found.weights["good"].mean == pytest.approx(0.5, abs=0.1)
    assert any("where 1 is expected: part of what it" in note for note in found.notes)
    # An answer to one kind only.
    half = [GOOD[0], []]
    found = replay(table, asked(kind, good=half))
    assert found.weights["good"].unanswered == (kind == 1).sum()
    assert "1,500 impressions without an answer" in found.report()
    # Propensities that are twice what they were.
    table["propensity"] = np.minimum(1, table["propensity"] * 2)
    found = replay(table, asked(kind))
    assert any("or the propensities are not right" in note for note in found.notes)


def test_few_and_heavy_weights_are_told():
    table, kind = logged_traffic(np.random.default_rng(7), users=20, visits=5)
    table.loc[table["item"] == "b", "propensity"] = 1e-3
    found = replay(table, asked(kind))
    assert any("too few to go by" in note for note in found.notes)
    assert any("a single impression has" in note for note in found.notes)
    steady = replay(table, asked(kind), clip=5)
    before, after = (one.weights["good"].effective_size for one in (found, steady))
    assert after > before and steady.weights["good"].cut_share > 0.5


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        (0, "holds 0"),
        (1e-320, "holds 1e-320"),
        (-0.1, "holds -0.1"),
        (1.01, "holds 1.01"),
        (np.nan, "holds nan"),
    ],
)
def test_what_is_no_propensity_is_refused(wrong, expected):
    table, kind = logged_traffic(np.random.default_rng(8), users=20)
    table.loc[3, "propensity"] = wrong
    with pytest.raises(
        ValueError,
        match=rf"\['propensity'\] {expected}.* in row 3 .*1 of 200 rows.*a chance "
        "above 0 and at most 1",
    ):
        replay(table, asked(kind))


def test_recommendations_that_do_not_fit_are_refused():
    table, kind = logged_traffic(np.random.default_rng(9), users=20)
    n, good = len(table), asked(kind)["good"]
    for wrong, message in (
        (good[1:], r"recommended\['bad'\] has 199 entries for 200 rows of traffic"),
        (
            np.full(n, 1.5),
            r"recommended\['bad'\] holds 1.5 \(200 of 200 are alike\): a",
        ),
        (
            np.full(n, np.nan),
            r"recommended\['bad'\] holds nan .*a chance lies in 0 to 1",
        ),
        (np.zeros(n), r"\['bad'\] has nothing in common with the log: its chances"),
        ([["z"]] * n, r"nothing in common .*it recommended \['z'\], the log has '.'"),
        ([[]] * n, r"nothing in common .*it recommended \[\], the log has"),
        (["a"] * n, r"recommended\['bad'\] holds 'a': give a list of items for each"),
    ):
        with pytest.raises(ValueError, match=message):
            replay(table, {"bad": wrong, "good": good})
    with pytest.raises(ValueError, match=r"arms=\['good'\]: give two arms or more"):
        replay(table, {"good": good})
    for clip in (0, -1, np.nan, np.inf):
        with pytest.raises(
            ValueError, match=r"clip=.* must be a finite number above 0"
        ):
            replay(table, asked(kind), clip=clip)


def test_a_log_that_says_too_little_is_refused():
    table, kind = logged_traffic(np.random.default_rng(10), users=20)
    lists = asked(kind)
    with pytest.raises(ValueError, match=r"traffic has no rows below its columns"):
        replay(table.iloc[:0], {"bad": [], "good": []})
    with pytest.raises(ValueError, match=r"traffic has no column 'propensity'"):
        replay(table.drop(columns="propensity"), lists)
    table["revenue"] = np.inf
    with pytest.raises(ValueError, match=r"traffic\['revenue'\] holds inf in row 0"):
        replay(table, lists, rewards=["revenue"])
    rare = [["a"] if row < 2 else ["z"] for row in range(len(table))]
    table["item"] = "a"
    with pytest.raises(ValueError, match=r"arm 'bad' has impressions of 1 user among"):
        replay(table, {"bad": rare, "good": [["a"]] * len(table)})
