"""The power law: a heavy tail."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tfrs_decay.arithmetic import Arithmetic
from tfrs_decay.decay.family import Family
from tfrs_decay.decay.values import Extent, Numbers


class PowerLaw(Family):
    """A heavy tail: weight = (1 + age / scale)^(-exponent).

    Human memory fades like this (ACT-R's base level has the exponent 0.5): fast at
    first, then ever more slowly, so that nothing is ever quite forgotten. With a small
    exponent it was the only family that never lost to the plain mean on films and
    groceries, which is why learning starts from it by default.

    Args:
        scale: The age from which on the tail shows: a duration, or events `by="rank"`.
            A list is one for each feature, a mapping one for each action.
        exponent: How steep the tail is, above 0; in the same three ways.
        trainable: Learn both, starting from what is given.
        per_feature: One for each feature of the pooled vectors; given with a list
            anyway.
        by: "age", the clock, or "rank", the number of later events.
        group: "action" or "category": what the names of a mapping are.

    Raises:
        ValueError: A value is not positive, or they are not as many as features.

    References:
        J. R. Anderson, L. J. Schooler. Reflections of the environment in memory.
        Psychological Science 1991. D. Kowald et al. arXiv:2003.10699.

    >>> PowerLaw("1d", 0.5).weight([0, 3 * 86_400, 15 * 86_400]).tolist()
    [1.0, 0.5, 0.25]
    """

    completely_monotone = True

    def __init__(
        self,
        scale: Extent,
        exponent: Numbers,
        *,
        trainable: bool = False,
        per_feature: bool = False,
        by: str = "age",
        group: str = "action",
    ) -> None:
        super().__init__(
            {"scale": scale},
            {"exponent": exponent},
            trainable=trainable,
            per_feature=per_feature,
            by=by,
            group=group,
        )

    def log_weight_of(
        self, elapsed: Any, values: Mapping[str, Any], xp: Arithmetic
    ) -> Any:
        """-exponent log(1 + elapsed / scale)."""
        return -values["exponent"] * xp.log1p(elapsed / values["scale"])
