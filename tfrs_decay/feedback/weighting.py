"""What an impression counts for, once it is known how often its place is looked at."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfrs_decay.data.cleaning import counted
from tfrs_decay.feedback.examination import Examination
from tfrs_decay.feedback.joining import Joined


@dataclass(frozen=True, eq=False)
class PositionWeights:
    """Inverse propensities of being looked at.

    Attributes:
        weight: [n] float64, of each impression, above 0.
        clicks: Impressions with a click.
        effective_size: Clicks of equal weight that would tell as much.
        cut: Clicks whose weight was cut.
        cut_share: What share of the clicks' weights' sum was cut off.
        unknown: Clicks at places of which nothing is known, which weigh what the last
            known place above them does.
    """

    weight: np.ndarray
    clicks: int
    effective_size: float
    cut: int
    cut_share: float
    unknown: int

    def report(self) -> str:
        """One line for people."""
        return (
            f"{counted(self.clicks, 'click')} by position, worth "
            f"{self.effective_size:,.0f} of equal weight; "
            f"{counted(self.cut, 'weight')} cut, {self.cut_share:.1%} of their sum; "
            f"{self.unknown:,} at places of which nothing is known."
        )

    def to_dict(self) -> dict[str, Any]:
        """All but the weights as plain numbers, ready for `json.dump`."""
        return {name: one for name, one in vars(self).items() if name != "weight"}


def position_weights(
    joined: Joined, examination: Examination, *, clip: float | None = 10.0
) -> PositionWeights:
    """Weighs impressions by one over how often their place is looked at.

    Clicks that are weighed so are, on average, those of lists of which all is looked
    at as often as the first place.

    Args:
        joined: From `join`.
        examination: From `fit_examination`, of these impressions or of others.
        clip: Weights above this are cut to it: less chance, at the price of counting
            the deepest places for too little. None are when it is None.

    Raises:
        ValueError: `clip` is not above 0.

    References:
        T. Joachims, A. Swaminathan, T. Schnabel. Unbiased learning-to-rank with biased
        feedback. WSDM 2017.
    """
    if clip is not None and not (clip > 0 and math.isfinite(clip)):
        raise ValueError(f"clip={clip} must be a finite number above 0, or None.")
    position = joined.served.position
    whole = 1 / examination.at(position)
    weight = whole if clip is None else np.minimum(whole, clip)
    click = joined.happened(examination.action)
    own, own_whole = weight[click], whole[click]
    total = float(own.sum())
    return PositionWeights(
        weight=weight,
        clicks=int(click.sum()),
        effective_size=total**2 / float((own**2).sum()) if total else 0.0,
        cut=int((own < own_whole).sum()),
        cut_share=1 - total / float(own_whole.sum()) if total else 0.0,
        unknown=int((~np.isin(position[click], examination.position)).sum()),
    )
