"""Scores to click-through: what share of those with such a score was clicked.

A model that ranks well says nothing of how likely a click is: its scores are products
of vectors. Two ways of reading them as probabilities are learned from what was shown
and clicked, and two say how far to trust the result. Learn from other events than those
that the result is measured on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from tfrs_decay.data.tables import need

Calibration = Callable[[np.ndarray], np.ndarray]
"""Reads scores as probabilities: [n] floats to [n] float64 in [0, 1]."""


class Isotonic:
    """Any curve that never falls: the higher a score, the likelier a click, or alike.

    The curve is the one nearest to the clicks, by squares; between scores that were
    seen it is a straight line, beyond them it stays level. It takes a few thousand
    examples to be smooth, and has no shape that would be wrong.

    Args:
        scores: [n] finite scores.
        clicked: [n] booleans, or 0 and 1.

    Attributes:
        scores: [m] float64, the distinct scores, rising.
        probability: [m] float64, the curve there.

    Raises:
        ImportError: There is no SciPy.
        ValueError: The two differ in length, hold something else, or are empty.

    References:
        B. Zadrozny, C. Elkan. Transforming classifier scores into accurate multiclass
        probability estimates. KDD 2002.

    >>> read = Isotonic(np.array([1.0, 2.0, 3.0, 4.0]), np.array([0, 1, 0, 1]))
    >>> read(np.array([0.0, 2.0, 3.5, 9.0])).tolist()
    [0.0, 0.5, 0.75, 1.0]
    """

    def __init__(self, scores: np.ndarray, clicked: np.ndarray) -> None:
        need("scipy", "Isotonic", "fit")
        from scipy.optimize import isotonic_regression

        scores, clicked = _examples("scores", scores, clicked)
        self.scores, place = np.unique(scores, return_inverse=True)
        count = np.bincount(place)
        share = np.bincount(place, weights=clicked) / count
        self.probability = np.clip(
            isotonic_regression(share, weights=count.astype(np.float64)).x, 0, 1
        )

    def __call__(self, scores: np.ndarray) -> np.ndarray:
        """[n] float64 in [0, 1]."""
        return np.interp(np.asarray(scores), self.scores, self.probability)


class Logistic:
    """An S-shaped curve, 1 / (1 + e^-(slope score + intercept)), known as Platt's.

    It takes few examples. Clicks count as a little less than 1 and their absence as a
    little more than 0, as Platt has it, so that scores that part them without fault do
    not make the curve a step.

    Args:
        scores: [n] finite scores.
        clicked: [n] booleans, or 0 and 1.

    Attributes:
        slope: Of the score.
        intercept: Where the score is 0.

    Raises:
        ValueError: The two differ in length, hold something else, or are empty; or all
            scores are the same, which says nothing of a slope.

    References:
        J. Platt. Probabilistic outputs for support vector machines. 1999.
    """

    def __init__(self, scores: np.ndarray, clicked: np.ndarray) -> None:
        scores, clicked = _examples("scores", scores, clicked)
        center, spread = float(scores.mean()), float(scores.std())
        if spread == 0:
            raise ValueError(
                f"scores holds {center:g} alone: a slope takes two different scores."
            )
        yes = clicked.sum()
        no = len(clicked) - yes
        wanted = np.where(clicked == 1, (yes + 1) / (yes + 2), 1 / (no + 2))
        inputs = np.stack([(scores - center) / spread, np.ones(len(scores))])
        slope, intercept = _newton(inputs, wanted)
        self.slope = slope / spread
        self.intercept = intercept - self.slope * center

    def __call__(self, scores: np.ndarray) -> np.ndarray:
        """[n] float64 in [0, 1]."""
        return _sigmoid(self.slope * np.asarray(scores, np.float64) + self.intercept)


class Bin(NamedTuple):
    """Predictions that are near to each other, and what became of them.

    low: The lowest prediction.
    high: The highest.
    examples: How many there are.
    predicted: Their mean.
    clicked: The share of them that was clicked.
    """

    low: float
    high: float
    examples: int
    predicted: float
    clicked: float


def reliability(
    probability: np.ndarray, clicked: np.ndarray, *, bins: int = 10
) -> list[Bin]:
    """What was predicted beside what came, in bins of about equally many.

    Clicks are rare: bins of equal width would leave nearly all in the first. Equal
    predictions stay together, so there can be fewer bins than asked for.

    Args:
        probability: [n] predictions in [0, 1].
        clicked: [n] booleans, or 0 and 1.
        bins: How many, 1 or more.

    Returns:
        Bins from the lowest predictions to the highest, none of them empty.

    Raises:
        ValueError: The two differ in length, hold something else, or are empty, or
            `bins` is below 1.

    >>> for one in reliability(np.array([0.1, 0.1, 0.4, 0.6]), [0, 0, 1, 0], bins=2):
    ...     print(one)
    Bin(low=0.1, high=0.1, examples=2, predicted=0.1, clicked=0.0)
    Bin(low=0.4, high=0.6, examples=2, predicted=0.5, clicked=0.5)
    """
    if bins < 1:
        raise ValueError(f"bins={bins} must be 1 or more.")
    probability, clicked = _examples("probability", probability, clicked)
    if probability.min() < 0 or probability.max() > 1:
        wrong = probability[(probability < 0) | (probability > 1)][0]
        raise ValueError(
            f"probability holds {wrong}: give predictions in 0 to 1, such as those of "
            "`Isotonic` or `Logistic`."
        )
    order = np.argsort(probability, kind="stable")
    probability, clicked = probability[order], clicked[order]
    # Each bin begins at the first of its equals.
    begins = probability[np.arange(bins) * len(probability) // bins]
    start = np.unique(np.searchsorted(probability, begins))
    stop = np.append(start[1:], len(probability))
    return [
        Bin(
            low=float(probability[some][0]),
            high=float(probability[some][-1]),
            examples=len(probability[some]),
            predicted=float(probability[some].mean()),
            clicked=float(clicked[some].mean()),
        )
        for some in map(slice, start.tolist(), stop.tolist())
    ]


def expected_calibration_error(
    probability: np.ndarray, clicked: np.ndarray, *, bins: int = 10
) -> float:
    """How far predictions are from what came: the mean over all of their bins' gaps.

    sum over bins of examples / n x |predicted - clicked|, the bins those of
    `reliability`. Chance alone makes it larger than 0: by some
    sqrt(p (1 - p) / examples) a bin.

    Args:
        probability: As in `reliability`.
        clicked: As in `reliability`.
        bins: As in `reliability`.

    Raises:
        ValueError: As in `reliability`.

    References:
        M. Naeini, G. Cooper, M. Hauskrecht. Obtaining well calibrated probabilities
        using Bayesian binning. AAAI 2015.
    """
    table = reliability(probability, clicked, bins=bins)
    gaps = [one.examples * abs(one.predicted - one.clicked) for one in table]
    return sum(gaps) / sum(one.examples for one in table)


def _examples(
    name: str, values: np.ndarray, clicked: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Both as [n] float64."""
    values = np.asarray(values, np.float64)
    clicked = np.asarray(clicked, np.float64)
    if values.ndim != 1 or values.shape != clicked.shape or not len(values):
        raise ValueError(
            f"{name} is of shape {values.shape} and clicked of {clicked.shape}: give "
            "one of each for every example, and one example at least."
        )
    for label, wrong, expected in (
        (name, ~np.isfinite(values), "finite numbers"),
        ("clicked", (clicked != 0) & (clicked != 1), "0 or 1"),
    ):
        if wrong.any():
            held = (values if label == name else clicked)[wrong][0]
            raise ValueError(f"{label} holds {held}: give {expected}.")
    return values, clicked


def _sigmoid(x: np.ndarray) -> np.ndarray:
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, 1.0, small) / (1 + small)


def _newton(inputs: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """The two weights of [2, n] inputs that make `wanted`, [n], likeliest."""

    def loss(weight: np.ndarray) -> float:
        x = weight @ inputs
        return float((np.logaddexp(0, x) - wanted * x).sum())

    weight = np.zeros(2)
    for _ in range(100):
        predicted = _sigmoid(weight @ inputs)
        gradient = inputs @ (predicted - wanted)
        curvature = (inputs * predicted * (1 - predicted)) @ inputs.T
        step = np.linalg.solve(curvature + 1e-12 * np.eye(2), gradient)
        # Half as far, until it is no step up: far from the end a whole one can be.
        size = 1.0
        while loss(weight - size * step) > loss(weight) and size > 1e-6:
            size /= 2
        weight = weight - size * step
        if np.abs(size * step).max() < 1e-10:
            break
    return weight
