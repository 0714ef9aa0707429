"""`tfrs_decay.data.simulated`: the shop has what its docstring says that it has."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tfrs_decay.data.cleaning import clean
from tfrs_decay.data.events import Events
from tfrs_decay.data.rules import Rules
from tfrs_decay.data.simulated import START, SimulatedShop, simulated_shop
from tfrs_decay.data.simulated_titles import THEMES

DAY = 86_400


@pytest.fixture(scope="module")
def shop() -> SimulatedShop:
    return simulated_shop(users=300, days=120, seed=3)


def themes_of(shop: SimulatedShop, events: Events) -> np.ndarray:
    """[n] the theme of each event, as a position in the shop's themes."""
    code = {name: n for n, name in enumerate(shop.themes)}
    theme = [code[shop.theme_of_item[one]] for one in events.items.ids]
    return np.array(theme)[events.item]


def log_likelihood(
    shop: SimulatedShop, half_life: float, weights: dict[str, float] | None = None
) -> float:
    """Of the users' themes under the docstring's formula, written event by event.

    Fashion is left out: what it adds does not depend on the half-life.
    """
    events = clean(shop.log).events
    theme, themes = themes_of(shop, events), len(shop.themes)
    weights = shop.action_weights if weights is None else weights
    total, user = 0.0, -1
    for n in range(len(events)):
        if events.user[n] != user:
            user, urn, last = events.user[n], np.zeros(themes), events.time[n]
        urn *= 2.0 ** (-(events.time[n] - last) / half_life)
        last = events.time[n]
        pull = (shop.prior_mass / themes + urn[theme[n]]) / (
            shop.prior_mass + urn.sum()
        )
        total += math.log((1 - shop.novelty) * pull + shop.novelty / themes)
        urn[theme[n]] += weights[events.actions[events.action[n]]]
    return total


def test_the_log_is_clean_in_the_order_of_time_and_within_its_days(
    shop: SimulatedShop,
) -> None:
    result = clean(shop.log, actions=["browse", "purchase"])
    events = result.events
    assert result.rejected == {}
    assert len(events) == len(shop.log.events) > 5_000
    time = shop.log.events["time"]
    assert time.dtype == np.int64
    assert time.is_monotonic_increasing
    assert START <= time.min() and time.max() <= START + 120 * DAY
    assert list(shop.log.events.columns) == ["user", "item", "time", "action"]


def test_every_item_has_a_title_of_its_theme(shop: SimulatedShop) -> None:
    items = shop.log.items
    assert items is not None
    assert len(items) == len(shop.theme_of_item) == 24 * 18
    assert items["item"].is_unique and items["text"].is_unique
    assert set(shop.log.events["item"]) <= set(items["item"])
    goods = {theme.name: theme.goods for theme in THEMES}
    for item, text in zip(items["item"], items["text"], strict=True):
        assert text.split(", ")[0] in goods[shop.theme_of_item[item]]
        assert text == " ".join(text.split())


def test_no_goods_are_in_two_themes() -> None:
    everything = [one for theme in THEMES for one in theme.goods]
    assert len(everything) == len(set(everything)) == 240
    assert all(len(set(theme.variants)) == 6 for theme in THEMES)


def test_a_theme_can_sell_every_combination() -> None:
    titles = THEMES[0].titles(60, np.random.default_rng(0))
    assert len(set(titles)) == 60
    assert len({one.split(", ")[0] for one in titles[:10]}) == 10


def test_the_same_seed_gives_the_same_shop(shop: SimulatedShop) -> None:
    again = simulated_shop(users=300, days=120, seed=3)
    pd.testing.assert_frame_equal(again.log.events, shop.log.events)
    pd.testing.assert_frame_equal(again.log.items, shop.log.items)
    other = simulated_shop(users=300, days=120, seed=4)
    assert not other.log.events.head(50).equals(shop.log.events.head(50))


def test_a_smaller_shop_sells_the_same_goods(shop: SimulatedShop) -> None:
    small = simulated_shop(users=5, days=20, seed=3)
    pd.testing.assert_frame_equal(small.log.items, shop.log.items)


def test_absences_last_from_hours_to_weeks(shop: SimulatedShop) -> None:
    events = clean(shop.log).events
    gap = np.diff(events.time)[np.diff(events.user) == 0]
    assert gap.min() >= 1  # no two events of one user at one time: baskets of one
    in_session = gap < 3_600
    assert 0.4 < in_session.mean() < 0.6
    hours, weeks = np.quantile(gap[~in_session], [0.1, 0.9])
    assert hours < 12 * 3_600 and weeks > 7 * DAY


def test_what_one_owns_is_seldom_bought_again(shop: SimulatedShop) -> None:
    bought = shop.log.events.query("action == 'purchase'")
    assert 0.2 < len(bought) / len(shop.log.events) < 0.3
    assert bought.duplicated(["user", "item"]).mean() < 0.1
    browsed = shop.log.events.query("action == 'browse'")
    assert browsed.duplicated(["user", "item"]).mean() > 0.2


def test_carts_and_returns_are_of_chances_of_their_own() -> None:
    plain = simulated_shop(users=60, days=90, seed=1)
    assert plain.action_weights == {"browse": 0.2, "purchase": 1.0}
    shop = simulated_shop(users=60, days=90, seed=1, cart_share=0.25, return_share=0.5)
    assert shop.action_weights == {"browse": 0.2, "cart": 0.5, "purchase": 1.0}
    log = shop.log.events
    assert log["time"].is_monotonic_increasing
    assert log["time"].max() <= START + 90 * DAY
    count = log["action"].value_counts()
    assert 0.2 < count["cart"] / (count["cart"] + count["browse"]) < 0.3
    assert 0.4 < count["return"] / count["purchase"] < 0.55
    # Each return is of a purchase, and within two weeks of one.
    pairs = log[log["action"] == "return"].merge(
        log[log["action"] == "purchase"], on=["user", "item"], suffixes=("", "_bought")
    )
    after = (pairs["time"] - pairs["time_bought"]).to_numpy()
    assert ((after >= DAY) & (after <= 14 * DAY + 1)).sum() >= count["return"]
    cleaned = clean(shop.log, rules=Rules(taken_back={"return": "purchase"}))
    assert cleaned.rejected == {
        "taken back, and the return of it": 2 * int(count["return"])
    }


def test_what_is_returned_pulls_no_more_than_a_look() -> None:
    kept = simulated_shop(users=300, days=120, seed=3, return_share=1.0, novelty=0.0)
    # All purchases are returned: a log in which they weigh as a browse fits best.
    events = kept.log.events
    plain = replace(
        kept, log=kept.log._replace(events=events[events["action"] != "return"])
    )
    alike = {"browse": 0.2, "purchase": 0.2}
    planted = log_likelihood(plain, 7 * DAY, alike)
    assert planted > log_likelihood(plain, 7 * DAY) + 3


def test_the_planted_half_life_explains_the_log_best(shop: SimulatedShop) -> None:
    assert shop.half_life == 7 * DAY
    planted = log_likelihood(shop, 7 * DAY)
    for other in (1, 5, 9.5, 60, 3_650):
        assert planted > log_likelihood(shop, other * DAY) + 3


def test_the_planted_action_weights_explain_the_log_best(shop: SimulatedShop) -> None:
    planted = log_likelihood(shop, 7 * DAY)
    for browse in (0.05, 1.0):
        weights = {"browse": browse, "purchase": 1.0}
        assert planted > log_likelihood(shop, 7 * DAY, weights) + 3


def test_another_planted_half_life_is_told_apart() -> None:
    fast = simulated_shop(users=300, days=120, seed=3, half_life="1d")
    likelihood = {days: log_likelihood(fast, days * DAY) for days in (0.3, 1, 3, 7)}
    assert max(likelihood, key=likelihood.__getitem__) == 1


def test_each_theme_can_have_its_half_life() -> None:
    # Interest in the first theme is gone within a minute of hours, that in the second
    # lasts: of two sessions weeks apart, the second theme's follow their own more.
    shop = simulated_shop(
        users=400, days=120, themes=2, half_life=["1h", "1y"], novelty=0.0
    )
    assert shop.half_life == [3_600.0, 365.0 * DAY]
    assert shop.themes == ("camping", "baking")
    events = clean(shop.log).events
    theme = themes_of(shop, events)
    later = (np.diff(events.user) == 0) & (np.diff(events.time) > 2 * DAY)
    returns = [(theme[1:] == z)[later & (theme[:-1] == z)].mean() for z in (0, 1)]
    assert returns[1] > returns[0] + 0.2


def test_without_novelty_and_decay_first_interest_lasts() -> None:
    shop = simulated_shop(
        users=100, days=60, novelty=0.0, prior_mass=1e-9, half_life="1y"
    )
    events = clean(shop.log).events
    theme = themes_of(shop, events)
    assert (np.diff(theme)[np.diff(events.user) == 0] == 0).all()


def test_novelty_alone_ignores_the_past() -> None:
    shop = simulated_shop(users=300, days=60, novelty=1.0)
    events = clean(shop.log).events
    theme = themes_of(shop, events)
    same = np.diff(theme)[np.diff(events.user) == 0] == 0
    # Two independent draws from a fashion spread over 24 themes.
    assert 1 / 24 < same.mean() < 0.15


def test_decayed_themes_predict_better_than_plain_ones(shop: SimulatedShop) -> None:
    # The premise of the whole shop: each last theme of a user, guessed from before it.
    events = clean(shop.log).events
    theme = themes_of(shop, events)
    weight = np.array([shop.action_weights[one] for one in events.actions])
    hits: dict[str, list[bool]] = {"plain": [], "decayed": []}
    for user in range(len(events.users)):
        rows = np.flatnonzero(events.user == user)
        if len(rows) < 10:
            continue
        *past, last = rows
        age = events.time[last] - events.time[past]
        for name, faded in (("plain", 1.0), ("decayed", 2.0 ** (-age / (7 * DAY)))):
            urn = np.bincount(
                theme[past], weights=weight[events.action[past]] * faded, minlength=24
            )
            hits[name].append(urn.argmax() == theme[last])
    assert np.mean(hits["decayed"]) > 1.3 * np.mean(hits["plain"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"users": 0}, r"users=0 must be at least 1\."),
        ({"days": 0}, r"days=0 must be at least 1\."),
        ({"themes": 0}, r"themes=0 must be at least 1 and at most 24\."),
        ({"themes": 25}, r"themes=25 must be at least 1 and at most 24\."),
        ({"items_per_theme": 61}, r"items_per_theme=61 must be .* at most 60\."),
        ({"novelty": 1.5}, r"novelty=1\.5 must be at least 0 and at most 1\."),
        ({"novelty": math.nan}, r"novelty=nan must be"),
        ({"prior_mass": 0.0}, r"prior_mass=0\.0 must be finite and above 0"),
        ({"half_life": "soon"}, r"half_life='soon' .* as in '7d'"),
        ({"half_life": ["7d", "1d"]}, "names 2 half-lives for 24 themes: give one"),
    ],
)
def test_an_argument_out_of_range_is_named(
    arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        simulated_shop(**arguments)


def test_the_smallest_shop() -> None:
    shop = simulated_shop(users=1, days=1, themes=1, items_per_theme=1)
    assert shop.theme_of_item == {"camping-01": "camping"}
    assert set(shop.log.events["item"]) == {"camping-01"}
    assert set(shop.log.events["user"]) == {"user-00000"}
