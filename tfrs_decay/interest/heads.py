"""What decays come to: exponentials to keep, and how each decay is read from them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from tfrs_decay.decay import Decay
from tfrs_decay.decay.base import OTHERS, Condition, Term
from tfrs_decay.durations import Duration
from tfrs_decay.interest.state import NEVER, NOTHING


class Head(NamedTuple):
    """How one decay is read.

    decay: The decay.
    log_shares: [terms, 1 or dim], `NEVER` for exponentials of other heads alone; None
        for a decay that is read from the recent events.
    max_error: How far the sum of its exponentials may be from its weight, as a share
        of that weight.
    """

    decay: Decay
    log_shares: np.ndarray | None
    max_error: float

    def describe(self, capacity: int) -> str:
        """The decay, and whether it is exact.

        Args:
            capacity: How many recent events are kept.
        """
        if self.log_shares is None:
            how = f"the newest {capacity} events, exact while none had to leave"
        else:
            terms = int((self.log_shares > NOTHING).any(axis=-1).sum())
            how = f"{terms} exponential{'s' if terms > 1 else ''}, " + (
                f"each weight within {self.max_error:.2g} of itself up to the horizon"
                if self.max_error
                else "exact"
            )
        return f"{self.decay.describe()}: {how}"


def compile_heads(
    decays: Sequence[Decay], dim: int, *, max_error: float, horizon: Duration
) -> tuple[list[Head], list[Term]]:
    """How each decay is read, and the exponentials that are kept for all of them.

    An exponential that several decays have in common is kept once. They are kept in
    an order of their own, whatever that of the decays, or of the names in a mapping.

    Raises:
        ValueError: A decay has rates for another number of features, or comes not near
            enough to a sum of exponentials.
    """
    kept: dict[Any, Term] = {}
    found: list[tuple[Decay, dict[Any, Any] | None, float]] = []
    for decay in decays:
        decay.initial_parameters(dim)  # says so where it is for another dim
        # Relative: idle users' means are of weights that are all small.
        compiled = decay.terms(max_error=max_error, horizon=horizon, relative=True)
        if compiled is None:
            found.append((decay, None, 0.0))
            continue
        log_shares: dict[Any, Any] = {}
        for term in compiled.terms:
            if not _takes_any(term.conditions):
                continue
            key = (tuple(np.ravel(term.rate).tolist()), written(term.conditions))
            kept[key] = term
            log_shares[key] = np.logaddexp(log_shares.get(key, -np.inf), term.log_share)
        found.append((decay, log_shares, compiled.max_error))
    order = sorted(kept)
    heads = []
    for decay, own, error in found:
        table = None
        if own is not None:
            width = max(np.size(one) for one in own.values())
            table = np.full((len(order), width), NEVER)
            for key, one in own.items():
                table[order.index(key)] = np.maximum(one, NEVER)
        heads.append(Head(decay, table, error))
    return heads, [kept[key] for key in order]


def takes(condition: Condition, name: str) -> bool:
    """Whether a term takes events of a name; `OTHERS` stands for one nobody knows."""
    own = condition.names
    place = own.index(name) if name in own else len(own)
    return place == condition.place


def written(conditions: Sequence[Condition]) -> tuple[tuple[str, ...], ...]:
    """Conditions in words, in an order that does not depend on how they were given."""
    words: list[tuple[str, ...]] = []
    for one in conditions:
        if one.place < len(one.names):
            words.append((one.group, "is", one.names[one.place]))
        else:
            words.append((one.group, "is not", *sorted(one.names)))
    return tuple(sorted(words))


def _takes_any(conditions: Sequence[Condition]) -> bool:
    """Whether there is an event that it takes; a term of a product may take none."""
    for group in {one.group for one in conditions}:
        own = [one for one in conditions if one.group == group]
        names = [OTHERS, *(name for one in own for name in one.names)]
        if not any(all(takes(one, name) for one in own) for name in names):
            return False
    return True
