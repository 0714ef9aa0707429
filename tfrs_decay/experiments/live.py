"""What a live experiment found: arms beside one another, users as clusters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tfrs_decay.data.cleaning import counted
from tfrs_decay.data.rules import Rules
from tfrs_decay.experiments.assignment import (
    LEAST_EXPECTED,
    SampleRatio,
    expected_users,
    sample_ratio,
)
from tfrs_decay.experiments.measuring import Impressions, measure
from tfrs_decay.experiments.outcome import Outcome
from tfrs_decay.experiments.traffic import Traffic, arm_names, shown_by

if TYPE_CHECKING:
    import pandas as pd

SEVERAL_ARMS = "the user was shown more than one arm"


def live(
    impressions: Mapping[str, Any] | pd.DataFrame,
    arms: Mapping[str, float] | Sequence[str],
    *,
    control: str | None = None,
    rewards: Iterable[str] | None = None,
    duplicates: str = "refuse",
    rules: Rules | None = None,
    level: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> Outcome:
    """Compares the arms of a live experiment by what came of their impressions.

    A rate is clicks over impressions, and its interval comes from drawing users, each
    with all impressions, as `evaluation.compare` does: what one user does is much
    alike. Users who were shown more than one arm are left out of all, and counted.

    Args:
        impressions: Columns user, arm, item, time, click and, where they are known,
            position (from 1 on), request (the id of its list), purchase or conversion
            (of an impression: 0 or 1) and segment. A pandas frame, or arrays by name.
            Times are dates or numbers.
        arms: The arms and their weights, as `assign` had them. Whether the users'
            numbers fit the weights is tested, and told first where they do not.
        control: The arm that the others are compared with; the first when left out.
        rewards: Columns that say what came of an impression; click, purchase and
            conversion, where they are there, when left out. Others may be any finite
            number.
        duplicates: What to do with an impression (request, user, item, position, time)
            that stands twice: "refuse" it, or "drop" and count all but the first.
        rules: How times are meant: their `time_unit`, `time_zone` and `day_first`, as a
            log's are; UTC and seconds when left out. Other rules mean nothing here.
        level: Of the intervals, between 0 and 1.
        resamples: How often users are drawn.
        seed: Of the draws.

    Raises:
        ValueError: There are no rows, a column is missing or holds something else, an
            arm is unknown, impressions stand twice, or an arm has fewer than 5 users.
    """
    names = arm_names(arms, control)
    rows, repeated = shown_by(Traffic(impressions, rules), names, rewards, duplicates)
    several = _in_several_arms(rows)
    dropped = {"it stands twice": repeated, SEVERAL_ARMS: int(several.sum())}
    if several.all():
        raise ValueError(
            "impressions: every user was shown more than one arm, so that none can be "
            "said to be in one. Is the arm assigned by user?"
        )
    rows = rows.where(~several)
    ratio, notes = _ratio(rows, arms)
    return measure(
        rows,
        kind="live",
        control=names[0] if control is None else control,
        level=level,
        resamples=resamples,
        seed=seed,
        dropped={why: count for why, count in dropped.items() if count},
        notes=notes,
        sample_ratio=ratio,
    )


def _in_several_arms(rows: Impressions) -> np.ndarray:
    """[n] bool, impressions of users who have impressions of two arms or more."""
    has = [np.bincount(rows.user, one) > 0 for one in rows.weight.values()]
    return (np.sum(has, axis=0) > 1)[rows.user]


def _ratio(
    rows: Impressions, arms: Mapping[str, float] | Sequence[str]
) -> tuple[SampleRatio | None, list[str]]:
    """The test of the users' numbers, or a note on why there is none."""
    users = {
        arm: len(np.unique(rows.user[weight > 0]))
        for arm, weight in rows.weight.items()
    }
    total = sum(users.values())
    fewest = min(filter(None, expected_users(total, arms).values()))
    if fewest < LEAST_EXPECTED:
        return None, [
            f"{counted(total, 'user')} are too few to test whether the arms have the "
            f"users that they should: {fewest:.1f} are expected in one."
        ]
    return sample_ratio(users, arms), []
