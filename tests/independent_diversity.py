"""Maximal marginal relevance as Carbonell and Goldstein define it, item by item."""

from __future__ import annotations

import numpy as np


def greedy(scores, places, vectors, trade_off, pool, k):
    """One list, by the definition."""
    there = [one for one in range(len(places)) if places[one] >= 0]
    pool, after = there[:pool], there[pool:]
    highest = max((scores[one] for one in pool), default=0)
    lowest = min((scores[one] for one in pool), default=0)
    picked: list[int] = []

    def relevance(one):
        return (scores[one] - lowest) / (highest - lowest) if highest > lowest else 0

    def cosine(one, other):
        one, other = vectors[places[one]], vectors[places[other]]
        length = np.linalg.norm(one) * np.linalg.norm(other)
        return one @ other / length if length else 0

    def value(one):
        nearest = max((cosine(one, other) for other in picked), default=0)
        return trade_off * relevance(one) - (1 - trade_off) * nearest

    while pool:
        best = max(pool, key=value)  # the first of equal ones
        pool.remove(best)
        picked.append(best)
    found = [int(places[one]) for one in picked + after][:k]
    return found + [-1] * (k - len(found))
