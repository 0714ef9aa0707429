"""A learned weight for each logarithmic bucket of the age."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tfrs_decay.arithmetic import NUMPY, Arithmetic
from tfrs_decay.decay.base import CLOCKS, Decay, Elapsed, Parameters, beside
from tfrs_decay.decay.power_law import PowerLaw
from tfrs_decay.decay.values import listed, plain, read_flag

GROWTH = math.sqrt(2)
"""Each bucket ends at an age this many times the last one's."""

EDGE = 1e-4
"""By how much of a bucket the ends come early, so that rounding cannot put 2, 4, 8, ...
seconds into the bucket before, which would differ between float32, float64 and
libraries."""

LEAST_STEP = 1e-4
"""Least fall of the log weight from bucket to bucket that learning starts with: from
nothing at all it would never get away."""


class LogBucketed(Decay):
    """No formula: a weight for every bucket, the buckets growing with the age.

    Bucket 0 holds ages below 1 second (no later event, `by="rank"`); each further one
    ends at 2^(1/2) times the end before it, and the last has no end: the last of 64
    begins at 68 years. What is learned is how far the log weight falls from each bucket
    to the next, through softplus, so that it never rises with age. HSTU learns such a
    bias for each of 128 buckets, without that order.

    Where it hurts: one weight for every bucket is much to learn. A bucket that no
    event falls into learns nothing.

    Args:
        weights: [buckets] to start from: the first 1, none rising, all above 0. Those
            of a heavy tail in 64 buckets when left out; see `like`.
        trainable: Learn them. Weights of neighbours that are the same start a ten
            thousandth apart.
        by: "age", the clock, or "rank", the number of later events.

    Raises:
        ValueError: The weights rise, or are not in (0, 1].

    References:
        J. Zhai et al. Actions speak louder than words: trillion-parameter sequential
        transducers for generative recommendations. ICML 2024, arXiv:2402.17152.

    >>> LogBucketed([1, 0.5, 0.25]).weight([0, 1, 1.4, 1.5, 1e9]).round(9).tolist()
    [1.0, 0.5, 0.5, 0.25, 0.25]
    """

    def __init__(
        self,
        weights: Sequence[float] | np.ndarray | None = None,
        *,
        trainable: bool = False,
        by: str = "age",
    ) -> None:
        if by not in CLOCKS:
            raise ValueError(f"by={by!r} is not one of {CLOCKS}.")
        if weights is None:
            tail = PowerLaw("1h" if by == "age" else 1, 0.25, by=by)
            weights = tail.weight(starts(64))
        given = np.asarray(weights, np.float64)
        if given.ndim != 1 or given.size < 2:
            raise ValueError(f"weights have the shape {given.shape}: give [buckets].")
        wrong = ~((given > 0) & (given <= 1))
        if wrong.any():
            place = int(np.argmax(wrong))
            raise ValueError(f"weights[{place}]={given[place]} must lie in (0, 1].")
        if given[0] != 1:
            raise ValueError(f"weights[0]={given[0]} must be 1: it is a new event's.")
        if (np.diff(given) > 0).any():
            place = int(np.argmax(np.diff(given) > 0)) + 1
            raise ValueError(
                f"weights[{place}]={given[place]} is above the one before it: a weight "
                "never rises with age."
            )
        self.weights = given.tolist()
        self.trainable = read_flag(trainable, "trainable")
        self.by = by

    @classmethod
    def like(
        cls, decay: Decay, *, buckets: int = 64, trainable: bool = False
    ) -> LogBucketed:
        """Starts from another decay: its weight where each bucket begins.

        Args:
            decay: Over the clock or the rank, with one rate for all events.
            buckets: How many.
            trainable: Learn from there; fixed when left out, as with every decay.

        Raises:
            ValueError: The decay depends on more than one number, or weighs nothing
                somewhere.
        """
        if decay.per_feature or decay.groups or len(decay.clocks) > 1:
            raise ValueError(
                f"{decay!r} is not one weight for all events of an age: buckets are."
            )
        weights = np.asarray(decay.weight(starts(buckets)))
        (by,) = decay.clocks
        return cls(weights, trainable=trainable, by=by)

    @property
    def clocks(self) -> frozenset[str]:
        """The one of `by`."""
        return frozenset({self.by})

    def initial_parameters(self, dim: int) -> dict[str, np.ndarray]:
        """`steps`, [buckets - 1], when they are learned."""
        if not self.trainable:
            return {}
        fall = np.maximum(-np.diff(np.log(self.weights)), LEAST_STEP)
        # softplus(x) = fall, solved for x.
        return {"steps": (fall + np.log(-np.expm1(-fall))).astype(np.float32)}

    def formula(
        self,
        elapsed: Elapsed,
        parameters: Parameters | None = None,
        xp: Arithmetic = NUMPY,
    ) -> Any:
        """The log weight of the bucket."""
        number = elapsed.age if self.by == "age" else elapsed.rank
        buckets = len(self.weights)
        steps = xp.log(xp.maximum(number, 1.0)) / math.log(GROWTH)
        place = 1.0 + xp.floor(steps + EDGE)
        place = xp.where(number < 1.0, 0.0, place)
        place = xp.where(place > buckets - 1.0, buckets - 1.0, place)
        if not parameters:
            log_weights = beside(np.log(self.weights), number)
            return xp.take(log_weights, xp.whole(place))
        falls = xp.cumsum(xp.softplus(parameters["steps"]))
        # Bucket 0 has no fall, and the fall that `take` finds for it is thrown away.
        fall = xp.take(falls, xp.whole(xp.maximum(place - 1.0, 0.0)))
        return xp.where(place < 1.0, 0.0, -fall)

    def with_parameters(self, parameters: Parameters) -> Decay:
        """The same buckets, fixed at what has been learned."""
        return LogBucketed(self._learned(parameters), by=self.by)

    def _learned(self, parameters: Parameters | None) -> np.ndarray:
        if not parameters:
            return np.asarray(self.weights)
        falls = np.cumsum(NUMPY.softplus(np.asarray(parameters["steps"], np.float64)))
        # Above 0, where the weights of the last buckets underflow.
        return np.maximum(np.exp(-np.concatenate([[0.0], falls])), 1e-300)

    def describe(self, parameters: Parameters | None = None) -> str:
        """The weight at a few ages."""
        fixed = self.with_parameters(parameters or {})
        at = (
            {"1h": 3_600, "1d": 86_400, "30d": 2_592_000, "1y": 31_536_000}
            if self.by == "age"
            else {"1 event": 1, "10 events": 10, "100 events": 100}
        )
        said = (f"{fixed.weight(one):.3g} at {name}" for name, one in at.items())
        learned = "learned " if parameters else ""
        return f"{learned}log buckets: {', '.join(said)}"

    def get_config(self) -> dict[str, Any]:
        """The arguments of `__init__`."""
        return {"weights": self.weights, "trainable": self.trainable, "by": self.by}

    def __repr__(self) -> str:
        said = [listed(np.asarray(self.weights), plain)]
        said += ["trainable=True"] if self.trainable else []
        said += [f"by={self.by!r}"] if self.by != "age" else []
        return f"LogBucketed({', '.join(said)})"


def starts(buckets: int) -> np.ndarray:
    """[buckets] the least age, or number of later events, of each bucket."""
    return np.concatenate([[0.0], GROWTH ** np.arange(buckets - 1.0)])
