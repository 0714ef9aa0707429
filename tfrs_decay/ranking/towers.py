"""What two towers know at each cut, as the vectors of a table of neighbours."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
import tensorflow as tf
import tf_keras

from tfrs_decay.data.events import Events
from tfrs_decay.data.times import day_of
from tfrs_decay.decay import Decay
from tfrs_decay.models import DecayRetrieval
from tfrs_decay.training import Settings, fit_through, make_model


class TowerVectors(NamedTuple):
    """A two-tower model as far as a list of neighbours can hold it.

    Its query tower is linear, so a user's vector is the weighted mean of what each
    event adds to it; the model's own scores are then those of
    `neighbours.fit_products(*vectors)`, divided by the length of the user's vector.

    query: [n_items, dim] float32, what an event of each item adds to a user's vector.
    item: [n_items, dim] float32, of each item when it is scored.
    """

    query: np.ndarray
    item: np.ndarray

    @classmethod
    def of(cls, model: DecayRetrieval) -> TowerVectors:
        """Those of a model's towers as they stand; an item of zeros adds nothing.

        Args:
            model: Its query tower is none, or a `Dense` without activation. What its
                `repeats` add to scores is not among them.

        Raises:
            ValueError: The query tower is another, and no table can hold it.
        """
        item = model.item_tower.catalogue_vectors()
        tower = model.query_tower
        if tower is None:
            return cls(item, item)
        linear = isinstance(tower, tf_keras.layers.Dense)
        if not linear or tower.activation is not tf_keras.activations.linear:
            raise ValueError(
                f"the query tower is a {type(tower).__name__} that is not linear: a "
                "list of neighbours holds none, or a Dense without activation."
            )
        query = tower(tf.constant(item)).numpy()
        return cls(np.where(item.any(axis=1, keepdims=True), query, 0), item)


def tower_vectors(
    events: Events,
    settings: Settings,
    decay: Decay,
    cuts: Iterable[int],
    *,
    encoded: np.ndarray | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> dict[int, TowerVectors]:
    """Trains two towers up to one cut after the other, and keeps what they know there.

    It is one model, which goes on at each cut from where it stood at the one before, by
    `training.fit_through`: the vectors of a cut know of no event after it. The
    catalogue is that of all events given; an item that is first sold later has what its
    text says, if anything.

    Args:
        events: Clean events.
        settings: As in `training.make_model`, and how to train, but for `epochs`.
        decay: How the pooling weighs ages.
        cuts: Seconds since the epoch, in any order, such as `ranking.cuts` has them.
        encoded: [n_items, hidden] the texts' encodings, where they are at hand.
        progress: Told of each cut.

    Returns:
        Vectors by cut.

    Raises:
        ValueError: No query is at or before the oldest cut, or a setting does not fit
            the log.
        RuntimeError: The loss is no longer a number.
    """
    model = make_model(events, settings, decay, encoded=encoded)
    found = {}
    for cut in fit_through(model, events, cuts, settings):
        found[cut] = TowerVectors.of(model)
        progress(f"two towers are trained up to {day_of(cut)}")
    return found
