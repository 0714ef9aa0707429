"""For how many users one of two won, and whether a coin would do as well."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class SignTest:
    """How often the first of two won, of the users for whom one of them did.

    Attributes:
        wins: Users for whom the first won.
        losses: Users for whom the second did.
        ties: Users for whom neither did; they tell nothing.
        p: Two-sided and exact: how often a fair coin is as far from half and half.
    """

    wins: int
    losses: int
    ties: int
    p: float

    def __str__(self) -> str:
        return (
            f"Users: {self.wins:,} won, {self.losses:,} lost, {self.ties:,} tied; "
            f"p = {self.p:.4f} by a sign test"
        )


def sign_test(differences: np.ndarray) -> SignTest:
    """Tests whether differences are above 0 as often as below it.

    Args:
        differences: [n] finite numbers, one for each user.

    Raises:
        ValueError: They are not in one row, or not finite.

    >>> print(sign_test([2, 1, 1, 1, 3, 0, -1]))
    Users: 5 won, 1 lost, 1 tied; p = 0.2188 by a sign test
    """
    values = np.asarray(differences, np.float64)
    if values.ndim != 1:
        raise ValueError(
            f"differences is of shape {values.shape}: give one number for each user."
        )
    wrong = ~np.isfinite(values)
    if wrong.any():
        raise ValueError(
            f"differences holds {values[wrong][0]} ({wrong.sum():,} of {len(values):,} "
            "are not finite): leave such users out."
        )
    wins, losses = int((values > 0).sum()), int((values < 0).sum())
    return SignTest(wins, losses, len(values) - wins - losses, _p(wins, losses))


def _p(wins: int, losses: int) -> float:
    """Twice the lower tail of a binomial of one half, and at most 1."""
    n, fewer = wins + losses, min(wins, losses)
    if not n:
        return 1.0
    # log C(n, i) for i = 0 to `fewer`, each from the one before it.
    i = np.arange(1, fewer + 1)
    log_ways = np.concatenate([[0.0], np.cumsum(np.log(n - i + 1) - np.log(i))])
    tail = float(np.exp(log_ways - n * math.log(2)).sum())
    return min(1.0, 2 * tail)
