"""A shop that does not exist, in which interest fades at a rate we chose.

A real log never tells how fast its users' interest really fades. This one does: what a
user does next is drawn from what the user did before, each event weighed by its age
with a half-life that is given, so a method that recovers half-lives can be held against
the truth. Nothing is downloaded.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfrs_decay.data.cleaning import RawLog
from tfrs_decay.data.simulated_titles import THEMES
from tfrs_decay.data.tables import need
from tfrs_decay.durations import Duration, to_seconds

START = 1_704_067_200
"""The shop opens on 2024-01-01 00:00 UTC, in seconds since the epoch."""

ACTIONS = np.array(["browse", "cart", "purchase", "return"], dtype=object)
BROWSE, CART, PURCHASE, RETURN = range(4)

ACTION_WEIGHTS = {"browse": 0.2, "purchase": 1.0}
"""How strongly an event of each action pulls its user back to its theme."""

CART_WEIGHT = 0.5
"""Likewise, of what is put into the cart and left there."""

PURCHASE_SHARE = 0.25
POPULARITY_EXPONENT = 0.9  # Zipf: the n-th item of a theme has weight n^-0.9
REPEAT = 0.05  # goods are durable: what one owns is seldom looked at again
DAY = 86_400.0
RETURNED_WITHIN = 14 * DAY
SAME_SESSION = 0.5  # chance that another event follows within minutes
MEDIAN_ABSENCE = 2 * DAY
ABSENCE_SPREAD = 1.5  # log-normal: one absence in 24 lasts longer than a month


@dataclass(frozen=True)
class SimulatedShop:
    """A simulated log with the truth behind it.

    With the weight of theme z for a user at time t

        w_z(t) = sum over the user's events i of z before t:
                     action_weights[action_i] 2^(-(t - time_i) / half_life_z)

    the user's next event is of theme z with probability

        (1 - novelty) (prior_mass / themes + w_z) / (prior_mass + sum of w)
            + novelty fashion_z(t).

    Attributes:
        log: The raw log, ready for `clean`; in the order of time.
        half_life: Seconds; a list, one for each of `themes`, where several were given.
        action_weights: The weight of one event by its action; a purchase that is
            returned weighs no more than having looked at it, and a return nothing.
        prior_mass: The pull of all themes alike, in purchases of age 0.
        novelty: Share of events that fashion decides and not the user's own past.
        themes: The themes' names.
        theme_of_item: The theme of each item id that is for sale.
    """

    log: RawLog
    half_life: float | list[float]
    action_weights: dict[str, float]
    prior_mass: float
    novelty: float
    themes: tuple[str, ...]
    theme_of_item: dict[str, str]


def simulated_shop(
    *,
    users: int = 1_500,
    days: int = 180,
    seed: int = 0,
    half_life: Duration | Sequence[Duration] = "7d",
    themes: int = len(THEMES),
    items_per_theme: int = 18,
    prior_mass: float = 0.05,
    novelty: float = 0.12,
    cart_share: float = 0.0,
    return_share: float = 0.0,
) -> SimulatedShop:
    """Makes up a shop whose users' interest drifts at a known rate.

    Each user's themes are a Polya urn that leaks: every event puts its action's weight
    into the urn of its theme, and what is in the urn halves every `half_life`. Users
    come in sessions of minutes, with hours to weeks between them, so an event's age on
    the clock is not its age in events. Within a theme, items are drawn by a popularity
    that falls like Zipf's law, and what a user has bought is seldom drawn again. The
    default size has about 80,000 events and takes under a second.

    What can be reached on it, by scores that know the themes (share of purchases in the
    last 30 days among the top 20 of all 432 items, seed 0): most purchased 0.11; the
    user's own counts 0.34; themes weighed by plain counts times popularity within the
    theme 0.44; the same decayed at a half-life of a day 0.61, of the planted week 0.65,
    of 30 days 0.59.

    Args:
        users: Users, 1 or more. Their first visits are spread over the first half.
        days: Days from opening to the last event, 1 or more.
        seed: Of everything random; the same seed gives the same shop.
        half_life: The planted half-life; or a list of them, one for each theme.
        themes: Themes for sale.
        items_per_theme: Items for sale in each.
        prior_mass: See `SimulatedShop`; above 0.
        novelty: See `SimulatedShop`; in [0, 1].
        cart_share: Share of the events without a purchase that put the item into the
            cart, where it stays: the action "cart". In [0, 1].
        return_share: Share of the purchases that come back within two weeks: a second
            event, "return", unless the log ends before it. In [0, 1].

    Returns:
        The log, and the truth that it was drawn from.

    Raises:
        ValueError: An argument is out of its range.
        ImportError: pandas is not installed.

    References:
        D. Blackwell, J. B. MacQueen. Ferguson distributions via Polya urn schemes.
        Annals of Statistics 1973 (the urn; here with decay).

    >>> shop = simulated_shop(users=20, days=30)
    >>> shop.half_life, len(shop.theme_of_item)
    (604800.0, 432)
    """
    most = min(len(theme.goods) * len(theme.variants) for theme in THEMES)
    for name, value, low, high in (
        ("users", users, 1, math.inf),
        ("days", days, 1, math.inf),
        ("themes", themes, 1, len(THEMES)),
        ("items_per_theme", items_per_theme, 1, most),
        ("novelty", novelty, 0, 1),
        ("cart_share", cart_share, 0, 1),
        ("return_share", return_share, 0, 1),
    ):
        if not low <= value <= high:
            upper = "" if high == math.inf else f" and at most {high}"
            raise ValueError(f"{name}={value} must be at least {low}{upper}.")
    if not (math.isfinite(prior_mass) and prior_mass > 0):
        raise ValueError(
            f"prior_mass={prior_mass} must be finite and above 0: a user without a "
            "past needs something to be drawn from."
        )
    planted: float | list[float]
    if isinstance(half_life, Sequence) and not isinstance(half_life, str):
        planted = [to_seconds(one, "half_life") for one in half_life]
        if len(planted) != themes:
            raise ValueError(
                f"half_life names {len(planted)} half-lives for {themes} themes: give "
                "one for each (`themes` sets how many there are), or a single one."
            )
    else:
        planted = to_seconds(half_life, "half_life")

    # Goods, fashion and behaviour draw apart, so that a shop with more users or days
    # sells the same goods.
    for_goods, for_fashion, for_behaviour, for_second_thoughts = np.random.default_rng(
        seed
    ).spawn(4)
    names = tuple(theme.name for theme in THEMES[:themes])
    titles = [theme.titles(items_per_theme, for_goods) for theme in THEMES[:themes]]
    item_ids = np.array(
        [
            f"{name.replace(' ', '-')}-{number:02d}"
            for name in names
            for number in range(1, items_per_theme + 1)
        ],
        dtype=object,
    )
    popularity = np.stack(
        [
            for_goods.permutation(
                np.arange(1.0, items_per_theme + 1) ** -POPULARITY_EXPONENT
            )
            for _ in names
        ]
    )
    user, second, item, action = _behave(
        users=users,
        end=days * DAY,
        half_life=np.broadcast_to(np.asarray(planted), (themes,)),
        popularity=popularity,
        fashion=_fashion(themes, days, for_fashion),
        prior_mass=prior_mass,
        novelty=novelty,
        second_thoughts=_SecondThoughts(cart_share, return_share, for_second_thoughts),
        rng=for_behaviour,
    )
    weights = dict(ACTION_WEIGHTS)
    if cart_share:
        weights["cart"] = CART_WEIGHT
    return SimulatedShop(
        log=_raw_log(
            user, second, item, action, item_ids, np.concatenate(titles).tolist()
        ),
        half_life=planted,
        action_weights=weights,
        prior_mass=prior_mass,
        novelty=novelty,
        themes=names,
        theme_of_item=dict(
            zip(item_ids, np.repeat(names, items_per_theme).tolist(), strict=True)
        ),
    )


def _fashion(themes: int, days: int, rng: np.random.Generator) -> np.ndarray:
    """[days + 1, themes] what is in fashion on each day; rows sum to 1."""
    day = np.arange(days + 1)[:, None]
    phase, period = rng.uniform(0, 1, themes), rng.uniform(60, 150, themes)
    tide = np.exp(2 * np.sin(2 * np.pi * (day / period + phase)))
    return tide / tide.sum(axis=1, keepdims=True)


@dataclass(frozen=True)
class _SecondThoughts:
    """What is left in the cart, and what comes back: by chances of their own."""

    cart_share: float
    return_share: float
    rng: np.random.Generator

    def drawn(self, bought: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Two [n] bool: what is put into the cart and left there, and what returns."""
        chance = self.rng.random(len(bought))
        share = np.where(bought, self.return_share, self.cart_share)
        return ~bought & (chance < share), bought & (chance < share)

    def returns(self, second: np.ndarray) -> np.ndarray:
        """[n] whole seconds at which purchases come back."""
        after = self.rng.uniform(DAY, RETURNED_WITHIN, len(second))
        return np.ceil(second + after)


def _behave(
    *,
    users: int,
    end: float,
    half_life: np.ndarray,
    popularity: np.ndarray,
    fashion: np.ndarray,
    prior_mass: float,
    novelty: float,
    second_thoughts: _SecondThoughts,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Draws every user's n-th event at once, for n = 1, 2, ... until all have left.

    Args:
        users: How many.
        end: Seconds from opening to the last possible event.
        half_life: [themes] seconds.
        popularity: [themes, items_per_theme] unnormalised.
        fashion: [days + 1, themes] probabilities.
        prior_mass: Pull of all themes alike.
        novelty: Share of events that fashion decides.
        second_thoughts: Carts and returns.
        rng: The source of chance.

    Returns:
        [events] each, in the order of time: user, second since opening, item (position
        in the flattened popularity), and action (position in `ACTIONS`).
    """
    themes, items_per_theme = popularity.shape
    weight = np.array(
        [ACTION_WEIGHTS["browse"], CART_WEIGHT, ACTION_WEIGHTS["purchase"]]
    )
    urn = np.zeros((users, themes))
    owned = np.zeros((users, themes, items_per_theme), bool)
    second = np.floor(rng.uniform(0, end / 2, users))
    pace = np.exp(rng.normal(0, 0.4, users))  # some come more often than others
    there = np.arange(users)
    drawn: list[tuple[np.ndarray, ...]] = []
    while len(there):
        now = second[there]
        pull = prior_mass / themes + urn[there]
        pull /= pull.sum(axis=1, keepdims=True)
        fresh = fashion[(now / DAY).astype(int)]
        theme = _draw((1 - novelty) * pull + novelty * fresh, rng)
        place = _draw(
            popularity[theme] * np.where(owned[there, theme], REPEAT, 1.0), rng
        )
        bought = rng.random(len(there)) < PURCHASE_SHARE
        left, returned = second_thoughts.drawn(bought)
        item = theme * items_per_theme + place
        action = np.where(bought, PURCHASE, np.where(left, CART, BROWSE))
        drawn.append((there, now, item, action))
        back = second_thoughts.returns(now[returned])
        drawn.append(
            (there[returned], back, item[returned], np.full(len(back), RETURN))
        )
        kept = bought & ~returned
        owned[there, theme, place] |= kept
        urn[there, theme] += weight[np.where(returned, BROWSE, action)]

        gap = _gaps(pace[there], rng)
        urn[there] *= 2.0 ** (-gap[:, None] / half_life)
        second[there] = now + gap
        there = there[second[there] <= end]
    user, second, item, action = map(np.concatenate, zip(*drawn, strict=True))
    order = np.lexsort([user, second])
    order = order[second[order] <= end]  # some returns come after the last day
    return user[order], second[order].astype(np.int64), item[order], action[order]


def _gaps(pace: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """[n] whole seconds to the next event: minutes, or hours to weeks."""
    n = len(pace)
    minutes = rng.exponential(4 * 60.0, n)
    away = MEDIAN_ABSENCE * pace * np.exp(rng.normal(0, ABSENCE_SPREAD, n))
    goes_on = rng.random(n) < SAME_SESSION
    return np.ceil(np.where(goes_on, minutes, away)).clip(min=1)


def _draw(weight: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """[n] columns, one a row, each with a probability in proportion to its weight."""
    below = weight.cumsum(axis=1)
    # The threshold is below the last sum in every row, so some column exceeds it.
    threshold = rng.random((len(weight), 1)) * below[:, -1:]
    return (below <= threshold).sum(axis=1).clip(max=weight.shape[1] - 1)


def _raw_log(
    user: np.ndarray,
    second: np.ndarray,
    item: np.ndarray,
    action: np.ndarray,
    item_ids: np.ndarray,
    titles: Sequence[str],
) -> RawLog:
    need("pandas", "a log", "data")
    import pandas as pd

    user_ids = np.array([f"user-{n:05d}" for n in range(user.max() + 1)], dtype=object)
    columns: dict[str, Any] = {
        "user": user_ids[user],
        "item": item_ids[item],
        "time": START + second,
        "action": ACTIONS[action],
    }
    items = pd.DataFrame({"item": item_ids, "text": titles})
    return RawLog(pd.DataFrame(columns), items, {})
