"""What a decay is judged by: Recall@20 of the validation period, two ways."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import tf_keras

from tfrs_decay.data.events import Events
from tfrs_decay.data.histories import Queries
from tfrs_decay.data.split import TimeSplit
from tfrs_decay.data.vectors import ItemVectors
from tfrs_decay.decay import Constant, Decay
from tfrs_decay.evaluation import (
    Figures,
    blocks_of,
    evaluate,
    recall_at_k,
    top_items,
)
from tfrs_decay.evaluation.figures import K
from tfrs_decay.training import (
    Settings,
    drawn_queries,
    make_model,
    queries_by_period,
    train_and_validate,
)
from tfrs_decay.tuning.profiles import (
    Profiles,
    ProfileScores,
    finished,
    related,
    relations,
)


class Objective(Protocol):
    """What a decay is judged by."""

    queries: Queries
    """The validation period's queries, the same for every decay."""

    def __call__(self, decay: Decay) -> Figures:
        """How a decay does on them, by Recall@20 and NDCG@20 of each."""


OWN = (0.0, 0.03, 0.1, 0.3, 1.0, 3.0)
"""How much an item may speak for itself, as the linear objective tries it."""

EARLIER = 0.8
"""Share of the training queries before those that choose among `OWN`."""


class LinearObjective:
    """Judges a decay by a linear recommender, in about a second.

    The recommender is `ProfileScores`: EASE's item-to-item weights of the training
    period, applied to each user's decayed profile. How much an item speaks for itself
    is chosen once for the log, under the plain mean: on the last fifth of the training
    queries, with weights from what came before them.

    What it is not: the two-tower model. It reads no text, learns nothing for a decay in
    particular, and its recall is another one than the model's, often a higher one.
    Which decays suit a log it tells well, the last few thousandths of recall it does
    not: `TwoTowerObjective` asks the model itself.

    Args:
        events: Clean events; those after the test cut are not looked at.
        split: The cuts.
        settings: `action_weights`, `target_actions`, `max_history` and `seed`.

    Attributes:
        queries: The validation period's; 2,000 of them, drawn, when there are more.
        own: How much an item speaks for itself.

    Raises:
        ValueError: A period holds no query, or an action has no weight.
    """

    name = "linear"

    def __init__(self, events: Events, split: TimeSplit, settings: Settings) -> None:
        events = events.where(events.time <= split.test)
        periods = queries_by_period(events, split, settings)
        self.queries = drawn_queries(periods.validation, settings.seed)
        self._events = events
        self._action_weight = _action_weight(events, settings)
        self._max_history = settings.max_history
        self.own = self._choose_own(periods.training, settings)
        self._known = relations(
            events, until=split.validation, action_weight=self._action_weight
        )

    def __call__(self, decay: Decay) -> Figures:
        """Ranks the whole catalogue for each validation query."""
        scores = ProfileScores(self._profiles(decay), self._known, self.own)
        return evaluate({"linear": scores}, self.queries, self._events, k=K)["linear"]

    def _profiles(self, decay: Decay) -> Profiles:
        return Profiles(
            self._events,
            decay,
            action_weight=self._action_weight,
            max_history=self._max_history,
        )

    def _choose_own(self, training: Queries, settings: Settings) -> float:
        cut = int(np.quantile(training.time, EARLIER, method="lower"))
        later = training.where(training.time > cut)
        if not len(later):
            return OWN[0]
        later = drawn_queries(later, settings.seed)
        known = relations(self._events, until=cut, action_weight=self._action_weight)
        profiles = self._profiles(Constant())
        found: dict[float, list[np.ndarray]] = {own: [] for own in OWN}
        for some in blocks_of(later, 256):
            # The product, which is what takes time, once for all of them.
            profile = profiles(some)
            scores = related(profile, known)
            target = self._events.item[some.target]
            for own, recall in found.items():
                top = top_items(finished(scores, profile, known, own), K)
                recall.append(recall_at_k(top, target, some.target_offset))
        means = [np.concatenate(recall).mean() for recall in found.values()]
        return OWN[int(np.argmax(means))]


class TwoTowerObjective:
    """Judges a decay by the two-tower model, trained anew for it up to the validation.

    The figures are those of its best pass, as `training.train` chooses it. It takes as
    long as half a training.

    Args:
        events: Clean events; those after the test cut are not looked at.
        split: The cuts.
        settings: How to make and train the model.
        encoded: [n, hidden] the texts' encodings, where there is an encoder.
        vectors: What to take of `settings.vectors`, where there are any.

    Attributes:
        queries: The validation period's; 2,000 of them, drawn, when there are more.

    Raises:
        ValueError: A period holds no query.
    """

    name = "two-tower"

    def __init__(
        self,
        events: Events,
        split: TimeSplit,
        settings: Settings,
        *,
        encoded: np.ndarray | None = None,
        vectors: ItemVectors | None = None,
    ) -> None:
        self._events = events.where(events.time <= split.test)
        self._periods = queries_by_period(self._events, split, settings)
        self.queries = drawn_queries(self._periods.validation, settings.seed)
        self._settings = settings
        self._encoded = encoded
        self._vectors = vectors

    def __call__(self, decay: Decay) -> Figures:
        """Trains with the decay, and ranks the whole catalogue after each pass."""
        model = make_model(
            self._events,
            self._settings,
            decay,
            encoded=self._encoded,
            vectors=self._vectors,
        )
        best = train_and_validate(
            model, self._events, self._periods, self._settings, verbose=0
        ).best
        # Or the graphs of all models that were ever tried stay in memory.
        tf_keras.backend.clear_session()
        return best


def _action_weight(events: Events, settings: Settings) -> np.ndarray:
    """[n_actions] what each action weighs; 0 for one that does not occur."""
    if settings.action_weights is None:
        return np.ones(len(events.actions))
    weight = [settings.action_weights.get(name, 0.0) for name in events.actions]
    return np.asarray(weight, np.float64)
