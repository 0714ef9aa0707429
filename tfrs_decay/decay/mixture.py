"""Mixtures of exponentials: exact in constant time, and near every heavy tail."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tfrs_decay.arithmetic import NUMPY, Arithmetic
from tfrs_decay.decay.base import (
    CLOCKS,
    Decay,
    Elapsed,
    Parameters,
    Term,
    Terms,
)
from tfrs_decay.decay.exponential import LN2
from tfrs_decay.decay.values import (
    in_events,
    listed,
    plain,
    read_extent,
    read_flag,
    read_number,
)
from tfrs_decay.durations import Duration, to_seconds, to_text

FOREVER = 1e17
"""Horizons that a half-life is long when nothing fades: float64 sees no difference."""

LEAST_SHARE = 1e-300
"""What a share that was learned away is fixed at: a share is above 0."""

LONGEST_TOLD = 1e6 * 365 * 86_400
"""A half-life of a million years, or of more, is told as forever."""


class Mixture(Decay):
    """A mixture of exponentials: weight = sum_k share_k 2^(-age / half_life_k).

    The shares are positive and sum to 1. A few half-lives spread from hours to years,
    with learned shares, stand for any heavy tail; and with shares of each feature's
    own (`per_feature`) every feature fades in its own way while all share the same few
    exponentials, which is why it costs no more than as many heads. Its state in a
    stream is exact, one sum for each half-life.

    Where it hurts: nothing learns the half-lives. Where they lie far from the truth,
    no shares make up for it.

    Args:
        half_lives: Of the exponentials: durations, or numbers of events `by="rank"`.
        shares: What each weighs at age 0, above 0, scaled to sum to 1; equal when left
            out. [dim] rows of them are those of each feature.
        trainable: Learn the shares; the half-lives stay.
        per_feature: Shares of each feature's own; given with rows anyway.
        by: "age", the clock, or "rank", the number of later events.
        max_error: How far its weight may be from that of the decay that it stands in
            for, up to the horizon that it was made for, as a share of a new event's
            weight or of that weight, as asked; `as_mixture` says so here.

    Raises:
        ValueError: A half-life or share is not positive, or they are not as many.

    References:
        G. Beylkin, L. Monzon. On approximation of functions by exponential sums.
        Applied and Computational Harmonic Analysis 2005.

    >>> Mixture(["1d", "30d"], [0.75, 0.25]).weight(86_400 * 30)
    0.125...
    """

    completely_monotone = True

    def __init__(
        self,
        half_lives: Sequence[Duration] | np.ndarray,
        shares: Sequence[Any] | np.ndarray | None = None,
        *,
        trainable: bool = False,
        per_feature: bool = False,
        by: str = "age",
        max_error: float = 0.0,
    ) -> None:
        if by not in CLOCKS:
            raise ValueError(f"by={by!r} is not one of {CLOCKS}.")
        if not isinstance(half_lives, (Sequence, np.ndarray)) or isinstance(
            half_lives, str
        ):
            raise TypeError(
                f"half_lives={half_lives!r}: give a list of them, such as "
                "['1d', '30d']."
            )
        self.half_lives = [read_extent(one, "half_lives", by) for one in half_lives]
        count = len(self.half_lives)
        if not count:
            raise ValueError("half_lives is empty: give one or more.")
        given = np.asarray(
            np.full(count, 1 / count) if shares is None else shares, np.float64
        )
        if given.shape[-1:] != (count,) or given.ndim > 2 or not given.size:
            raise ValueError(
                f"shares have the shape {given.shape}, and there are {count} "
                f"half-lives: give {count} shares, or [dim] rows of them."
            )
        wrong = ~(np.isfinite(given) & (given > 0))
        if wrong.any():
            raise ValueError(
                f"a share is {given[wrong][0]}: shares are finite and above 0."
            )
        if max_error:
            read_number(max_error, "max_error")
        self._shares = given / given.sum(axis=-1, keepdims=True)
        self.trainable = read_flag(trainable, "trainable")
        self.per_feature = read_flag(per_feature, "per_feature") or given.ndim == 2
        self.by = by
        self.max_error = float(max_error)

    @property
    def shares(self) -> np.ndarray:
        """[half_lives] or [dim, half_lives], each row summing to 1."""
        return self._shares

    @property
    def clocks(self) -> frozenset[str]:
        """The one of `by`."""
        return frozenset({self.by})

    def initial_parameters(self, dim: int) -> dict[str, np.ndarray]:
        """`share_logits`, [half_lives] or [dim, half_lives], when they are learned."""
        if self._shares.ndim == 2 and len(self._shares) != dim:
            raise ValueError(
                f"shares are given for {len(self._shares)} features and the pooled "
                f"vectors have {dim}."
            )
        if not self.trainable:
            return {}
        shape = (dim, len(self.half_lives)) if self.per_feature else self._shares.shape
        logits = np.broadcast_to(np.log(self._shares), shape)
        return {"share_logits": logits.astype(np.float32)}

    def log_shares(
        self, parameters: Parameters | None = None, xp: Arithmetic = NUMPY
    ) -> Any:
        """[half_lives] or [dim, half_lives]: the logarithms of the shares."""
        if not parameters:
            return np.log(self._shares)
        logits = parameters["share_logits"]
        return logits - xp.logsumexp(logits)[..., None]

    @property
    def rates(self) -> np.ndarray:
        """[half_lives] per second, or per event."""
        return LN2 / np.asarray(self.half_lives)

    def formula(
        self,
        elapsed: Elapsed,
        parameters: Parameters | None = None,
        xp: Arithmetic = NUMPY,
    ) -> Any:
        """The logarithm of sum_k share_k e^(-rate_k elapsed)."""
        number = elapsed.age if self.by == "age" else elapsed.rank
        number = number[..., None, None] if self.per_feature else number[..., None]
        log_weight = xp.logsumexp(self.log_shares(parameters, xp) - self.rates * number)
        # Rounding alone would make it a hair more than 0.
        return -xp.maximum(-log_weight, 0.0)

    def with_parameters(self, parameters: Parameters) -> Decay:
        """The same mixture, fixed at the shares that were learned."""
        config = {**self.get_config(), "trainable": False}
        if parameters:
            # What it stood in for had other shares.
            shares = np.exp(self.log_shares(_doubles(parameters)))
            config.update(shares=np.maximum(shares, LEAST_SHARE), max_error=0.0)
        return Mixture(**config)

    def terms(self, **bounds: Any) -> Terms | None:
        """One for each half-life: a mixture is exactly the sum of them."""
        if self.by == "rank":
            return None
        terms = [
            Term(np.asarray(rate), log_share)
            for rate, log_share in zip(
                self.rates, np.moveaxis(self.log_shares(), -1, 0), strict=True
            )
        ]
        return Terms(terms)

    @classmethod
    def near(
        cls,
        decay: Decay,
        *,
        max_error: float,
        horizon: Duration,
        relative: bool = False,
    ) -> Mixture:
        """See `Decay.as_mixture`."""
        read_number(max_error, "max_error")
        found = decay.terms(max_error=max_error, horizon=horizon, relative=relative)
        if found is None:
            why = (
                "it runs over the number of later events"
                if "rank" in decay.clocks
                else "it is not completely monotone"
            )
            raise ValueError(
                f"{decay!r} is no sum of positive exponentials, for {why}. "
                "InterestState keeps a bounded buffer of recent events for it."
            )
        if decay.groups:
            raise ValueError(
                f"{decay!r} depends on {' and '.join(decay.groups)}: a mixture is one "
                "for all events. InterestState takes the decay as it is."
            )
        if any(term.rate.ndim for term in found.terms):
            raise ValueError(
                f"{decay!r} has rates for each feature: a mixture has the same few "
                "half-lives for all. InterestState takes the decay as it is."
            )
        # A term that never fades gets a half-life that no horizon tells from forever.
        longest = FOREVER * to_seconds(horizon, "horizon")
        terms = sorted(found.terms, key=lambda term: -float(term.rate))
        half_lives = [
            float(LN2 / max(float(term.rate), LN2 / longest)) for term in terms
        ]
        dim = max(np.size(term.log_share) for term in terms)
        shares = np.exp([np.broadcast_to(one.log_share, dim) for one in terms]).T
        return cls(
            half_lives,
            shares if dim > 1 else shares[0],
            per_feature=decay.per_feature,
            max_error=found.max_error,
        )

    def describe(self, parameters: Parameters | None = None) -> str:
        """The half-lives with their shares, or the features' mean shares."""
        shares = np.exp(self.log_shares(_doubles(parameters)))
        mean = shares if shares.ndim == 1 else shares.mean(axis=0)
        notes = ["learned shares"] if parameters else []
        if shares.ndim == 2:
            notes.append(f"means over {len(shares)} features")
        said = ", ".join(
            f"{self._in_words(half_life)} {100 * share:.3g}%"
            for half_life, share in zip(self.half_lives, mean, strict=True)
        )
        return f"mixture of half-lives {said}" + (
            f" ({', '.join(notes)})" if notes else ""
        )

    def _in_words(self, half_life: float) -> str:
        if self.by == "rank":
            return in_events(half_life)
        return "forever" if half_life >= LONGEST_TOLD else to_text(half_life)

    def get_config(self) -> dict[str, Any]:
        """The arguments of `__init__`; durations in seconds."""
        return {
            "half_lives": self.half_lives,
            "shares": self._shares.tolist(),
            "trainable": self.trainable,
            "per_feature": self.per_feature,
            "by": self.by,
            "max_error": self.max_error,
        }

    def __repr__(self) -> str:
        shown = to_text if self.by == "age" else plain
        said = [listed(np.asarray(self.half_lives), shown)]
        shares = self._shares
        if shares.ndim == 2:
            said.append(f"<shares {shares.shape[0]} x {shares.shape[1]}>")
        elif not np.allclose(shares, shares[0], rtol=1e-12):
            said.append(listed(shares, plain))
        options = {
            "trainable": self.trainable,
            "per_feature": self.per_feature and shares.ndim == 1,
            "by": self.by if self.by != "age" else None,
            "max_error": float(f"{self.max_error:.3g}"),
        }
        said += [f"{name}={one!r}" for name, one in options.items() if one]
        return f"Mixture({', '.join(said)})"


def _doubles(parameters: Parameters | None) -> Parameters | None:
    if not parameters:
        return None
    return {name: np.asarray(one, np.float64) for name, one in parameters.items()}
