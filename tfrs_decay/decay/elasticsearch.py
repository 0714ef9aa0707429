"""Gaussian and linear decay, with Elasticsearch's three numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from tfrs_decay.arithmetic import Arithmetic
from tfrs_decay.decay.base import NEVER, Parameters
from tfrs_decay.decay.family import Family
from tfrs_decay.decay.values import Extent, read_number, read_offset
from tfrs_decay.durations import Duration


class _ByScale(Family):
    """What both have in common: `scale`, `offset` and `decay`."""

    def __init__(
        self,
        scale: Extent,
        *,
        offset: Duration = 0,
        decay: float = 0.5,
        trainable: bool = False,
        per_feature: bool = False,
        by: str = "age",
        group: str = "action",
    ) -> None:
        super().__init__(
            {"scale": scale},
            trainable=trainable,
            per_feature=per_feature,
            by=by,
            group=group,
        )
        self.offset = read_offset(offset, "offset", by)
        self.decay = read_number(decay, "decay")
        if self.decay >= 1:
            raise ValueError(f"decay={decay} must lie between 0 and 1.")

    def get_config(self) -> dict[str, Any]:
        """The arguments of `__init__`; durations in seconds."""
        return {**super().get_config(), "offset": self.offset, "decay": self.decay}

    def describe(self, parameters: Parameters | None = None) -> str:
        """The scale, and the offset and decay where they are not the usual ones."""
        said = super().describe(parameters)
        if self.offset:
            said += f", offset {self.extent_in_words(self.offset)}"
        return said if self.decay == 0.5 else f"{said}, decay {self.decay:.3g}"

    def _shown_options(self) -> dict[str, Any]:
        shown: dict[str, Any] = {}
        if self.offset:
            shown["offset"] = self._shown_extent(self.offset)
        if self.decay != 0.5:
            shown["decay"] = self.decay
        return {**shown, **super()._shown_options()}


class Gaussian(_ByScale):
    """A bell: weight = decay^((d / scale)^2), with d = max(0, age - offset).

    Nearly nothing fades at first and nearly everything later. `decay` is the weight at
    `offset + scale`; the same numbers mean the same in Elasticsearch's `gauss`, whose
    sigma^2 is -scale^2 / (2 ln decay).

    Args:
        scale: The distance from `offset` at which an event weighs `decay`: a duration,
            or events `by="rank"`. A list is one for each feature, a mapping one for
            each action.
        offset: Up to this age an event weighs 1.
        decay: The weight at `offset + scale`, between 0 and 1.
        trainable: Learn the scale, starting from what is given.
        per_feature: One for each feature of the pooled vectors; given with a list
            anyway.
        by: "age", the clock, or "rank", the number of later events.
        group: "action" or "category": what the names of a mapping are.

    Raises:
        ValueError: A value is out of its range.

    References:
        Elasticsearch reference, function score query, decay functions.

    >>> Gaussian("10d", offset="5d").weight([5 * 86_400, 15 * 86_400]).round(9).tolist()
    [1.0, 0.5]
    """

    def log_weight_of(
        self, elapsed: Any, values: Mapping[str, Any], xp: Arithmetic
    ) -> Any:
        """ln(decay) (d / scale)^2."""
        distance = xp.maximum(elapsed - self.offset, 0.0) / values["scale"]
        return math.log(self.decay) * distance * distance


class Linear(_ByScale):
    """A straight line down to 0: weight = max(0, 1 - (1 - decay) d / scale).

    With d = max(0, age - offset), as in Elasticsearch's `linear`. Beyond
    `offset + scale / (1 - decay)` an event weighs nothing, and nothing is learned from
    it: start a learned scale long rather than short.

    Args:
        scale: The distance from `offset` at which an event weighs `decay`: a duration,
            or events `by="rank"`. A list is one for each feature, a mapping one for
            each action.
        offset: Up to this age an event weighs 1.
        decay: The weight at `offset + scale`, between 0 and 1.
        trainable: Learn the scale, starting from what is given.
        per_feature: One for each feature of the pooled vectors; given with a list
            anyway.
        by: "age", the clock, or "rank", the number of later events.
        group: "action" or "category": what the names of a mapping are.

    Raises:
        ValueError: A value is out of its range.

    References:
        Elasticsearch reference, function score query, decay functions.

    >>> Linear("10d").weight([0, 10 * 86_400, 20 * 86_400]).tolist()
    [1.0, 0.5, 0.0]
    """

    def log_weight_of(
        self, elapsed: Any, values: Mapping[str, Any], xp: Arithmetic
    ) -> Any:
        """log(1 - (1 - decay) d / scale)."""
        distance = xp.maximum(elapsed - self.offset, 0.0)
        left = 1.0 - (1.0 - self.decay) * distance / values["scale"]
        # The logarithm sees only what is above 0, so that its gradient is a number.
        inside = left > 0
        return xp.where(inside, xp.log(xp.where(inside, left, 1.0)), NEVER)
