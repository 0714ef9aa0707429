"""Whether one model is better than another, or was lucky with these users.

Two models are compared on the same queries, by their difference on each. What one user
does is much alike from query to query, so users are drawn, each with all their queries:
ten queries of one user tell less than one of ten.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

KIND_PER_USER = 6
"""How much longer it takes to draw how many users of a kind there are than one user."""

FEWEST_DRAWS = 200
"""Draws of a bootstrap that is kept short."""

FEWEST_USERS = 30
"""Users below whom intervals are too short, and too little is known to decide by."""


@dataclass(frozen=True)
class Comparison:
    """How much higher one model's mean is than another's, and how sure that is.

    Attributes:
        difference: The mean over queries of one model less the other.
        low: Where the interval of the difference begins.
        high: Where it ends.
        level: How often such intervals hold the true difference, such as 0.95.
        p: Two-sided: how often chance alone makes a difference as large.
        adjusted_p: The same where several were asked at once (`holm`); else `p`.
        queries: How many queries were compared.
        users: How many users they are of.
    """

    difference: float
    low: float
    high: float
    level: float
    p: float
    adjusted_p: float
    queries: int
    users: int

    @property
    def significant(self) -> bool:
        """Whether the adjusted p is below 1 - `level`."""
        return self.adjusted_p < 1 - self.level

    @property
    def verdict(self) -> str:
        """In words: "better", "worse", or "no difference shown"."""
        if not self.significant:
            return "no difference shown"
        return "better" if self.difference > 0 else "worse"

    def __str__(self) -> str:
        return (
            f"{self.difference:+.4f} [{self.low:+.4f}, {self.high:+.4f}], "
            f"p = {self.adjusted_p:.4f}: {self.verdict}"
        )


def compare(
    one: np.ndarray,
    other: np.ndarray,
    users: np.ndarray,
    *,
    level: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> Comparison:
    """Compares two models by a paired bootstrap over users.

    As many users as there are get drawn with replacement, `resamples` times, and the
    mean difference over the queries of those drawn is taken. The interval runs between
    the quantiles of these means; p is twice the share of them on the far side of 0, so
    that the two agree. p is never below 2 / (resamples + 1).

    Few users make the interval too short: below 30 or so it holds the true
    difference less often than `level` says.

    Args:
        one: [q] a metric of one model on each query, such as `figures.recall()`.
        other: [q] the same metric of the other model on the same queries.
        users: [q] integers, the user of each query: `queries.user`.
        level: Of the interval, between 0 and 1.
        resamples: How often users are drawn.
        seed: Of the draws; the same seed, the same answer.

    Returns:
        The comparison, of `one` less `other`.

    Raises:
        ValueError: The arrays differ in length or hold what is no finite number, there
            are fewer than two users, or a number is out of its range.

    References:
        B. Efron, R. Tibshirani. An introduction to the bootstrap. 1993, chapter 13.
        C. Field, A. Welsh. Bootstrapping clustered data. JRSS B 69(3), 2007.

    >>> users = np.arange(200)
    >>> found = (users % 4 == 0).astype(float)
    >>> print(compare(found, np.zeros(200), users))
    +0.2500 [+0.1900, +0.3100], p = 0.0002: better
    """
    if not 0 < level < 1:
        raise ValueError(f"level={level} must lie between 0 and 1.")
    if resamples < 1:
        raise ValueError(f"resamples={resamples} must be 1 or more.")
    difference = _figures("one", one) - _figures("other", other, len(one))
    totals = _of_users(difference, users)
    total, count = resampled_sums(totals, resamples, seed).T
    return compared(
        float(difference.mean()),
        total / count,
        level=level,
        queries=len(difference),
        users=len(totals),
    )


def compared(
    difference: float, draws: np.ndarray, *, level: float, queries: int, users: int
) -> Comparison:
    """A comparison from the differences that a bootstrap drew.

    Args:
        difference: Of what was seen.
        draws: [resamples] the same of each draw.
        level: Of the interval, between 0 and 1.
        queries: How many queries were compared.
        users: How many users they are of.
    """
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    # The difference itself counts as one more draw, so that p is never 0.
    beyond = min((draws <= 0).sum(), (draws >= 0).sum()) + 1
    p = min(1.0, 2 * float(beyond) / (len(draws) + 1))
    return Comparison(
        difference=difference,
        low=float(low),
        high=float(high),
        level=level,
        p=p,
        adjusted_p=p,
        queries=queries,
        users=users,
    )


def resampled_sums(
    totals: np.ndarray, resamples: int, seed: int, *, effort: int | None = None
) -> np.ndarray:
    """Draws users with replacement, as many as there are, and adds up what they have.

    Args:
        totals: [u, m] numbers of each user.
        resamples: How often users are drawn.
        seed: Of the draws.
        effort: Where users differ so much that more numbers than this would be drawn,
            they are drawn less often, though 200 times at least. No limit when left
            out.

    Returns:
        [resamples, m] float64, or fewer: the sums over the users of each draw.
    """
    # Users with the same totals are drawn together: most differ nowhere, as a rule.
    kinds, size = np.unique(totals, axis=0, return_counts=True)
    if effort is not None:
        resamples = min(resamples, max(FEWEST_DRAWS, effort // len(kinds)))
    rng = np.random.default_rng(seed)
    sums = np.empty((resamples, totals.shape[1]))
    if effort is not None and len(kinds) * KIND_PER_USER > len(totals):
        for row in range(resamples):
            drawn = rng.integers(len(totals), size=len(totals))
            sums[row] = np.bincount(drawn, minlength=len(totals)) @ totals
        return sums
    block = max(1, 2**22 // len(kinds))
    for start in range(0, resamples, block):
        part = sums[start : start + block]
        times = rng.multinomial(len(totals), size / len(totals), size=len(part))
        part[:] = times.astype(np.float64) @ kinds
    return sums


def holm(p_values: Sequence[float] | np.ndarray) -> np.ndarray:
    """Adjusts p-values for being several: of m true nulls none is called, mostly.

    The smallest is multiplied by m, the next by m - 1 and so on; none becomes smaller
    than one before it, nor larger than 1. Calling those below 0.05 then calls a true
    null, one or more, with a chance of at most 0.05, however they depend on each other.

    Args:
        p_values: [m] in [0, 1].

    Returns:
        [m] float64 in [0, 1], in the order given.

    Raises:
        ValueError: A p-value is not in [0, 1], or they are not in one row.

    References:
        S. Holm. A simple sequentially rejective multiple test procedure. Scandinavian
        Journal of Statistics 6(2), 1979.

    >>> holm([0.01, 0.04, 0.03]).tolist()
    [0.03, 0.06, 0.06]
    """
    p = np.asarray(p_values, np.float64)
    if p.ndim != 1:
        raise ValueError(f"p_values is of shape {p.shape}: give one row of them.")
    wrong = ~((p >= 0) & (p <= 1))
    if wrong.any():
        raise ValueError(f"p_values holds {p[wrong][0]}: a p-value lies in 0 to 1.")
    order = np.argsort(p, kind="stable")
    rising = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(rising, 1.0)
    return adjusted


def verdicts(
    models: Mapping[str, np.ndarray],
    users: np.ndarray,
    *,
    against: str,
    level: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> dict[str, Comparison]:
    """Compares several models with one, and asks more of each for being several.

    The p-values are adjusted by `holm` and the verdicts go by them; the intervals are
    those of each comparison alone.

    Args:
        models: [q] a metric on each query, by name of the model.
        users: [q] integers, the user of each query.
        against: The name of the model that the others are compared with.
        level: As in `compare`.
        resamples: As in `compare`.
        seed: As in `compare`.

    Returns:
        Comparisons of the others less that one, by name, in the order given.

    Raises:
        ValueError: `against` is not among the models, or as in `compare`.
    """
    if against not in models:
        raise ValueError(f"against={against!r} is not among the models {list(models)}.")
    alone = {
        name: compare(
            one, models[against], users, level=level, resamples=resamples, seed=seed
        )
        for name, one in models.items()
        if name != against
    }
    adjusted = holm([found.p for found in alone.values()]).tolist()
    return {
        name: replace(found, adjusted_p=p)
        for (name, found), p in zip(alone.items(), adjusted, strict=True)
    }


def _figures(name: str, values: np.ndarray, length: int | None = None) -> np.ndarray:
    values = np.asarray(values, np.float64)
    if values.ndim != 1 or (length is not None and len(values) != length):
        expected = "one number a query" if length is None else f"{length} of them"
        raise ValueError(f"{name} is of shape {values.shape}: give {expected}.")
    wrong = ~np.isfinite(values)
    if wrong.any():
        raise ValueError(
            f"{name} holds {values[wrong][0]} ({wrong.sum():,} of {len(values):,} are "
            "not finite): leave such queries out."
        )
    return values


def _of_users(difference: np.ndarray, users: np.ndarray) -> np.ndarray:
    """[u, 2] float64: what each user's queries sum to, and how many they are."""
    users = np.asarray(users)
    if users.shape != difference.shape:
        raise ValueError(
            f"users is of shape {users.shape}: give the user of each of "
            f"{len(difference):,} queries."
        )
    _, user = np.unique(users, return_inverse=True)
    count = np.bincount(user)
    if len(count) < 2:
        raise ValueError(
            f"the queries are those of {len(count)} user(s): what another user would "
            "have done takes two or more to tell."
        )
    return np.stack([np.bincount(user, weights=difference), count], axis=1)
