"""How often places are looked at: known truths come back, and weights undo them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from simulated_feedback import LOOKED_AT, shown_lists

from tfrs_decay.data import (
    RawLog,
    basket_queries,
    batches,
    target_weights,
)
from tfrs_decay.feedback import (
    Served,
    TooFewClicks,
    fit_examination,
    join,
    position_weights,
    training_signal,
)


def joined_lists(seed, **options):
    shown = shown_lists(seed, **options)
    served = Served.of(shown.table)
    return shown, join(served, shown.clicks)


@pytest.fixture(scope="module")
def many():
    """Lists by appeal, to 3,000 users."""
    return joined_lists(0, users=3_000)


@pytest.mark.integration
@pytest.mark.parametrize("within", [("item",), ("user", "item")])
def test_the_truth_lies_in_the_intervals_as_often_as_they_say(within):
    inside = []
    for seed in range(40):
        found = fit_examination(joined_lists(seed, users=100)[1], within=within)
        inside.append((found.low <= LOOKED_AT) & (LOOKED_AT <= found.high))
    assert np.all(inside, axis=0)[0]
    # Of 160 intervals at 95% as few as 144 happen once in 2,000 times.
    assert 144 <= np.sum(inside, axis=0)[1:].sum() < 160


def test_what_is_liked_stands_high_and_is_told_apart(many):
    _, joined = many
    found = fit_examination(joined, within=["item"])
    assert found.position.tolist() == [1, 2, 3, 4, 5] and found.unknown == ()
    np.testing.assert_allclose(found.share, LOOKED_AT, rtol=0.06)
    assert ((found.low <= LOOKED_AT) & (LOOKED_AT <= found.high)).all()
    # So it is where only what one user saw is compared, which is less.
    own = fit_examination(joined, within=["user", "item"])
    assert ((own.low <= LOOKED_AT) & (LOOKED_AT <= own.high)).all()
    assert (own.high[1:] - own.low[1:] > found.high[1:] - found.low[1:]).all()
    # Plain rates by place fall faster, for what stands low is liked less.
    rate = np.bincount(joined.served.position, joined.happened("click"))[1:]
    assert (rate[1:] / rate[0] < found.low[1:]).all()


def test_places_that_were_drawn_need_no_likeness():
    _, joined = joined_lists(1, users=400, by_chance=True)
    found = fit_examination(joined, within=())
    assert ((found.low <= LOOKED_AT) & (LOOKED_AT <= found.high)).all()
    # All are one group: the shares are those of the rates.
    served, click = joined.served, joined.happened("click")
    rate = np.bincount(served.position, click)[1:] / np.bincount(served.position)[1:]
    np.testing.assert_allclose(found.share, rate / rate[0], rtol=1e-6)
    # And each error that of a ratio of two means, users as clusters.
    users = len(served.users)
    sums = [
        np.bincount(served.user[own], value[own], minlength=users)
        for place in (1, 2)
        for own in [served.position == place]
        for value in (click * 1.0, np.ones(len(click)))
    ]
    of_user = sums[2] / sums[2].sum() - sums[3] / sums[3].sum()
    of_user -= sums[0] / sums[0].sum() - sums[1] / sums[1].sum()
    error = np.sqrt((of_user**2).sum() * users / (users - 1))
    reach = np.log(found.high[1] / found.share[1])
    assert reach == pytest.approx(1.959964 * error, rel=1e-6)


def test_part_of_the_traffic_may_be_drawn():
    shown, chance = shown_lists(2), shown_lists(3, by_chance=True)
    table = {
        # The users of the second are others.
        name: np.concatenate([shown.table[name], chance.table[name] + extra])
        for name, extra in (("user", 300), ("item", 0), ("time", 0), ("position", 0))
    }
    rows = pd.DataFrame(
        {
            "user": np.concatenate([shown.clicks.user, chance.clicks.user + 300]),
            "item": np.concatenate([shown.clicks.item, chance.clicks.item]),
            "time": np.concatenate([shown.clicks.time, chance.clicks.time]),
            "action": "click",
        }
    )
    joined = join(Served.of(table), RawLog(rows, None, {}))
    by_chance = np.arange(len(joined.served)) >= len(shown.table["user"])
    found = fit_examination(joined, within=(), among=by_chance)
    alone = fit_examination(join(Served.of(chance.table), chance.clicks), within=())
    np.testing.assert_allclose(found.share, alone.share)
    np.testing.assert_allclose(found.low, alone.low)


def tiny(rows, action="click"):
    """Impressions of (item, position, clicked), a user each."""
    table = pd.DataFrame(rows, columns=["item", "position", "clicked"])
    table["user"], table["time"] = np.arange(len(rows)), 0
    log = table.loc[table["clicked"], ["user", "item", "time"]].assign(action=action)
    return join(Served.of(table), RawLog(log, None, {}))


def shown_at(item, position, impressions, clicks):
    return [(item, position, row < clicks) for row in range(impressions)]


def test_shares_are_those_of_the_items_own_clicks():
    # Of a and b alike, a place 2 is looked at half as often as place 1.
    rows = [
        *shown_at("a", 1, 10, 8),
        *shown_at("a", 2, 20, 8),
        *shown_at("b", 1, 20, 4),
        *shown_at("b", 2, 10, 1),
        # Never at two places, and at two without a click.
        *shown_at("c", 1, 50, 30),
        *shown_at("d", 1, 5, 0),
        *shown_at("d", 2, 5, 0),
    ]
    found = fit_examination(tiny(rows), within=["item"])
    assert found.share.tolist() == pytest.approx([1, 0.5])
    assert found.clicks.tolist() == [12, 9]
    assert found.impressions.tolist() == [30, 30]


def test_places_that_nothing_compares_are_not_known():
    rows = [
        *shown_at("a", 2, 10, 8),
        *shown_at("a", 3, 10, 4),
        # Place 1 and 5 and 6 share no item with the others; 4 has no click.
        *shown_at("b", 1, 10, 5),
        *shown_at("a", 4, 10, 0),
        *shown_at("c", 5, 10, 5),
        *shown_at("c", 6, 10, 5),
        *shown_at("a", 90, 10, 5),
    ]
    joined = tiny(rows)
    found = fit_examination(joined, within=["item"])
    assert found.position.tolist() == [2, 3]
    assert found.unknown == (1, 4, 5, 6, 90)
    assert found.at(np.array([1, 2, 3, 4, 90])).tolist() == pytest.approx(
        [1, 1, 0.5, 0.5, 0.5]
    )
    assert found.report().endswith("not known: 1, 4, 5, 6, 90")
    weights = position_weights(joined, found)
    assert weights.unknown == 5 + 5 + 5 + 5
    assert found.to_dict()["unknown"] == [1, 4, 5, 6, 90]


def test_weighed_rates_of_items_are_their_appeal_and_plain_ones_are_not(many):
    shown, joined = many
    found = fit_examination(joined, within=["item"])
    weights = position_weights(joined, found, clip=None)
    appeal = shown.appeal[joined.served.items.astype(int)]
    fair, plain = joined.item_rates(weight=weights.weight), joined.item_rates()
    often = np.bincount(joined.served.item) > 2_000
    assert often.sum() > 8
    np.testing.assert_allclose(fair[often], appeal[often], rtol=0.15)
    assert abs((fair / appeal)[often].mean() - 1) < 0.03
    assert (plain < 0.8 * appeal).all() and (plain[often] / appeal[often]).std() > 0.08


def test_weights_are_cut_and_say_what_they_are_worth():
    rows = [*shown_at("a", 1, 10, 8), *shown_at("a", 2, 20, 2)]
    joined = tiny(rows)
    found = fit_examination(joined, within=["item"])
    weights = position_weights(joined, found)
    # Place 2 is looked at an eighth as often: eight clicks of 1, two of 8.
    assert weights.weight[[0, -1]].tolist() == pytest.approx([1, 8])
    assert weights.effective_size == pytest.approx(24**2 / (8 + 2 * 64))
    assert (weights.clicks, weights.cut, weights.cut_share) == (10, 0, 0.0)
    cut = position_weights(joined, found, clip=4)
    assert cut.weight[[0, -1]].tolist() == pytest.approx([1, 4])
    assert (cut.cut, cut.cut_share) == (2, pytest.approx(1 / 3))
    assert "10 clicks by position, worth 6 of equal weight; 2 weights cut, 33.3% " in (
        cut.report()
    )
    assert "weight" not in cut.to_dict()
    with pytest.raises(ValueError, match=r"clip=0 must be a finite number above 0"):
        position_weights(joined, found, clip=0)


def test_training_takes_the_weights_of_clicks():
    shown, joined = joined_lists(4, users=20)
    events = shown.clicks
    found = fit_examination(joined, within=["item"])
    weight = position_weights(joined, found).weight
    of_event = joined.event_weights(weight)
    queries = basket_queries(events)
    weights = target_weights(queries, events, by_event=of_event)
    assert weights.mean() == pytest.approx(1)
    # A click at a place that is looked at half as often weighs twice as much.
    place = joined.served.position[joined.impression[queries.target]]
    of_place = weights * found.at(place)
    np.testing.assert_allclose(of_place, of_place[0], rtol=1e-5)
    assert len(np.unique(place)) == 5
    (batch,) = batches(queries, events, batch_size=len(queries), target_weights=weights)
    told = batch["target_weight"].numpy()
    np.testing.assert_allclose(np.sort(told[told > 0]), np.sort(weights))
    for bad, said in (
        (of_event[1:], r"by_event is of shape .* give one weight for each of"),
        (of_event * np.nan, r"by_event holds nan"),
    ):
        with pytest.raises(ValueError, match=said):
            target_weights(queries, events, by_event=bad)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"within": ["shop"]}, r"within=\['shop'\] must be a list of some of"),
        ({"within": "item"}, r"within='item' must be a list of some of"),
        ({"within": ["segment"]}, r"\['segment'\]: what was served has no segment"),
        ({"level": 1}, r"level=1 must lie between 0 and 1"),
        ({"deepest": 1}, r"deepest=1 must be 2 or more"),
        ({"among": np.ones(3)}, r"among is of shape \(3,\) and float64: give a bool"),
        ({"action": "buy"}, r"action='buy' was not joined"),
        ({}, r"10 impressions, 5 with a click, none that are alike in user and item"),
    ],
)
def test_what_cannot_be_learned_is_refused(options, said):
    joined = tiny(shown_at("a", 1, 5, 3) + shown_at("a", 2, 5, 2))
    with pytest.raises(ValueError, match=said):
        fit_examination(joined, **options)


def test_places_that_are_known_too_little_are_not_trusted():
    # Of many users four see the lowest place.
    shown = shown_lists(3, users=400)
    served = pd.DataFrame(shown.table)
    low = served["position"].to_numpy() == 5
    found = fit_examination(
        join(
            Served.of(served[~low | (served["user"] < 4)]),
            shown.clicks,
        ),
        within=["item"],
    )
    wide = found.high > 2 * found.share
    assert wide.tolist() == [False, False, False, False, True] and found.users > 100
    trusted = found.trusted()
    assert trusted.position.tolist() == [1, 2, 3, 4] and trusted.unknown == (5,)
    assert trusted.share.tolist() == found.share[:4].tolist()
    # It is looked at as often as the place above it, as far as is known.
    assert trusted.at(np.array([5])) == trusted.share[-1]
    assert found.trusted(100.0).position.tolist() == [1, 2, 3, 4, 5]
    with pytest.raises(TooFewClicks, match=r"none but the first .* factor of 1.001"):
        found.trusted(1.001)
    with pytest.raises(ValueError, match=r"most_off=1 must be above 1"):
        found.trusted(1)


def test_intervals_of_few_users_are_not_trusted():
    found = fit_examination(joined_lists(0, users=20)[1], within=["item"])
    with pytest.raises(TooFewClicks, match=r"is of 20 users, and 30 are needed"):
        found.trusted()


def test_what_an_update_learns_of_a_day(many):
    shown, joined = many
    signal = training_signal(Served.of(shown.table), shown.clicks, within=["item"])
    weights = position_weights(joined, signal.report.examination)
    np.testing.assert_array_equal(
        signal.event_weights, joined.event_weights(weights.weight)
    )
    assert signal.report.weights.clicks == weights.clicks
    # Where it cannot be known all weigh alike, and it says so.
    few = shown_lists(0, users=20)
    signal = training_signal(Served.of(few.table), few.clicks)
    assert signal.event_weights is None and signal.report.weights is None
    assert signal.report.notes[-1] == (
        "places are not weighed: what tells how often places are looked at is of 20 "
        "users, and 30 are needed."
    )
    assert signal.report.notes[-1] in signal.report.report()
    signal = training_signal(Served.of(few.table), few.clicks, within=None)
    assert signal.event_weights is None
    assert not any("weighed" in one for one in signal.report.notes)
    with pytest.raises(ValueError, match=r"within=\['shop'\] must be a list of some"):
        training_signal(Served.of(few.table), few.clicks, within=["shop"])


def test_without_clicks_the_first_action_stands_for_them():
    joined = tiny(shown_at("a", 1, 5, 3) + shown_at("a", 2, 5, 2), action="purchase")
    assert fit_examination(joined, within=["item"]).action == "purchase"
