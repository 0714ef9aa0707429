"""The exponential."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from tfrs_decay.arithmetic import Arithmetic
from tfrs_decay.decay.base import Condition, Term, Terms
from tfrs_decay.decay.family import Family
from tfrs_decay.decay.values import Extent

LN2 = math.log(2)


class Exponential(Family):
    """Interest halves every `half_life`: weight = 2^(-age / half_life).

    The same as e^(-lambda age) with lambda = ln 2 / half_life, the article's u_i(t),
    with one lambda for all features or a lambda_i for each (`per_feature`).

    A normalised mean under a pure exponential does not change while nothing happens:
    moving "now" scales all weights alike. `normalize="sum"` or a prior mass in the
    pooling layer keeps the fading itself.

    Where it hurts: on weekly groceries a half-life of days loses to the plain mean.

    Args:
        half_life: The age at which an event weighs half: "7d", "36h", a `timedelta`,
            or seconds; events, `by="rank"`. A list of these is one for each feature; a
            mapping such as {"browse": "1d", "purchase": "30d", "*": "7d"} one for each
            action.
        trainable: Learn it, starting from what is given.
        per_feature: One for each feature of the pooled vectors; given with a list
            anyway.
        by: "age", the clock, or "rank", the number of later events.
        group: "action" or "category": what the names of a mapping are.

    Raises:
        ValueError: `half_life` is not a positive duration, or as many as there are
            features.

    References:
        Y. Ding, X. Li. Time weight collaborative filtering. CIKM 2005.

    >>> Exponential("7d").weight([0, 604_800, 1_209_600]).round(9).tolist()
    [1.0, 0.5, 0.25]
    >>> Exponential(5, by="rank").weight([0, 5, 10]).round(9).tolist()
    [1.0, 0.5, 0.25]
    """

    completely_monotone = True

    def __init__(
        self,
        half_life: Extent,
        *,
        trainable: bool = False,
        per_feature: bool = False,
        by: str = "age",
        group: str = "action",
    ) -> None:
        super().__init__(
            {"half_life": half_life},
            trainable=trainable,
            per_feature=per_feature,
            by=by,
            group=group,
        )

    @classmethod
    def from_rate(cls, rate_per_second: float, **options: Any) -> Exponential:
        """The same family by its rate: weight = e^(-rate_per_second age).

        Args:
            rate_per_second: lambda, above 0.
            **options: As `Exponential` takes them.

        Raises:
            ValueError: The rate is not finite and positive.

        >>> round(Exponential.from_rate(0.1).weight(1.0), 4)
        0.9048
        """
        if not (math.isfinite(rate_per_second) and rate_per_second > 0):
            raise ValueError(
                f"rate_per_second={rate_per_second} must be finite and above 0."
            )
        return cls(LN2 / rate_per_second, **options)

    @property
    def half_life(self) -> Any:
        """Seconds or events, as a number, a list, or a mapping."""
        return self.get_config()["half_life"]

    def log_weight_of(
        self, elapsed: Any, values: Mapping[str, Any], xp: Arithmetic
    ) -> Any:
        """-ln 2 elapsed / half_life."""
        return (-LN2 / values["half_life"]) * elapsed

    def terms(self, **bounds: Any) -> Terms | None:
        """One; or one for each group, which takes that group's events."""
        if self.by == "rank":
            return None
        rate = LN2 / self.values()["half_life"]
        if self._names is None:
            return Terms([Term(rate, np.asarray(0.0))])
        return Terms(
            [
                Term(one, np.asarray(0.0), (Condition(self.group, self._names, place),))
                for place, one in enumerate(rate)
            ]
        )

    @property
    def _title(self) -> str:
        # A half-life says which family it is.
        return ""
