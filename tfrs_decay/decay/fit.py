"""Sums of exponentials fitted to heavy tails, with a bound on the error.

Every completely monotone function, such as a power law, is a sum of infinitely many
positive exponentials; a few of them, well chosen, come close over a stated range. A sum
of exponentials can be kept up to date in constant time, which a power law cannot.

An error may be told as a share of a new event's weight, 1, or as a share of the weight
at the same age. The second takes more exponentials, and it is what an idle user's mean
needs: there all weights are small, and what they are beside each other is all.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from tfrs_decay.decay.base import Condition, Term, Terms
from tfrs_decay.decay.convex import greatest_difference
from tfrs_decay.durations import to_text

MOST_TERMS, MOST_RELATIVE_TERMS = 16, 32
"""The most exponentials of a fit, unless another number is asked for: where errors are
shares of a new event's weight, and where they are shares of the weight at each age."""

FIT_POINTS = 20
"""Ages a decade at which errors are made small."""

BOUND_POINTS, BOUND_CLOSER = 350, 8.0
"""Ages a decade between which the bound for an error of 1e-3 is told, and how many
times as many there are at most for a smaller one."""

SHORTEST = 1e-18
"""The least age looked at, as a share of the horizon."""

PRESS = 100.0
"""How much more it weighs that shares sum to 1 than that one age is met."""

LEAST_SHARE = 1e-9
"""What a curve has of a term that it does not need, as a share of what the term could
be at most: a share is above 0."""

LEAST_WEIGHT = 1e-30
"""A relative fit ends where the weight is smaller, if that is before the horizon."""

FIRST_CURVES, MOST_CURVES = 3, 16
"""Of the curves of many features, how many decide the rates."""

MOVE_STEPS, LEVEL_STEPS = 20, 40
"""The most steps of least squares, and of linear programs."""

LEVEL_ENOUGH = 0.002
"""A step that lowers the greatest error by a smaller share of it is the last."""

DECIMALS = 4
"""Of the logarithms of rates: the last digits of a fit are the machine's."""

ROUNDING = 1e-12
"""More than what an error is off for being computed in float64."""

NEAR = 3.0
"""Least squares this many times as far off as allowed are worth going on with."""


class Fit(NamedTuple):
    """A sum of exponentials: weight(age) = sum_k shares_k e^(-rates_k age).

    rates: [terms] per second, the fastest first, all above 0.
    shares: [terms] or [features, terms], above 0; each row sums to 1.
    error: The most that the sum differs from the weight at any age from 0 to the
        horizon; as a share of the weight where the fit is a relative one.
    """

    rates: np.ndarray
    shares: np.ndarray
    error: float


def fit_exponentials(
    weight: Callable[[np.ndarray], np.ndarray],
    *,
    horizon: float,
    max_error: float,
    relative: bool = False,
    most_terms: int | None = None,
) -> Fit:
    """The fewest exponentials whose sum stays near a completely monotone weight.

    Terms are added one at a time, where one more helps most, and then all rates move
    to the least squared error, the shares being solved for. A single curve's are moved
    on, by linear programs, until its greatest error is as small as that many terms
    allow, unless errors are relative. Nothing is drawn by chance: the same input gives
    the same sum.

    Args:
        weight: [n] ages in seconds -> [n] weights, or [n, features]; 1 at age 0 and
            completely monotone. Features share the rates and have shares of their own.
        horizon: The greatest age, in seconds.
        max_error: How far the sum may be from the weight, between 0 and 1.
        relative: Whether errors are shares of the weight at the same age. Then they
            count up to the age at which it falls under 1e-30.
        most_terms: The most exponentials; 16 when left out, and 32 of a relative fit.

    Returns:
        Rates, shares, and a bound on the error that holds at every age up to the
        horizon, not only where it was measured: weight and sum are both convex, and
        so are their logarithms.

    Raises:
        ValueError: `max_error`, `horizon` or `most_terms` is out of range, or so many
            terms do not come near enough.
        ImportError: SciPy is not installed.

    References:
        G. Beylkin, L. Monzon. On approximation of functions by exponential sums.
        Applied and Computational Harmonic Analysis 2005. D. Braess. Nonlinear
        Approximation Theory. Springer 1986 (the best sum is unique and positive).
        G. Golub, V. Pereyra. Separable nonlinear least squares. Inverse Problems 2003.

    >>> fit = fit_exponentials(
    ...     lambda age: (1 + age) ** -0.5, horizon=1e5, max_error=1e-3
    ... )
    >>> len(fit.rates), fit.error < 1e-3
    (7, True)
    """
    if not 0 < max_error < 1:
        raise ValueError(f"max_error={max_error} must lie between 0 and 1.")
    if not (math.isfinite(horizon) and horizon > 0):
        raise ValueError(f"horizon={horizon} must be finite and above 0.")
    if most_terms is None:
        most_terms = MOST_RELATIVE_TERMS if relative else MOST_TERMS
    if most_terms < 1:
        raise ValueError(f"most_terms={most_terms} must be 1 or more.")

    def curves_at(time: np.ndarray) -> np.ndarray:
        return np.asarray(weight(time * horizon), np.float64).reshape(len(time), -1)

    first = _first_fall(curves_at, max_error)
    time = _spread(first, FIT_POINTS)
    # Features that fade alike are fitted once.
    curves, of_feature = np.unique(curves_at(time), axis=1, return_inverse=True)
    of_feature = np.ravel(of_feature)
    one_of_each = np.unique(of_feature, return_index=True)[1]
    # The slack of the bound falls as the square of how close the ages are.
    closer = min(math.sqrt(max(1e-3 / max_error, 1.0)), BOUND_CLOSER)
    fine = _spread(first / 1_000, BOUND_POINTS * closer)
    exact = curves_at(fine)[:, one_of_each]

    # Rates worth having: the greatest is over when anything begins to fall; under the
    # least, of what is left at the horizon not a tenth of what may be missed is lost.
    left = float(np.clip(curves[-1].max(), ROUNDING, 1 - ROUNDING))
    may_miss = max_error * left if relative else max_error
    least = (1 - left) * min(0.01, may_miss / (10 * left))
    terms = _Terms(
        time,
        [
            _Curve(
                one, np.maximum(one, LEAST_WEIGHT) if relative else np.ones_like(one)
            )
            for one in curves.T
        ],
        (math.log(least), math.log(3 / first)),
    )
    best = math.inf
    for added in range(1, 2 * most_terms + 1):  # twice, for some are dropped again
        terms.add()
        last = len(terms.log_rates) >= most_terms or added == 2 * most_terms
        if terms.error() > NEAR * max_error and not last:
            continue
        # Levelling a relative fit saves one term at most, and where it ends is a matter
        # of a machine's last digits; states are told apart by their rates.
        level = len(curves.T) == 1 and not relative
        shares = terms.level() if level else terms.share(max_error)
        fitted = terms.basis(fine) @ shares.T
        if relative:
            error = _greatest_share(fine, exact, fitted)
        else:
            error = greatest_difference(fine, exact, fitted)
        error += ROUNDING
        best = min(best, error)
        if error <= max_error:
            order = np.argsort(-terms.log_rates)
            shares = shares[of_feature][:, order]
            single = np.ndim(weight(np.zeros(1))) == 1
            return Fit(
                rates=np.exp(terms.log_rates[order]) / horizon,
                shares=shares[0] if single else shares,
                error=error,
            )
        if last:
            break
    raise ValueError(
        f"no sum of {most_terms} exponentials comes within max_error={max_error:g} up "
        f"to horizon={to_text(horizon)!r}: the best found is {best:.2g} off. Allow "
        "more, or ask for a shorter horizon."
    )


def fit_terms(
    weight: Callable[[np.ndarray], np.ndarray],
    *,
    max_error: float,
    horizon: float,
    relative: bool = False,
    conditions: tuple[Condition, ...] = (),
) -> Terms:
    """As `fit_exponentials`, in the form that a decay gives its exponentials in.

    Args:
        weight: [n] ages in seconds -> [n] or [n, features] weights.
        max_error: How far the sum may be from the weight.
        horizon: The greatest age, in seconds.
        relative: Whether errors are shares of the weight at the same age.
        conditions: The events that this weight is of.

    Raises:
        ValueError: No sum of so few exponentials is near enough.
        ImportError: SciPy is not installed.
    """
    fit = fit_exponentials(
        weight, horizon=horizon, max_error=max_error, relative=relative
    )
    log_shares = np.log(np.moveaxis(fit.shares, -1, 0))
    terms = [
        Term(np.asarray(rate), np.asarray(log_share), conditions)
        for rate, log_share in zip(fit.rates, log_shares, strict=True)
    ]
    return Terms(terms, fit.error)


class _Curve(NamedTuple):
    """What is to be met.

    weight: [n]
    unit: [n] what errors are shares of.
    """

    weight: np.ndarray
    unit: np.ndarray

    def off(self, fitted: np.ndarray) -> np.ndarray:
        """[n] the errors of a sum, [n]."""
        return (fitted - self.weight) / self.unit

    def most(self, basis: np.ndarray) -> np.ndarray:
        """[terms] the share with which a term alone comes to 1 unit somewhere."""
        return 1 / (basis / self.unit[:, None]).max(axis=0)

    def uses(self, basis: np.ndarray, shares: np.ndarray) -> np.ndarray:
        """[terms] bool: whether it needs each of them."""
        return shares > 2 * LEAST_SHARE * self.most(basis)


class _Terms:
    """Exponentials on their way to a fit; time is a share of the horizon.

    Args:
        time: [n] from 0 to 1, evenly in the logarithm.
        curves: The weights.
        bounds: The logarithms of the least and the greatest rate worth having.
    """

    def __init__(
        self,
        time: np.ndarray,
        curves: Sequence[_Curve],
        bounds: tuple[float, float],
    ) -> None:
        self._optimize = _scipy_optimize()
        self._time = time
        self._curves = curves
        self._range = bounds
        self._deciding = _unlike(curves)
        self.log_rates = np.zeros(0)

    def basis(self, time: np.ndarray) -> np.ndarray:
        """[n] times -> [n, terms] exponentials."""
        return _exponentials(time, self.log_rates)

    def error(self) -> float:
        """The greatest error of the curves that decide the rates."""
        basis = self.basis(self._time)
        return max(
            float(np.abs(one.off(basis @ self._shares(basis, one))).max())
            for one in self._deciding_curves()
        )

    def add(self) -> None:
        """One more, where it helps most; then all rates move."""
        rates = np.linspace(*self._range, 300)
        alone = _exponentials(self._time, rates)
        gain = np.zeros(len(rates))
        basis = self.basis(self._time)
        for curve in self._deciding_curves():
            if not len(self.log_rates):
                gain -= (curve.off(alone.T) ** 2).sum(axis=1)
                continue
            now = basis @ self._shares(basis, curve)
            # How much the squared error falls when a part of the sum gives way.
            away = (alone.T - now) / curve.unit
            meets = np.maximum(away @ -curve.off(now), 0.0)
            gain += meets**2 / (away**2).sum(axis=1)
        self.log_rates = np.append(self.log_rates, rates[gain.argmax()])
        self._move()

    def share(self, max_error: float) -> np.ndarray:
        """All curves' shares, [curves, terms]; who is badly off decides with others."""
        while True:
            basis = self.basis(self._time)
            shares = np.stack([self._shares(basis, one) for one in self._curves])
            fitted = shares @ basis.T
            errors = [
                float(np.abs(one.off(sums)).max())
                for one, sums in zip(self._curves, fitted, strict=True)
            ]
            worst = int(np.argmax(errors))
            decided = worst in self._deciding or len(self._deciding) == MOST_CURVES
            if decided or errors[worst] <= max_error:
                return shares
            self._deciding.append(worst)
            self._move()

    def level(self) -> np.ndarray:
        """The single curve's shares, [1, terms], when its greatest error is least.

        Where errors are not relative: a unit is 1 here. A minimax fit: each step solves
        the linear program of the errors' first order within reach, and the reach
        shrinks where first order does not hold.
        """
        time, curve = self._time, self._curves[0]
        basis = self.basis(time)
        shares = self._shares(basis, curve)
        error = curve.off(basis @ shares)
        if np.abs(error).max() < ROUNDING:
            return shares[None]
        reach = 1.0
        for _ in range(LEVEL_STEPS):
            change, turn = self._level_step(shares, error, reach)
            log_rates = self.log_rates + turn
            moved = shares * (1 + change)
            moved /= moved.sum()
            now = curve.off(_exponentials(time, log_rates) @ moved)
            fall = 1 - np.abs(now).max() / np.abs(error).max()
            furthest = np.abs(turn).max()
            if fall <= 0:
                reach = min(reach, furthest) / 4
                continue
            self.log_rates, shares, error = log_rates, moved, now
            if furthest > 0.9 * reach:
                reach *= 2
            elif fall < LEVEL_ENOUGH:
                break
        self.log_rates = np.round(self.log_rates, DECIMALS)
        error = curve.off(self.basis(time) @ shares)
        change, _ = self._level_step(shares, error, 0.0)
        shares = shares * (1 + change)
        return (shares / shares.sum())[None]

    def _level_step(
        self, shares: np.ndarray, error: np.ndarray, reach: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """The changes of log shares and of log rates, [terms], that level the errors.

        Args:
            shares: [terms]
            error: [n] the errors with these shares.
            reach: The most that the logarithm of a rate may change.
        """
        count = len(shares)
        parts = self.basis(self._time) * shares
        slopes = -parts * np.outer(self._time, np.exp(self.log_rates))
        # In units of the error now: the solver's own tolerance is an absolute one.
        greatest = np.abs(error).max()
        jacobian = np.hstack([parts, slopes]) / greatest
        below = np.full([len(error), 1], -1.0)
        low, high = self._range
        of_rates = zip(
            np.minimum(np.maximum(-reach, low - self.log_rates), 0.0),
            np.maximum(np.minimum(reach, high - self.log_rates), 0.0),
            strict=True,
        )
        found = self._optimize.linprog(
            np.append(np.zeros(2 * count), 1.0),
            A_ub=np.vstack(
                [np.hstack([jacobian, below]), np.hstack([-jacobian, below])]
            ),
            b_ub=np.concatenate([-error, error]) / greatest,
            A_eq=np.append(shares, np.zeros(count + 1))[None],
            b_eq=[0.0],
            bounds=[*((-0.9, None) for _ in shares), *of_rates, (0.0, None)],
            method="highs-ds",
        )
        step = np.zeros(2 * count) if found.x is None else found.x[:-1]
        return step[:count], step[count:]

    def _move(self) -> None:
        """All rates to the least squared error of the deciding curves."""
        curves = self._deciding_curves()
        # SciPy asks for errors and slopes at the same rates one after the other.
        solved: dict[bytes, tuple[np.ndarray, np.ndarray]] = {}

        def at(log_rates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            key = log_rates.tobytes()
            if key not in solved:
                solved.clear()
                solved[key] = self._errors_and_slopes(log_rates, curves)
            return solved[key]

        low, high = self._range
        found = self._optimize.least_squares(
            lambda log_rates: at(log_rates)[0],
            np.clip(self.log_rates, low, high),
            lambda log_rates: at(log_rates)[1],
            # A hair wider, for a start on the edge.
            bounds=(low - 1e-3, high + 1e-3),
            max_nfev=MOVE_STEPS,
        )
        basis = _exponentials(self._time, found.x)
        used = [one.uses(basis, self._shares(basis, one)) for one in curves]
        self.log_rates = np.round(found.x[np.any(used, axis=0)], DECIMALS)

    def _deciding_curves(self) -> list[_Curve]:
        return [self._curves[one] for one in self._deciding]

    def _errors_and_slopes(
        self, log_rates: np.ndarray, curves: Sequence[_Curve]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Errors of curves and their slopes over the rates, shares being solved for.

        Each curve's are turned so that as many rows are left as there are rates, and
        one for what no rate can change: least squares sees no difference, and sums over
        ages are taken once, not in every step.
        """
        basis = _exponentials(self._time, log_rates)
        moving = -np.outer(self._time, np.exp(log_rates))
        errors, slopes = [], []
        for curve in curves:
            shares = self._shares(basis, curve)
            parts = basis * shares / curve.unit[:, None]
            used = curve.uses(basis, shares)
            turn, square = np.linalg.qr(_unmet(parts, used, moving * parts))
            error = curve.off(basis @ shares)
            met = turn.T @ error
            errors += [met, [math.sqrt(max(error @ error - met @ met, 0.0))]]
            slopes += [square, np.zeros([1, len(log_rates)])]
        return np.concatenate(errors), np.vstack(slopes)

    def _shares(self, basis: np.ndarray, curve: _Curve) -> np.ndarray:
        """[terms] above 0, summing to 1, of a curve's least squared error."""
        most = curve.most(basis)
        # Turned into as few rows as there are terms: the squared errors differ by what
        # no shares could change.
        unit = curve.unit[:, None]
        rows = np.vstack([basis / unit, np.full(basis.shape[1], PRESS)])
        turn, square = np.linalg.qr(rows * most)
        aims = np.append(curve.weight / curve.unit, PRESS)
        found, _ = self._optimize.nnls(square, turn.T @ aims)
        shares = np.maximum(found, LEAST_SHARE) * most
        return shares / shares.sum()


def _exponentials(time: np.ndarray, log_rates: np.ndarray) -> np.ndarray:
    return np.exp(-np.outer(time, np.exp(log_rates)))


def _greatest_share(time: np.ndarray, exact: np.ndarray, fitted: np.ndarray) -> float:
    """A bound on the relative error, up to where a curve falls under `LEAST_WEIGHT`.

    Args:
        time: [n] rising.
        exact: [n, curves] completely monotone weights.
        fitted: [n, curves] sums of positive exponentials.
    """
    most = 0.0
    for one, other in zip(exact.T, fitted.T, strict=True):
        counts = one >= LEAST_WEIGHT
        log_one = np.log(one[counts])[:, None]
        # A sum that underflows where the curve does not is as far off as can be.
        log_other = np.log(np.maximum(other[counts], LEAST_WEIGHT / 2))[:, None]
        most = max(most, greatest_difference(time[counts], log_one, log_other))
    return math.expm1(most)


def _unmet(parts: np.ndarray, used: np.ndarray, slopes: np.ndarray) -> np.ndarray:
    """What of the slopes [n, terms] no change of the shares can make up for.

    Kaufman's slopes of a fit whose shares are solved for: the part at right angles to
    every change of shares that leaves the unused ones at 0. That shares sum to 1 is
    an aim of theirs like another, and so it is left out.
    """
    if not used.any():
        return slopes
    frame, _ = np.linalg.qr(parts[:, used])
    return slopes - frame @ (frame.T @ slopes)


def _first_fall(
    curves_at: Callable[[np.ndarray], np.ndarray], max_error: float
) -> float:
    """The time when the first curve has fallen by a tenth of what may be missed."""
    time = np.geomspace(SHORTEST, 1e-3, 1_000)
    fallen = (1 - curves_at(time)).max(axis=1) > max_error / 10
    return float(time[fallen.argmax()] if fallen.any() else time[-1])


def _spread(first: float, points: float) -> np.ndarray:
    """0, and times from the first to 1, so many a decade."""
    count = math.ceil(-points * math.log10(first)) + 1
    return np.concatenate([[0.0], np.geomspace(first, 1.0, count)])


def _unlike(curves: Sequence[_Curve]) -> list[int]:
    """A few curves that differ most, the fastest first."""
    weights = np.stack([one.weight for one in curves], axis=1)
    chosen = [int(weights.mean(axis=0).argmin())]
    nearest = np.full(len(curves), np.inf)
    while len(chosen) < min(FIRST_CURVES, len(curves)):
        away = np.abs(weights - weights[:, chosen[-1:]]).max(axis=0)
        nearest = np.minimum(nearest, away)
        chosen.append(int(nearest.argmax()))
    return chosen


def _scipy_optimize() -> Any:
    try:
        return importlib.import_module("scipy.optimize")
    except ImportError:
        raise ImportError(
            "fitting exponentials needs SciPy: pip install 'tfrs-decay[fit]'"
        ) from None
