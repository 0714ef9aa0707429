"""A user's interest as a small state, brought up to date event by event.

`InterestState` is NumPy alone, for stream workers and whoever keeps states in a
key-value store; `tfrs_decay.layers.InterestState` is the same as a Keras layer. Both
call the same formulas, which are written once.
"""

from __future__ import annotations

from tfrs_decay.interest.arrays import InterestState
from tfrs_decay.interest.state import State

__all__ = ["InterestState", "State"]
