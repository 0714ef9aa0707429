"""Which items speak for which: item-to-item terms, the strongest few of each item.

A history's score of an item is the sum, over the history's events, of what each event
weighs times what its item says of the other one. Ways to learn what items say are
fitted here with SciPy, each to a table of `m` neighbours an item, so that memory grows
with the catalogue and not with its square. `layers.ItemNeighbours` reads such a table
in a graph, `evaluation.ItemToItem` ranks by one.

======================  ==============================================================
fit_ease                a linear autoencoder: what goes with what users had, at any time
fit_next_basket         a linear map from the faded history to the next basket
fit_cosine              how often two items are in the same baskets, or with the same
                        users, beside how often they would be anyhow
fit_vectors             how alike their vectors are, such as those of their texts
fit_products            what a linear two-tower model scores each item after another
======================  ==============================================================

All actions count alike: fit `events.where(data.with_actions(events, ["purchase"]))` for
some of them.
"""

from __future__ import annotations

from tfrs_decay.neighbours.cosine import fit_cosine
from tfrs_decay.neighbours.ease import fit_ease
from tfrs_decay.neighbours.next_basket import fit_next_basket
from tfrs_decay.neighbours.record import NO_NEIGHBOUR, Cost, Neighbours
from tfrs_decay.neighbours.vectors import fit_products, fit_vectors

__all__ = [
    "NO_NEIGHBOUR",
    "Cost",
    "Neighbours",
    "fit_cosine",
    "fit_ease",
    "fit_next_basket",
    "fit_products",
    "fit_vectors",
]
