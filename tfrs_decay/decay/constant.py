"""No decay: the peer that every decay is measured against."""

from __future__ import annotations

from typing import Any

import numpy as np

from tfrs_decay.arithmetic import NUMPY, Arithmetic
from tfrs_decay.decay.base import Decay, Elapsed, Parameters, Term, Terms


class Constant(Decay):
    """No decay: weight = 1 at every age, so that pooling is a plain mean.

    The peer that every decay is measured against.
    """

    completely_monotone = True

    @property
    def clocks(self) -> frozenset[str]:
        """The clock, though nothing depends on it."""
        return frozenset({"age"})

    def initial_parameters(self, dim: int) -> dict[str, np.ndarray]:
        """Nothing is learned."""
        return {}

    def with_parameters(self, parameters: Parameters) -> Decay:
        """Itself: there is nothing to learn."""
        return self

    def formula(
        self,
        elapsed: Elapsed,
        parameters: Parameters | None = None,
        xp: Arithmetic = NUMPY,
    ) -> Any:
        """Zero at every age."""
        return elapsed.age * 0.0

    def terms(self, **bounds: Any) -> Terms:
        """One, whose rate is 0."""
        return Terms([Term(np.asarray(0.0), np.asarray(0.0))])

    def describe(self, parameters: Parameters | None = None) -> str:
        """No numbers to tell."""
        return "no decay, a plain mean"

    def get_config(self) -> dict[str, Any]:
        """No arguments."""
        return {}
