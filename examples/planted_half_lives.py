"""Does learning find how fast interest really fades?

A real log never tells. The simulated shop does: what its users look at next is drawn
from their past, each event weighed by its age with a half-life that we chose. Here a
`tfrs.Model` reads histories of themes, starts from a wrong half-life, is trained with
`fit` to foresee the theme of the next event, and is held against the truth: once with
one half-life for all, once with another for each theme, which are the features.

    python examples/planted_half_lives.py
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any, NamedTuple

import tfrs_decay as td  # settles legacy Keras before anything touches it

import numpy as np  # isort: skip
import tensorflow as tf  # isort: skip
import tensorflow_recommenders as tfrs  # isort: skip
import tf_keras  # isort: skip

ACTION_WEIGHTS = {"browse": 0.2, "purchase": 1.0}
LATEST = 150  # events of a history that are read
DIFFERENT = ("1d", "3d", "10d", "30d")


class Found(NamedTuple):
    """What was planted and what was learned, in days, one for each half-life."""

    planted: np.ndarray
    learned: np.ndarray


class NextTheme(tfrs.Model):
    """Foresees the theme of the next event from the decayed themes of a history.

    The chance of a theme is its decayed weight, a little for every theme alike, and a
    share of events that nobody's past explains; both of these are learned as well.
    """

    def __init__(self, themes: int, decay: td.decay.Decay) -> None:
        super().__init__()
        self.themes = themes
        self.pooling = td.layers.TimeDecayPooling(
            decay,
            action_weights=ACTION_WEIGHTS,
            normalize="sum",
            speed=1.0,  # its learning rate is high already
        )
        self.log_prior = self.add_weight(name="log_prior", initializer="zeros")
        self.novelty = self.add_weight(name="novelty", initializer="zeros")

    def call(self, features: dict[str, tf.Tensor]) -> tf.Tensor:
        """[batch, themes] chances."""
        weight = self.pooling(
            tf.one_hot(features["theme"], self.themes),
            timestamps=features["time"],
            query_time=features["query_time"],
            actions=features["action"],
            mask=features["mask"],
        )
        weight += tf.exp(self.log_prior)
        own = weight / tf.reduce_sum(weight, axis=1, keepdims=True)
        novel = tf.sigmoid(self.novelty)
        return (1 - novel) * own + novel / self.themes

    def compute_loss(
        self, features: dict[str, tf.Tensor], training: bool = False
    ) -> tf.Tensor:
        """Minus the mean log likelihood of the next themes."""
        chance = tf.gather(self(features), features["next"], batch_dims=1)
        return -tf.reduce_mean(tf.math.log(chance))


def histories(shop: td.data.SimulatedShop) -> dict[str, np.ndarray]:
    """Every event but a user's first, with the `LATEST` events strictly before it."""
    log = shop.log.events.sort_values(["user", "time"], kind="stable")
    place = {name: number for number, name in enumerate(shop.themes)}
    theme = log["item"].map(shop.theme_of_item).map(place).to_numpy()
    time, user = log["time"].to_numpy(), log["user"].to_numpy()
    first = np.flatnonzero(np.r_[True, user[1:] != user[:-1]])
    start = np.repeat(first, np.diff([*first, len(user)]))
    every = np.arange(len(user))
    before = every[:, None] - np.arange(LATEST, 0, -1)
    mask = before >= start[:, None]
    before = np.maximum(before, 0)
    mask &= time[before] < time[:, None]
    keep = mask.any(axis=1)
    before, mask = before[keep], mask[keep]
    action = log["action"].to_numpy().astype(str)
    return {
        "theme": theme[before],
        "time": time[before],
        "action": np.searchsorted(["browse", "purchase"], action)[before],
        "mask": mask,
        "query_time": time[keep],
        "next": theme[keep],
    }


def learn(
    half_life: str | Sequence[str],
    *,
    users: int,
    epochs: int = 3,
    seed: int = 0,
    verbose: int = 0,
) -> Found:
    """Plants half-lives, trains from a wrong one, and says what was learned."""
    each = not isinstance(half_life, str)
    themes = len(half_life) if each else 4
    shop = td.data.simulated_shop(
        users=users,
        days=365,
        seed=seed,
        themes=themes,
        half_life=half_life,
        novelty=0.05,
    )
    tf_keras.utils.set_random_seed(seed)
    decay = td.decay.Exponential("5d" if each else "30d", trainable=True)
    if each:
        decay = td.decay.Exponential("5d", trainable=True, per_feature=True)
    model = NextTheme(themes, decay)
    columns = histories(shop)
    data = tf.data.Dataset.from_tensor_slices(columns)
    data = data.shuffle(len(columns["next"]), seed=seed).batch(512)
    # Fast first, then slower, so that it comes to rest.
    steps = epochs * len(data)
    rate = tf_keras.optimizers.schedules.CosineDecay(0.1, steps)
    model.compile(optimizer=tf_keras.optimizers.Adam(rate))
    model.fit(data, epochs=epochs, verbose=verbose)
    learned = np.exp(model.pooling.learned()["log_half_life"])
    return Found(np.ravel(shop.half_life) / 86_400, np.ravel(learned) / 86_400)


def main(arguments: Sequence[str] | None = None) -> list[Found]:
    """Learns both and prints them beside the truth."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--users", type=int, default=1_500)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    given: Any
    results = []
    for words, given in (("one for all", "7d"), ("one for each theme", DIFFERENT)):
        found = learn(given, users=options.users, seed=options.seed)
        results.append(found)
        print(f"{words}:")
        for planted, learned in zip(*found, strict=True):
            print(
                f"  planted {planted:5.1f} d   learned {learned:5.1f} d   "
                f"({learned / planted - 1:+.0%})"
            )
    return results


if __name__ == "__main__":
    main()
