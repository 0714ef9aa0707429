"""Two lists shown as one: clicks say which of the two had the better items.

Every user compares both, so that far fewer are needed than where each sees one. It is
written here: the package `interleaving` 0.0.0 is an empty placeholder, and the library
mpkato/interleaving, on GitHub, is not on the package index.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tfrs_decay.data.rules import Rules
from tfrs_decay.experiments.measuring import measure
from tfrs_decay.experiments.outcome import Outcome
from tfrs_decay.experiments.sign_test import sign_test
from tfrs_decay.experiments.traffic import Traffic, arm_names, shown_by

if TYPE_CHECKING:
    import pandas as pd


class Draft(NamedTuple):
    """One list of two.

    items: [k] the items to show, best first.
    teams: [k] whose choice each place is: 0 the first list's, 1 the second's.
    """

    items: list[Any]
    teams: list[int]


def team_draft(
    one: Sequence[Any],
    other: Sequence[Any],
    *,
    k: int | None = None,
    seed: int | np.random.Generator,
) -> Draft:
    """Interleaves two lists as captains choose teams.

    In each round a coin says who is first to put the best of its list that is not yet
    there; then the other does. Both have as many places, or one more by the last coin.
    Two lists that are alike share the places, and so the clicks, by the coin alone.

    Args:
        one: Items, best first, each once.
        other: The other list.
        k: Places to fill; the length of the shorter list when left out.
        seed: Of the coins, another for each request: a fixed one gives the same list
            the better places always. `hash_of(f"{user} {request}", experiment)` makes
            a draft that can be made again.

    Raises:
        ValueError: A list has an item twice, or fewer than `k`; or `k` is below 1.

    References:
        F. Radlinski, M. Kurup, T. Joachims. How does clickthrough data reflect
        retrieval quality? CIKM 2008.

    >>> team_draft(["a", "b", "c"], ["b", "d", "a"], seed=1)
    Draft(items=['a', 'b', 'd'], teams=[0, 1, 1])
    """
    lists = (list(one), list(other))
    k = min(map(len, lists)) if k is None else k
    if k < 1:
        raise ValueError(f"k={k} must be 1 or more, and neither list be empty.")
    for name, items in zip(("one", "other"), lists, strict=True):
        if len(set(items)) != len(items):
            raise ValueError(f"{name}={items} has an item twice.")
        if len(items) < k:
            raise ValueError(
                f"{name} has {len(items)} items and k={k}: a list that ends early "
                "would leave its places to the other."
            )
    rng = np.random.default_rng(seed)
    draft = Draft([], [])
    shown: set[Any] = set()
    # Who has items left in its list: k of them are not all shown before k places are.
    rest = tuple(iter(items) for items in lists)
    while len(draft.items) < k:
        first = int(rng.integers(2))
        for team in (first, 1 - first)[: k - len(draft.items)]:
            item = next(item for item in rest[team] if item not in shown)
            shown.add(item)
            draft.items.append(item)
            draft.teams.append(team)
    return draft


def interleaved(
    impressions: Mapping[str, Any] | pd.DataFrame,
    arms: Sequence[str],
    *,
    control: str | None = None,
    rewards: Iterable[str] | None = None,
    duplicates: str = "refuse",
    rules: Rules | None = None,
    level: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> Outcome:
    """Compares two recommenders by what came of each one's places.

    The rate of each is clicks over its places, all users together; the sign test asks
    for how many users a place of the one was clicked more often than of the other, and
    is of the first metric. The rates tell how much, the test how many users agree.

    Args:
        impressions: Columns as in `live`, of which arm is the name of the recommender
            whose choice the place was.
        arms: The two names.
        control: The one that the other is compared with; the first when left out.
        rewards: As in `live`.
        duplicates: As in `live`.
        rules: As in `live`.
        level: As in `live`.
        resamples: As in `live`.
        seed: As in `live`.

    Raises:
        ValueError: As in `live`, or there are not two arms.
    """
    names = arm_names(arms, control)
    if len(names) != 2:
        raise ValueError(f"arms={names}: two lists are interleaved.")
    rows, repeated = shown_by(Traffic(impressions, rules), names, rewards, duplicates)
    outcome = measure(
        rows,
        kind="interleaving",
        control=names[0] if control is None else control,
        level=level,
        resamples=resamples,
        seed=seed,
        dropped={"it stands twice": repeated} if repeated else {},
    )
    first = next(iter(rows.reward.values()))
    other = next(one for one in names if one != outcome.control)
    sign = rows.weight[other] - rows.weight[outcome.control]
    return replace(outcome, sign_test=sign_test(np.bincount(rows.user, sign * first)))
