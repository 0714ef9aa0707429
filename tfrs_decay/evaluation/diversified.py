"""A model whose lists are made more diverse, to be measured beside itself."""

from __future__ import annotations

import numpy as np

from tfrs_decay.data.histories import Queries
from tfrs_decay.evaluation.baselines import Scorer
from tfrs_decay.evaluation.metrics import NO_ITEM, unit_vectors


class Diversified:
    """A scorer's lists, reordered as `layers.MaximalMarginalRelevance` does it.

    `evaluate` reorders each list after seen items were left out of it, as a served
    model does, and its figures say what diversity costs:
    `{"1": scorer, "0.8": Diversified(scorer, vectors, trade_off=0.8)}`.

    Args:
        scorer: The model; an item at -inf keeps its place behind all others.
        vectors: [n_items, dim] a vector of each item.
        trade_off: As in the layer: 1 leaves lists as they are.
        pool: As in the layer.

    Attributes:
        personal: What the scorer says of itself.

    Raises:
        ValueError: `trade_off` is not in 0 to 1, `pool` is below 1, or the vectors are
            not finite numbers of shape [n_items, dim].

    References:
        J. Carbonell, J. Goldstein. The use of MMR, diversity-based reranking for
        reordering documents and producing summaries. SIGIR 1998.

    The second item points where the first does:

    >>> east, north = [2.0, 0.0], [0.0, 3.0]
    >>> model = Diversified(None, np.array([east, east, north]), trade_off=0.5)
    >>> model.reordered(np.array([[0, 1, 2]]), np.array([[9.0, 8.0, 7.0]])).tolist()
    [[0, 2, 1]]
    """

    def __init__(
        self,
        scorer: Scorer,
        vectors: np.ndarray,
        *,
        trade_off: float,
        pool: int = 100,
    ) -> None:
        if not 0 <= trade_off <= 1:
            raise ValueError(f"trade_off={trade_off} must lie in 0 to 1.")
        if pool < 1:
            raise ValueError(f"pool={pool} must be 1 or more.")
        self._units = unit_vectors(vectors)
        self._scorer = scorer
        self.trade_off = trade_off
        self.pool = pool
        self.personal = getattr(scorer, "personal", True)

    def __call__(self, queries: Queries) -> np.ndarray:
        """The scorer's own scores: what is reordered are lists."""
        return self._scorer(queries)

    def reordered(self, top: np.ndarray, scores: np.ndarray) -> np.ndarray:
        """Lists in their new order.

        Args:
            top: [q, k] int64 items, best first; -1 where there is none.
            scores: [q, k] floats, those of the items.

        Returns:
            [q, k] int64, those of the pool first.

        Raises:
            ValueError: An item has no vector, or a score is inf, beside which all
                others would be alike.
        """
        if top.size and top.max() >= len(self._units):
            raise ValueError(
                f"{len(self._units):,} items have a vector, and lists hold item "
                f"{top.max()}: give one row for each item of the catalogue."
            )
        beyond = np.isposinf(scores) & (top != NO_ITEM)
        if beyond.any():
            raise ValueError(
                f"scores holds {beyond.sum():,} that are inf: what is weighed against "
                "diversity is finite, or -inf."
            )
        pool, behind = top[:, : self.pool], top[:, self.pool :]
        scores = scores[:, : self.pool].astype(np.float64)
        weighed = (pool != NO_ITEM) & np.isfinite(scores)
        relevance = _relevance(scores, weighed)
        # What cannot be weighed stays behind, and what was taken is never taken again.
        last, never = np.finfo(np.float64).min, -np.inf
        units = self._units[pool]
        rows = np.arange(len(pool))
        nearest = np.zeros(pool.shape)
        taken = np.zeros(pool.shape, bool)
        order = np.empty(pool.shape, np.int64)
        for place in range(pool.shape[1]):
            value = self.trade_off * relevance - (1 - self.trade_off) * nearest
            value = np.where(taken, never, np.where(weighed, value, last))
            pick = value.argmax(axis=1)  # of equal values the earlier item
            cosine = np.einsum("qid,qd->qi", units, units[rows, pick])
            nearest = np.maximum(nearest, cosine) if place else cosine
            taken[rows, pick] = True
            order[:, place] = pick
        return np.concatenate([np.take_along_axis(pool, order, axis=1), behind], axis=1)


def _relevance(scores: np.ndarray, weighed: np.ndarray) -> np.ndarray:
    """[q, k] float64 in 0 to 1: scores between the lowest and the highest of a row."""
    highest = scores.max(axis=1, where=weighed, initial=-np.inf)[:, None]
    lowest = scores.min(axis=1, where=weighed, initial=np.inf)[:, None]
    spread = np.where(highest > lowest, highest - lowest, 1.0)
    return np.where(weighed, scores - lowest, 0.0) / spread
