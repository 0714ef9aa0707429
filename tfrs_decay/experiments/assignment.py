"""Who sees which arm of an experiment: by a hash, the same everywhere and for good.

Nothing is stored and nothing is drawn: a web server, a stream worker and the analysis
weeks later ask the same question of the same two words, and get the same answer.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate
from typing import Any

import numpy as np

BITS = 64
"""Of a hash that are read: an arm's share is right to one user in 2^64."""

LEAST_EXPECTED = 5
"""Users that each arm is expected to have before a chi-square test means anything."""

ALARM = 0.001
"""The p below which the users' numbers do not fit the weights. It is lower than usual,
for the question is asked of every experiment, each day that it runs."""


def hash_of(user: str | bytes | int, experiment: str) -> int:
    """A user's place in an experiment, an integer of 64 bits.

    The first 8 bytes of SHA-256, as one big-endian integer, of: the experiment's name
    in UTF-8, a byte 0, the user's id. An id of text is its UTF-8, bytes are taken as
    they are and an integer as its decimal digits, so 1, "1" and b"1" are one user.
    Nothing else is done to an id: " 1", "01" and "A" are not "1", "1" and "a".

    Args:
        user: An id, not empty.
        experiment: The experiment's name, not empty; users are dealt anew, and
            independently, under every other name.

    Raises:
        TypeError: The id is neither text, nor bytes, nor an integer.
        ValueError: The id or the name is empty, or the name holds the character 0.

    >>> hex(hash_of("1", "decay in the basket"))
    '0x81e93e2e8a7520fc'
    """
    return _hash(_salt(experiment), _bytes_of(user))


def assign(
    users: Any, experiment: str, weights: Mapping[str, float] | Sequence[str]
) -> Any:
    """Gives each user an arm.

    Hashes are cut into as many ranges as there are arms, in the order given, each as
    long as its weight. So a user keeps the arm while the order and the weights stay;
    where the last of two arms grows, some users of the first move to it and none back.

    Args:
        users: [n] ids, of text, bytes or integers, or one of them.
        experiment: The experiment's name.
        weights: What share of the users each arm gets, relative to the others, such as
            {"control": 9, "decay": 1}; or the arms' names alone, for equal shares.

    Returns:
        [n] the arms' names, an object array; one name for one id.

    Raises:
        TypeError: An id is neither text, nor bytes, nor an integer.
        ValueError: An id is empty, there are fewer than two arms, a weight is not a
            finite number of 0 or more, all are 0, or the name is empty.

    >>> assign([1, "1", b"1", 4], "decay in the basket", ["control", "decay"]).tolist()
    ['decay', 'decay', 'decay', 'control']
    """
    arms = _weights(weights)
    salt = _salt(experiment)
    total = sum(arms.values())
    # Whole numbers and fractions throughout: no machine rounds them otherwise.
    ends = [int(end * 2**BITS / total) for end in accumulate(arms.values())]
    names = list(arms)

    def arm_of(user: Any) -> str:
        place = _hash(salt, _bytes_of(user))
        return names[next(arm for arm, end in enumerate(ends) if place < end)]

    if isinstance(users, (str, bytes)) or np.ndim(users) == 0:
        return arm_of(users)
    if np.ndim(users) != 1:
        raise ValueError(f"users is of shape {np.shape(users)}: give one row of ids.")
    given = users.tolist() if hasattr(users, "tolist") else list(users)
    known: dict[Any, str] = {}
    chosen = np.empty(len(given), object)
    for row, user in enumerate(given):
        # True would find the arm of 1, and a float that of its integer.
        key = (type(user), user)
        if key not in known:
            known[key] = arm_of(user)
        chosen[row] = known[key]
    return chosen


@dataclass(frozen=True)
class SampleRatio:
    """Whether the arms have as many users as they were meant to.

    Attributes:
        observed: Users by arm.
        expected: Users by arm that the weights ask for.
        chi_square: The sum over arms of (observed - expected)^2 / expected.
        p: How often chance alone makes a sum as large.
    """

    observed: Mapping[str, int]
    expected: Mapping[str, float]
    chi_square: float
    p: float

    @property
    def fits(self) -> bool:
        """Whether p is at least 0.001, `ALARM`."""
        return self.p >= ALARM

    def __str__(self) -> str:
        parts = ", ".join(
            f"{arm} {count:,} of {self.expected[arm]:,.0f} expected"
            for arm, count in self.observed.items()
        )
        verdict = "as it should be" if self.fits else "not as it should be"
        return f"{parts}; p = {self.p:.4f}: {verdict}"


def sample_ratio(
    counts: Mapping[str, int], weights: Mapping[str, float] | Sequence[str]
) -> SampleRatio:
    """Tests whether users were lost or moved on their way to an arm.

    Where they were (a slow page that people leave, a bot that is filtered in one arm),
    those who are left differ, and no difference between the arms can be believed.

    Args:
        counts: Distinct users seen, by arm.
        weights: As `assign` had them.

    Raises:
        ValueError: The arms are not the same, a count is below 0 or not whole, an arm
            of weight 0 has users, or fewer than 5 are expected in an arm.

    References:
        A. Fabijan et al. Diagnosing sample ratio mismatch in online controlled
        experiments. KDD 2019.

    >>> print(sample_ratio({"control": 4_980, "decay": 5_020}, ["control", "decay"]))
    control 4,980 of 5,000 expected, decay 5,020 of 5,000 expected; p = 0.6892: as it
    should be
    """
    arms = _weights(weights)
    if set(counts) != set(arms):
        raise ValueError(
            f"counts has the arms {sorted(counts)} and weights {sorted(arms)}: give "
            "the users of each arm."
        )
    for arm, count in counts.items():
        if count != int(count) or count < 0:
            raise ValueError(f"counts[{arm!r}]={count}: give a whole number of users.")
        if arms[arm] == 0 and count:
            raise ValueError(
                f"counts[{arm!r}]={count}, and the arm's weight is 0: nobody should "
                "have been given it."
            )
    total = sum(counts.values())
    expected = expected_users(total, weights)
    tested = [arm for arm, weight in arms.items() if weight]
    least = min(tested, key=lambda arm: expected[arm])
    if expected[least] < LEAST_EXPECTED:
        raise ValueError(
            f"counts has {total} users, of whom {expected[least]:.1f} are expected in "
            f"{least!r}: below {LEAST_EXPECTED} the test says nothing."
        )
    chi_square = sum(
        (counts[arm] - expected[arm]) ** 2 / expected[arm] for arm in tested
    )
    return SampleRatio(
        observed={arm: int(counts[arm]) for arm in arms},
        expected=expected,
        chi_square=float(chi_square),
        p=_chi_square_tail(float(chi_square), len(tested) - 1),
    )


def expected_users(
    total: int, weights: Mapping[str, float] | Sequence[str]
) -> dict[str, float]:
    """How many of so many users each arm should have.

    Args:
        total: Users of all arms.
        weights: As `assign` had them.

    Raises:
        ValueError: As in `assign`.
    """
    arms = _weights(weights)
    whole = sum(arms.values())
    return {arm: float(weight * total / whole) for arm, weight in arms.items()}


def _salt(experiment: str) -> Any:
    """SHA-256 that has read the experiment's name."""
    if not isinstance(experiment, str) or not experiment or "\0" in experiment:
        raise ValueError(
            f"experiment={experiment!r}: give the experiment's name, as text that is "
            "not empty and has no character 0."
        )
    return hashlib.sha256(experiment.encode() + b"\0")


def _hash(salt: Any, user: bytes) -> int:
    digest = salt.copy()
    digest.update(user)
    return int.from_bytes(digest.digest()[: BITS // 8], "big")


def _bytes_of(user: Any) -> bytes:
    if isinstance(user, (bool, np.bool_)) or not isinstance(
        user, (str, bytes, int, np.integer)
    ):
        raise TypeError(
            f"users holds {user!r}, a {type(user).__name__}: ids are text, bytes or "
            "integers. A column of integers with a gap is read as floats: leave the "
            "rows without a user out, then make integers of the rest."
        )
    written = user if isinstance(user, bytes) else str(user).encode()
    if not written:
        raise ValueError(
            f"users holds {user!r}, which is no user: all who have no id would get the "
            "same arm."
        )
    return written


def _weights(weights: Mapping[str, float] | Sequence[str]) -> dict[str, Fraction]:
    """Weights by arm as exact fractions; checked."""
    if isinstance(weights, (str, bytes)):
        raise ValueError(f"weights={weights!r}: give two arms or more.")
    if not isinstance(weights, Mapping):
        if len(set(weights)) != len(weights):
            raise ValueError(f"weights={list(weights)!r} names an arm twice.")
        weights = dict.fromkeys(weights, 1)
    if len(weights) < 2:
        raise ValueError(f"weights={dict(weights)!r}: give two arms or more.")
    for arm, weight in weights.items():
        if not (math.isfinite(weight) and weight >= 0):
            raise ValueError(
                f"weights[{arm!r}]={weight}: a weight is a finite number, 0 or more."
            )
    if not any(weights.values()):
        raise ValueError(f"weights={dict(weights)!r}: all of them are 0.")
    # As it is written: 0.1 is a tenth, not the float next to it.
    return {arm: Fraction(str(weight)) for arm, weight in weights.items()}


def _chi_square_tail(value: float, degrees: int) -> float:
    """The chance of a chi-square above `value`.

    The incomplete gamma function at halves, by Q(a + 1, y) = Q(a, y) + y^a e^-y /
    gamma(a + 1) from Q(1/2, y) = erfc(sqrt(y)) or Q(1, y) = e^-y. It saves SciPy.
    """
    y = value / 2
    at, tail = (0.5, math.erfc(math.sqrt(y))) if degrees % 2 else (1.0, math.exp(-y))
    while at < degrees / 2:
        tail += math.exp(at * math.log(y) - y - math.lgamma(at + 1)) if y else 0.0
        at += 1
    return tail
