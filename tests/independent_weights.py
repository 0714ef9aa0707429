"""Every family's weight written by hand, and the pooling of a whole history.

What a state must come to. Nothing here is taken from the package but the decays: powers
of a half in extended precision, so that no weight of the tests underflows.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tfrs_decay.decay import (
    Constant,
    Exponential,
    Gaussian,
    Linear,
    LogBucketed,
    Logistic,
    Mixture,
    PowerLaw,
    Product,
    Sum,
    Window,
)

DAY = 86_400
YEAR = 365 * DAY
DIM = 3
HALF = np.longdouble(0.5)
ACTIONS = ("browse", "cart", "purchase")


class History(NamedTuple):
    """Events of one user, [n] each; vectors [n, DIM]."""

    vectors: np.ndarray
    times: np.ndarray
    actions: np.ndarray


def halvings(number):
    return HALF ** np.asarray(number, np.longdouble)


def per_action(values):
    return lambda actions: np.asarray([values.get(one, values["*"]) for one in actions])


def buckets(age):
    """HSTU's buckets by whole numbers: age^2 lies in [2^(i - 1), 2^i)."""
    return np.asarray([int(one * one).bit_length() for one in age.astype(int)])


BY_ACTION = {"browse": 1 * DAY, "purchase": 30 * DAY, "*": 7 * DAY}
STEPS = np.linspace(1.0, 0.02, 50)

# By name: the decay, and its weight as [n] or [n, DIM] of ages, ranks and actions.
EXACT = {
    "constant": (Constant(), lambda age, rank, action: halvings(0 * age)),
    "exponential": (
        Exponential("7d"),
        lambda age, rank, action: halvings(age / (7 * DAY)),
    ),
    "exponential per feature": (
        Exponential(["1d", "30d", "365d"]),
        lambda age, rank, action: halvings(
            age[:, None] / (np.array([1, 30, 365]) * DAY)
        ),
    ),
    "exponential by action": (
        Exponential(BY_ACTION),
        lambda age, rank, action: halvings(age / per_action(BY_ACTION)(action)),
    ),
    "mixture": (
        Mixture(["1d", "30d"], [0.75, 0.25]),
        lambda age, rank, action: (
            0.75 * halvings(age / DAY) + 0.25 * halvings(age / (30 * DAY))
        ),
    ),
    "mixture per feature": (
        Mixture(["1d", "90d"], [[0.5, 0.5], [0.9, 0.1], [0.01, 0.99]]),
        lambda age, rank, action: (
            halvings(age / DAY)[:, None] * [0.5, 0.9, 0.01]
            + halvings(age / (90 * DAY))[:, None] * [0.5, 0.1, 0.99]
        ),
    ),
    "sum": (
        Sum([Exponential("1d"), Constant()], shares=[0.8, 0.2]),
        lambda age, rank, action: 0.8 * halvings(age / DAY) + 0.2,
    ),
    "product": (
        Product([Exponential(BY_ACTION), Mixture(["10d", "365d"])]),
        lambda age, rank, action: (
            halvings(age / per_action(BY_ACTION)(action))
            * (halvings(age / (10 * DAY)) + halvings(age / YEAR))
            / 2
        ),
    ),
}

BUFFERED = {
    "gaussian": (
        Gaussian("60d", offset="5d"),
        lambda age, rank, action: halvings(
            (np.maximum(age - 5 * DAY, 0) / (60 * DAY)) ** 2
        ),
    ),
    "gaussian per feature": (
        Gaussian(["60d", "90d", "365d"]),
        lambda age, rank, action: halvings(
            (age[:, None] / (np.array([60, 90, 365]) * DAY)) ** 2
        ),
    ),
    "linear": (
        Linear("1y"),
        lambda age, rank, action: np.maximum(1 - np.longdouble(age) / (2 * YEAR), 0),
    ),
    "window": (
        Window("30d"),
        lambda age, rank, action: (age < 30 * DAY).astype(np.longdouble),
    ),
    "window by action": (
        Window(BY_ACTION),
        lambda age, rank, action: (age < per_action(BY_ACTION)(action)).astype(
            np.longdouble
        ),
    ),
    "logistic": (
        Logistic("30d", "3d"),
        lambda age, rank, action: (
            (1 + np.exp(np.longdouble(-10)))
            / (1 + np.exp((np.longdouble(age) - 30 * DAY) / (3 * DAY)))
        ),
    ),
    "log-bucketed": (
        LogBucketed(STEPS),
        lambda age, rank, action: np.longdouble(STEPS[np.minimum(buckets(age), 49)]),
    ),
    "exponential by rank": (
        Exponential(5, by="rank"),
        lambda age, rank, action: halvings(rank / 5),
    ),
    "window by rank": (
        Window(3, by="rank"),
        lambda age, rank, action: (rank < 3).astype(np.longdouble),
    ),
    "power law by rank": (
        PowerLaw(2, 0.5, by="rank"),
        lambda age, rank, action: (1 + np.longdouble(rank) / 2) ** -0.5,
    ),
    "clock times rank": (
        Product([Exponential("30d"), Exponential(5, by="rank")]),
        lambda age, rank, action: halvings(age / (30 * DAY)) * halvings(rank / 5),
    ),
}

APPROXIMATE = {
    "power law": (
        PowerLaw("1d", 0.5),
        lambda age, rank, action: (1 + np.longdouble(age) / DAY) ** -0.5,
    ),
    "power law of a clock that halves": (
        Product([PowerLaw("1h", 0.25), Exponential("1y")]),
        lambda age, rank, action: (
            (1 + np.longdouble(age) / 3_600) ** -0.25 * halvings(age / YEAR)
        ),
    ),
}

FAMILIES = {**EXACT, **BUFFERED, **APPROXIMATE}


def weights_of(name, history, time):
    """[n, 1 or DIM] extended precision: what each event weighs under a family."""
    age = time - history.times
    rank = (history.times > history.times[:, None]).sum(axis=1)
    weights = FAMILIES[name][1](age, rank, history.actions)
    return weights if weights.ndim == 2 else weights[:, None]


def mean_of(weights, vectors):
    """[DIM] the weighted mean; zeros where nothing weighs."""
    total = np.asarray(weights).sum(axis=0)
    sums = (weights * vectors).sum(axis=0)
    return np.where(total > 0, sums / np.where(total > 0, total, 1), 0)


def some_history(count, seed, span=10 * YEAR, dim=DIM):
    """Events at any second of a span of time, in no order."""
    random = np.random.default_rng(seed)
    return History(
        random.normal(size=(count, dim)).astype(np.float32),
        random.integers(0, span, count),
        random.choice(ACTIONS, count),
    )
