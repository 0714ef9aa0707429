"""Steps: a hard one, and a smooth one that can be learned at either side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from tfrs_decay.arithmetic import Arithmetic
from tfrs_decay.decay.base import NEVER
from tfrs_decay.decay.family import Family
from tfrs_decay.decay.values import Extent

SOFTNESS = 0.1
"""Width, as a share of the window's length, of the smooth step that a hard one learns
through."""


class Window(Family):
    """A step: weight = 1 for ages below `length`, else 0.

    `Window(5, by="rank")` is the last five events: those with fewer than five later
    ones, so that all of a moment are in or out together.

    A step has no slope to learn from. When trained, its gradient is that of a logistic
    step of a tenth of its length, from the events inside: they draw the end nearer or
    push it away. Nothing draws at a window of one event: all that is inside has no
    later one, whatever becomes of the length, so it stays as it is given.

    Args:
        length: Ages below it count: a duration, or events `by="rank"`. A list is one
            for each feature, a mapping one for each action.
        trainable: Learn it, starting from what is given.
        per_feature: One for each feature of the pooled vectors; given with a list
            anyway.
        by: "age", the clock, or "rank", the number of later events.
        group: "action" or "category": what the names of a mapping are.

    Raises:
        ValueError: The length is not positive.

    References:
        M. Datar, A. Gionis, P. Indyk, R. Motwani. Maintaining stream statistics over
        sliding windows. SIAM Journal on Computing 2002. A slope lent to a step: E. O.
        Neftci, H. Mostafa, F. Zenke. Surrogate gradient learning in spiking neural
        networks. IEEE Signal Processing Magazine 2019.

    >>> Window("7d").weight([0, 604_799, 604_800]).tolist()
    [1.0, 1.0, 0.0]
    """

    def __init__(
        self,
        length: Extent,
        *,
        trainable: bool = False,
        per_feature: bool = False,
        by: str = "age",
        group: str = "action",
    ) -> None:
        super().__init__(
            {"length": length},
            trainable=trainable,
            per_feature=per_feature,
            by=by,
            group=group,
        )

    def initial_parameters(self, dim: int) -> dict[str, np.ndarray]:
        """`log_length`; nothing where every window is of one event."""
        start = super().initial_parameters(dim)
        stays = self.by == "rank" and (self._values["length"] <= 1).all()
        return {} if stays else start

    def log_weight_of(
        self, elapsed: Any, values: Mapping[str, Any], xp: Arithmetic
    ) -> Any:
        """0 inside and weight 0 outside, with the slope of a smooth step."""
        inside = elapsed < values["length"]
        # Ages as a share of the length: the slope is the same at every scale.
        beyond = (elapsed / values["length"] - 1.0) / SOFTNESS
        smooth = -xp.softplus(xp.where(inside, beyond, 0.0))
        return xp.where(inside, smooth - xp.constant(smooth), NEVER)


class Logistic(Family):
    """A smooth step: weight = (1 + e^(-m / s)) / (1 + e^((age - m) / s)).

    Interest holds, falls around the midpoint m, and then is gone like an exponential of
    rate 1 / s. The numerator makes a new event weigh 1.

    Learned is s as a share of m, so that the step keeps its shape while it moves: a
    step that is thin beside its midpoint falls between two ages and learns nothing.

    Args:
        midpoint: m, where the fall is steepest: a duration, or events `by="rank"`. A
            list is one for each feature, a mapping one for each action.
        width: s, how long the fall takes; in the same three ways.
        trainable: Learn both, starting from what is given.
        per_feature: One for each feature of the pooled vectors; given with a list
            anyway.
        by: "age", the clock, or "rank", the number of later events.
        group: "action" or "category": what the names of a mapping are.

    Raises:
        ValueError: A value is not positive.

    References:
        The logistic curve, turned to fall and scaled to 1 at age 0: P.-F. Verhulst.
        Recherches mathématiques sur la loi d'accroissement de la population. Nouveaux
        Mémoires de l'Académie Royale de Bruxelles 1845. As a decay of interest it is
        the package's own choice.

    >>> Logistic("30d", "3d").weight([0, 30 * 86_400]).round(4).tolist()
    [1.0, 0.5]
    """

    relative: ClassVar[Mapping[str, str]] = {"width": "midpoint"}

    def __init__(
        self,
        midpoint: Extent,
        width: Extent,
        *,
        trainable: bool = False,
        per_feature: bool = False,
        by: str = "age",
        group: str = "action",
    ) -> None:
        super().__init__(
            {"midpoint": midpoint, "width": width},
            trainable=trainable,
            per_feature=per_feature,
            by=by,
            group=group,
        )

    def log_weight_of(
        self, elapsed: Any, values: Mapping[str, Any], xp: Arithmetic
    ) -> Any:
        """softplus(-m / s) - softplus((elapsed - m) / s)."""
        midpoint, width = values["midpoint"], values["width"]
        fallen = xp.softplus((elapsed - midpoint) / width)
        # Rounding alone would make it a hair less than 0.
        return -xp.maximum(fallen - xp.softplus(-midpoint / width), 0.0)
